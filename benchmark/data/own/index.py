"""The index beside a card: a line an image, in the order of the dataset, as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.data.cards import Located
from benchmark.data.own.items import Item
from benchmark.data.splits import SplitName
from benchmark.errors import UserError
from benchmark.files import sha256_bytes
from benchmark.guarded import ANNOTATIONS, DocumentError, parse_json, read_within

SPLITS: tuple[SplitName, ...] = ("train", "val", "test")
FIELDS = ("id", "file", "split", "place", "captions", "sha256")


def index_text(items: Sequence[Item]) -> str:
    """Return the lines of an index; every image has its split."""
    return "".join(
        json.dumps(
            {
                "id": item.id,
                "file": item.file,
                "split": item.split,
                "place": list(item.place),
                "captions": list(item.captions),
                "sha256": item.digest,
            },
            ensure_ascii=False,
        )
        + "\n"
        for item in items
    )


def read_index(own: Located) -> Mapping[SplitName, Sequence[Item]]:
    """Return the images of each split; raises UserError for a file that is missing, damaged or not the card's."""
    try:
        state = own.index.stat()
    except OSError:
        raise UserError(
            f"{own.index.as_posix()}: no such file, expected the index beside {own.path.as_posix()}; import again"
        ) from None
    return _read(own.index, own.card.fingerprint, state.st_mtime_ns)


@lru_cache(maxsize=4)
def _read(path: Path, fingerprint: str, _modified: int) -> Mapping[SplitName, Sequence[Item]]:
    name = path.as_posix()
    try:
        content = read_within(path, ANNOTATIONS)
    except (OSError, DocumentError) as error:
        raise UserError(f"{name}: cannot be read: {error}") from None
    found = sha256_bytes(content)
    if found != fingerprint:
        raise UserError(
            f"{name}: found sha256 {found[:12]}, the card says {fingerprint[:12]}: one of the two was changed; import "
            "again (--force)"
        )
    items: dict[SplitName, list[Item]] = {split: [] for split in SPLITS}
    for number, line in enumerate(content.decode("utf-8").rstrip("\n").split("\n"), start=1):
        item = _item(line, f"{name}: line {number:,}")
        assert item.split is not None
        items[item.split].append(item)
    return items


def _item(line: str, where: str) -> Item:
    try:
        document: Any = parse_json(line)
        values = [document[field] for field in FIELDS]
    except (DocumentError, KeyError, TypeError) as error:
        raise UserError(f"{where}: no image of an index ({error}); import again (--force)") from None
    identity, file, split, place, captions, digest = values
    if split not in SPLITS:
        raise UserError(f"{where}: field 'split': found {split!r}, expected train, val or test")
    return Item(identity, file, tuple(place), tuple(captions), split, digest)


def captions_an_image(own: Located) -> dict[SplitName, list[int]]:
    """Return how many captions each image of a split has."""
    return {split: [len(item.captions) for item in items] for split, items in read_index(own).items()}


def captions_by_split(own: Located, each: int | None) -> dict[SplitName, list[str]]:
    """Return the captions of each split; each: the first so many of an image, None: all."""
    return {
        split: [text for item in items for text in item.captions[:each]]
        for split, items in read_index(own).items()
    }


def caption_map(own: Located, split: SplitName = "test") -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the row of each caption's image (n_captions,) in a split."""
    counts = captions_an_image(own)[split]
    return np.repeat(np.arange(len(counts), dtype=np.int64), counts)
