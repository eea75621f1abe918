"""Karpathy's split lists, read from the files in karpathy/; its README says where they are from.

Loaded data are checked against them, and pictures in a folder can be split by them.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Literal

from benchmark.data.splits import SplitName


@cache
def flickr30k_names(split: SplitName) -> tuple[str, ...]:
    """File names of a Flickr30K split in Karpathy's order, which is string order (data.md 1.5)."""
    return tuple(_lines(f"flickr30k-{split}"))


@cache
def mscoco_ids(split: Literal["val", "test"]) -> tuple[int, ...]:
    """Cocoids of an MSCOCO split; those of `test` in Karpathy's order, which fixes the 1K folds (data.md 1.5)."""
    return tuple(int(line) for line in _lines(f"mscoco-{split}"))


@cache
def mscoco_test_captions() -> tuple[tuple[int, ...], ...]:
    """Ids of the five captions of each MSCOCO test image, ascending, images in Karpathy's order (data.md 1.5)."""
    return tuple(tuple(int(item) for item in line.split()) for line in _lines("mscoco-test-captions"))


def _lines(name: str) -> list[str]:
    """Lines of `karpathy/<name>.txt`, without their ends."""
    path = resources.files("benchmark.data") / "karpathy" / f"{name}.txt"
    return path.read_text(encoding="utf-8").splitlines()
