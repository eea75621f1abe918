"""Karpathy's split lists, read from the files in split_lists/; its README says where they are from.

Loaded data are checked against them, and pictures in a folder can be split by them.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib import resources
from typing import Literal

from benchmark.data.splits import SplitName
from benchmark.files import sha256_bytes


@cache
def flickr30k_names(split: SplitName) -> tuple[str, ...]:
    """File names of a Flickr30K split in Karpathy's order, which is string order (data.md 1.5)."""
    return tuple(_lines(f"flickr30k-{split}"))


@cache
def mscoco_ids(split: Literal["val", "test"]) -> tuple[int, ...]:
    """Return the cocoids of an MSCOCO split; `test` is in Karpathy's order, which fixes the 1K folds (data.md 1.5)."""
    return tuple(int(line) for line in _lines(f"mscoco-{split}"))


@cache
def mscoco_test_captions() -> tuple[tuple[int, ...], ...]:
    """Ids of the five captions of each MSCOCO test image, ascending, images in Karpathy's order (data.md 1.5)."""
    return tuple(tuple(int(item) for item in line.split()) for line in _lines("mscoco-test-captions"))


def _lines(name: str) -> list[str]:
    """Lines of `split_lists/<name>.txt`, without their ends."""
    path = resources.files("benchmark.data.published") / "split_lists" / f"{name}.txt"
    return path.read_text(encoding="utf-8").splitlines()


# ------------------------------------------------------------------------------ found by their sha256


def lines_sha256(items: Iterable[object]) -> str:
    """The sha256 of the items, a newline after each (data.md 1.5)."""
    return sha256_bytes("".join(f"{item}\n" for item in items).encode())


def in_order(ids: Iterable[str]) -> list[str]:
    """Sorted as integers where all of them are, else as strings."""
    items = list(ids)
    return sorted(items, key=int) if all(item.isdecimal() for item in items) else sorted(items)


@cache
def lists_by_sha256() -> dict[str, tuple[str, ...]]:
    """Every list of images as strings, in the order of its file, by the sha256 of its sorted ids."""
    splits: tuple[SplitName, ...] = ("train", "val", "test")
    lists = [flickr30k_names(split) for split in splits]
    lists += [tuple(map(str, mscoco_ids("val"))), tuple(map(str, mscoco_ids("test")))]
    return {lines_sha256(in_order(items)): items for items in lists}


@cache
def captions_by_sha256() -> dict[str, dict[str, frozenset[str]]]:
    """Caption ids of each image, image ids in Karpathy's order, by the sha256 of all caption ids."""
    digest = lines_sha256(item for five in mscoco_test_captions() for item in five)
    pairs = zip(mscoco_ids("test"), mscoco_test_captions(), strict=True)
    return {digest: {str(image): frozenset(map(str, five)) for image, five in pairs}}
