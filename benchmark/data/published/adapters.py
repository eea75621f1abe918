"""One adapter a schema: whatever columns a repository has become one normalised table.

The schemas are those of data.md 1.1, 1.2 and 2.1. A table is recognised by its columns, never by its name,
so that a local copy under any name is read like the repository it came from.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmark.data.published.sources import STEMS
from benchmark.data.splits import Images, Split, SplitName, flatten_captions
from benchmark.errors import UserError

PARTS = {stem: split for split, stems in STEMS.items() for stem in stems}
"""The split for each value of a split column; `restval` stays as it is."""


@dataclass(frozen=True)
class Adapter:
    """The names that a schema gives to its columns."""

    schema: str
    captions: str | tuple[str, ...]
    """A column with a list of captions, or one column a caption."""
    caption_ids: str | None
    image_id: str | None
    filename: str | None
    order: str | None
    """The column by which images are sorted; None: by the published order where it is known, else as stored."""
    image: str | None = "image"
    part: str = "split"
    """The split of the original annotation file; not every copy has it."""

    def columns(self) -> list[str]:
        """Return columns that must be there, each once."""
        captions = (self.captions,) if isinstance(self.captions, str) else self.captions
        names = (self.image, self.image_id, *captions, self.caption_ids, self.order, self.filename)
        return list(dict.fromkeys(name for name in names if name is not None))

    def missing(self, found: Collection[str]) -> list[str]:
        """Return columns that a table lacks; a schema without pictures is not that of a table with pictures."""
        absent = [name for name in self.columns() if name not in found]
        return absent or (["(no column 'image')"] if self.image is None and "image" in found else [])


FIVE = tuple(f"caption_{k}" for k in range(5))
ADAPTERS = (
    # before the next: it has a column of altered captions beside the original ones
    Adapter("AnyModal/flickr30k", "original_alt_text", "sentids", "img_id", "filename", "filename"),
    Adapter("umaru97 and nlphuji flickr30k", "caption", "sentids", "img_id", "filename", "filename"),
    Adapter("COCO_captions", "sentences_raw", "sentences_sentid", "cocoid", "filename", "imgid"),
    Adapter("KoreanImageCaptioning", "en_sentences_raw", "sentences_sentid", "cocoid", "filename", None),
    Adapter("coco-karpathy", "sentences", "sentids", "cocoid", "filename", "imgid", image=None),
    Adapter("flickr8k with file names", FIVE, None, "file_name", "file_name", None),
    Adapter("flickr8k", FIVE, None, None, None, None),
)


class OtherColumnsError(UserError):
    """A table that no adapter reads."""


def recognise(columns: Sequence[str], where: str) -> Adapter:
    """Find the adapter of a table with these columns; raises OtherColumnsError with those that the nearest lacks."""
    best = min(ADAPTERS, key=lambda adapter: len(adapter.missing(columns)))
    absent = best.missing(columns)
    if absent:
        raise OtherColumnsError(
            f"{where}: column '{absent[0]}' is missing for schema {best.schema}; found {', '.join(columns)}"
        )
    return best


@dataclass(frozen=True)
class Rows:
    """The normalised table: one entry a picture, as stored."""

    image_ids: list[str]
    filenames: list[str]
    captions: list[list[str]]
    """All of an image, in stored order."""
    caption_ids: list[list[str]]
    parts: list[str] | None
    """`train`, `restval`, `val` or `test` of each picture; None: the table does not say."""
    order: list[Any] | None
    """Sort key; None: see `published_order`."""

    def __len__(self) -> int:
        return len(self.image_ids)


def normalise(table: Any, adapter: Adapter, split: SplitName) -> Rows:
    """Read a `datasets.Dataset` through its adapter; pictures are left where they are."""
    count = len(table)
    if isinstance(adapter.captions, str):
        captions = [list(texts) for texts in table[adapter.captions][:]]
    else:
        each = [table[name][:] for name in adapter.captions]
        captions = [[text for text in texts if text] for texts in zip(*each, strict=True)]
    # a copy without names: the row is the best name there is
    ids = table[adapter.image_id][:] if adapter.image_id else [f"{split}-{row}" for row in range(count)]
    image_ids = [str(item) for item in ids]
    if adapter.caption_ids is not None:
        caption_ids = [[str(item) for item in items] for items in table[adapter.caption_ids][:]]
    else:
        pairs = zip(image_ids, captions, strict=True)
        caption_ids = [[f"{name}#{k}" for k in range(len(texts))] for name, texts in pairs]
    parts = None
    if adapter.part in table.column_names:
        parts = [PARTS.get(str(part).lower(), str(part).lower()) for part in table[adapter.part][:]]
    order = list(table[adapter.order][:]) if adapter.order else None
    filenames = [str(name) for name in table[adapter.filename][:]] if adapter.filename else image_ids
    return Rows(image_ids, filenames, captions, caption_ids, parts, order)


def rows_in_order(
    rows: Rows, split: SplitName, *, restval: bool, published: Sequence[str], where: str
) -> list[int]:
    """Return rows of one split in protocol order.

    `published`: the published order of image ids where it is known; it is used where the table has none.
    Raises UserError where the table has no row of that split.
    """
    parts = {split, "restval"} if split == "train" and restval else {split}
    chosen = [row for row in range(len(rows)) if rows.parts is None or rows.parts[row] in parts]
    if not chosen:
        found = ", ".join(sorted(set(rows.parts or []))) or "no rows"
        raise UserError(f"{where}: no row of split '{split}'; the split column holds {found}")
    if rows.order is not None:
        order = rows.order
        return sorted(chosen, key=lambda row: order[row])
    place = {name: number for number, name in enumerate(published)}
    return sorted(chosen, key=lambda row: place.get(rows.image_ids[row], len(place)))


def assemble(name: SplitName, rows: Rows, kept: Sequence[int], images: Images, captions: int) -> Split:
    """Return the kept rows as a Split with the first `captions` captions of each image, in stored order.

    `images` are the pictures of the kept rows. Raises UserError where an image has fewer captions.
    """
    for row in kept:
        if len(rows.captions[row]) < captions:
            raise UserError(
                f"image {rows.filenames[row]}: found {len(rows.captions[row])} captions, expected {captions}"
            )
    image_ids = [rows.image_ids[row] for row in kept]
    flat, ids, caption_image = flatten_captions(
        image_ids,
        [[one_line(text) for text in rows.captions[row][:captions]] for row in kept],
        [rows.caption_ids[row][:captions] for row in kept],
    )
    assert isinstance(caption_image, np.ndarray)
    names = [rows.filenames[row] for row in kept]
    return Split(name, image_ids, names, flat, ids, caption_image, images, ids_decide=False)


def one_line(text: str) -> str:
    """Some captions hold line ends and trailing blanks (data.md 1.4)."""
    return " ".join(text.strip().splitlines())
