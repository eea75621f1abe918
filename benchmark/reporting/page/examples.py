"""A run's worst and best queries in both directions, from its sidecar, with pictures where the data are made by code.

Pictures of other datasets are left out, also where they are at hand, so that the page is the same for everybody.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
from numpy.typing import NDArray

from benchmark.data.load import load_dataset
from benchmark.data.published.catalogue import find_entry
from benchmark.data.splits import Split, SplitName
from benchmark.errors import UserError
from benchmark.records.record import RunRecord
from benchmark.records.sidecar import Sidecar, caption_ids_hash
from benchmark.reporting.page.pictures import Album

WORST, BEST, SHOWN = 3, 2, 5
"""Queries of each kind in each direction, and how many retrieved items of each are shown."""
NO_PICTURES = (
    "Pictures and captions of {} are not part of this page: it is made of the committed files alone, and shows "
    "pictures only of datasets that are made by code."
)


@dataclass(frozen=True)
class Item:
    """A picture or a caption of the gallery, or a query."""

    name: str
    """The item's id, or its row where no id is known."""
    caption: str = ""
    """The text of the caption; for a picture its first caption."""
    picture: int | None = None
    """Number in the album."""


@dataclass(frozen=True)
class ExampleHit:
    """A retrieved item."""

    place: int
    """The place, from 1."""
    item: Item
    right: bool
    score: float


@dataclass(frozen=True)
class Example:
    """A query, the items retrieved for it, and the place of the truth."""

    direction: str
    """`i2t` or `t2i`."""
    query: Item
    rank: int
    """The rank of the best right item, from 1."""
    hits: list[ExampleHit]
    truth: list[Item]
    """The right items, where none is among the hits."""


@dataclass
class Gallery:
    """The data behind the runs: each split is drawn once, each picture stored once."""

    album: Album = field(default_factory=Album)
    splits: dict[str, tuple[Split | None, str]] = field(default_factory=dict)
    """By what decides them; with the hash of their captions' ids."""

    def split(self, record: RunRecord, sidecar: Sidecar) -> tuple[str, Split | None]:
        """The run's test split, with a key for it; None where its pictures are not shown, or it is another one now."""
        facts = record.dataset
        images = len(sidecar.image_ids)
        options = sorted(facts.options.items())
        key = f"{facts.name} {facts.revision} {record.split} {images} {facts.captions_per_image} {options}"
        if key not in self.splits:
            made = _made_by_code(record, images)
            self.splits[key] = made, "" if made is None else caption_ids_hash(made.caption_ids)
        found, captions = self.splits[key]
        if found is not None and captions != sidecar.caption_ids_sha256:
            raise UserError(
                f"{record.path.as_posix()}: its captions are not those that {facts.name} makes now"
            )
        return key, found

    def item(self, key: str, split: Split | None, row: int, ids: Sequence[str]) -> Item:
        """An image of the split."""
        if split is None:
            return Item(ids[row])
        first = int(np.searchsorted(split.caption_image, row))
        return Item(split.image_ids[row], split.captions[first], self.album.number(key, split, row))


def _made_by_code(record: RunRecord, images: int) -> Split | None:
    facts = record.dataset
    entry = find_entry(facts.name)
    if record.weights == "elsewhere" or entry is None or not entry.embedded:
        return None
    name = cast("SplitName", record.split)
    data = load_dataset(
        facts.name,
        facts.options,
        splits=[name],
        captions_per_image=facts.captions_each,
        first_images={name: images},
        show_progress=False,
    )
    return data.splits[name] if data.revision == facts.revision else None


def examples(record: RunRecord, sidecar: Sidecar, gallery: Gallery) -> dict[str, list[Example]]:
    """`i2t worst`, `i2t best`, `t2i worst`, `t2i best`: the run's queries of the protocol with the fewest folds.

    Worst are those whose truth ranks last; best are those with the truth in first place and the largest lead of
    its score over the best wrong item's.
    """
    protocol = min(sidecar.ranks, key=lambda name: (len(record.results[name].folds), name))
    key, split = gallery.split(record, sidecar)
    found = {}
    for direction, ranks in zip(("i2t", "t2i"), sidecar.ranks[protocol], strict=True):
        worst = np.lexsort((np.arange(len(ranks)), -ranks))[:WORST]
        leads = lead(sidecar, direction, ranks)
        best = np.lexsort((np.arange(len(ranks)), -leads))[:BEST]
        best = best[np.isfinite(leads[best])]
        for kind, rows in (("worst", worst), ("best", best)):
            found[f"{direction} {kind}"] = [
                _example(direction, int(row), int(ranks[row]) + 1, sidecar, key, split, gallery)
                for row in rows
            ]
    return found


def right(sidecar: Sidecar, direction: str) -> NDArray[np.bool_]:
    """(queries, k): which of the retrieved items are the query's."""
    of_caption = np.asarray(sidecar.caption_image)
    if direction == "i2t":
        return np.asarray(of_caption[sidecar.i2t_top] == np.arange(len(sidecar.image_ids))[:, None])
    return np.asarray(sidecar.t2i_top == of_caption[:, None])


def lead(sidecar: Sidecar, direction: str, ranks: NDArray[np.integer]) -> NDArray[np.float64]:
    """(queries,): score of the best item less that of the best wrong one; -inf where the truth is not first."""
    hits = right(sidecar, direction)
    scores = np.asarray(sidecar.i2t_scores if direction == "i2t" else sidecar.t2i_scores, dtype=np.float64)
    wrong = np.where(hits, -np.inf, scores).max(axis=1)
    wrong = np.where(np.isfinite(wrong), wrong, scores[:, -1])  # nothing wrong among the ten
    return np.where((ranks == 0) & hits[:, 0], scores[:, 0] - wrong, -np.inf)


def _example(
    direction: str, row: int, rank: int, sidecar: Sidecar, key: str, split: Split | None, gallery: Gallery
) -> Example:
    def image(number: int) -> Item:
        return gallery.item(key, split, number, sidecar.image_ids)

    def caption(number: int) -> Item:
        if split is None:
            return Item(f"caption {number} of {sidecar.image_ids[int(sidecar.caption_image[number])]}")
        return Item(split.caption_ids[number], split.captions[number])

    i2t = direction == "i2t"
    query, retrieved = (image(row), caption) if i2t else (caption(row), image)
    top, scores = (sidecar.i2t_top, sidecar.i2t_scores) if i2t else (sidecar.t2i_top, sidecar.t2i_scores)
    marks = right(sidecar, direction)[row]
    hits = [
        ExampleHit(place + 1, retrieved(int(top[row, place])), bool(marks[place]), float(scores[row, place]))
        for place in range(min(SHOWN, top.shape[1]))
    ]
    own = (
        np.flatnonzero(np.asarray(sidecar.caption_image) == row) if i2t else [int(sidecar.caption_image[row])]
    )
    truth = [] if any(hit.right for hit in hits) else [retrieved(int(number)) for number in own]
    return Example(direction, query, rank, hits, truth)
