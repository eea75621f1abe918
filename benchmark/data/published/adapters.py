"""One adapter a schema: whatever columns a repository has become one normalised table.

The schemas are those of data.md 1.1, 1.2 and 2.1. A table is recognised by its columns, never by its name,
so that a local copy under any name is read like the repository it came from.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow  # type: ignore[import-untyped]

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
    """The normalised table: one entry a picture, as stored. Captions and their ids may be missing until `assemble`."""

    image_ids: list[str]
    filenames: list[str]
    captions: Sequence[Sequence[Any] | None]
    """All of an image, in stored order."""
    caption_ids: Sequence[Sequence[str | None]]
    parts: list[str] | None
    """`train`, `restval`, `val` or `test` of each picture; None: the table does not say."""
    order: list[Any] | None
    """Sort key; None: see `published_order`."""
    folders: list[str] | None = None
    """The annotated folder of each picture; None: not known."""

    def __len__(self) -> int:
        return len(self.image_ids)


def normalise(table: Any, adapter: Adapter, split: SplitName, where: str = "the table") -> Rows:
    """Read a `datasets.Dataset` through its adapter; pictures are left where they are.

    Raises OtherColumnsError for a column of another type, and UserError for an image without name, id or split.
    """
    names = [f"row {row}" for row in range(len(table))]

    def column(name: str, *kinds: str, nulls: bool = False) -> list[Any]:
        found = _column(table, name, kinds, where)
        if not nulls and None in found:
            raise UserError(
                f"{where}: image {names[found.index(None)]}: column '{name}' holds nothing, expected {kinds[0]}"
            )
        return found

    filenames = column(adapter.filename, "text") if adapter.filename else None
    names = filenames or names
    if isinstance(adapter.captions, str):
        captions = column(adapter.captions, "lists of text", nulls=True)
    else:
        each = [column(name, "text", nulls=True) for name in adapter.captions]
        captions = [[text for text in texts if text != ""] for texts in zip(*each, strict=True)]
    # a copy without names: the row is the best name there is
    ids = [f"{split}-{row}" for row in range(len(table))]
    if adapter.image_id is not None:
        ids = [str(item) for item in column(adapter.image_id, "text", "whole numbers")]
    if adapter.caption_ids is not None:
        found = column(adapter.caption_ids, "lists of text", "lists of whole numbers", nulls=True)
        caption_ids = [[None if item is None else str(item) for item in items or ()] for items in found]
    else:
        caption_ids = [
            [f"{name}#{k}" for k in range(len(texts or ()))]
            for name, texts in zip(ids, captions, strict=True)
        ]
    parts = None
    if adapter.part in table.column_names:
        parts = [PARTS.get(part.lower(), part.lower()) for part in column(adapter.part, "text")]
    order = column(adapter.order, "whole numbers", "text") if adapter.order else None
    return Rows(ids, filenames or ids, captions, caption_ids, parts, order)


def _column(table: Any, name: str, kinds: Sequence[str], where: str) -> list[Any]:
    """The values of a column; raises OtherColumnsError where they are of none of these kinds, or no UTF-8."""
    found = _kind(table.data.schema.field(name).type)
    if found not in kinds:
        raise OtherColumnsError(f"{where}: column '{name}' holds {found}, expected {' or '.join(kinds)}")
    try:
        return list(table[name][:])
    except UnicodeDecodeError as error:
        raise OtherColumnsError(
            f"{where}: column '{name}' holds bytes that are not UTF-8 ({error.reason})"
        ) from None


def _kind(type_: Any) -> str:
    """An Arrow type in words."""
    types = pyarrow.types
    if types.is_string(type_) or types.is_large_string(type_) or types.is_string_view(type_):
        return "text"
    if types.is_integer(type_):
        return "whole numbers"
    if types.is_list(type_) or types.is_large_list(type_) or types.is_fixed_size_list(type_):
        return f"lists of {_kind(type_.value_type)}"
    return "nothing" if types.is_null(type_) else str(type_)[:80]


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

    `images` are the pictures of the kept rows. Raises UserError that names an image with fewer captions, one that is
    no text, or one without its id.
    """
    chosen = [_captions_of(rows, row, captions) for row in kept]
    image_ids = [rows.image_ids[row] for row in kept]
    flat, ids, caption_image = flatten_captions(
        image_ids,
        [[one_line(text) for text in texts] for texts, _ in chosen],
        [ids for _, ids in chosen],
    )
    assert isinstance(caption_image, np.ndarray)
    names = [rows.filenames[row] for row in kept]
    return Split(name, image_ids, names, flat, ids, caption_image, images, ids_decide=False)


def _captions_of(rows: Rows, row: int, count: int) -> tuple[list[str], list[str]]:
    """The first `count` captions of an image, and their ids; raises UserError for what is none."""
    texts, ids, name = rows.captions[row], rows.caption_ids[row], _shown(rows.filenames[row])
    for what, text in (("its name", rows.filenames[row]), ("its id", rows.image_ids[row])):
        _check_unicode(text, f"image {name}: {what}")
    if texts is None:
        raise UserError(f"image {name}: its captions are missing, expected a list of {count}")
    if len(texts) < count:
        raise UserError(f"image {name}: found {len(texts)} captions, expected {count}")
    for number, text in enumerate(texts[:count], start=1):
        if not isinstance(text, str):
            found = "is missing" if text is None else f"is {repr(text)[:60]}"
            raise UserError(f"image {name}: caption {number} {found}, expected text")
        _check_unicode(text, f"image {name}: caption {number}")
    if len(ids) < count or None in ids[:count]:
        found = f"found {len([item for item in ids if item is not None])} caption ids"
        raise UserError(f"image {name}: {found}, expected {count}")
    return list(texts[:count]), [item for item in ids[:count] if item is not None]


def _check_unicode(text: str, what: str) -> None:
    r"""Raise UserError for half of a surrogate pair, as JSON's \\ud83d by itself, which no file or hash can hold."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"{what} holds {text[error.start]!a} at place {error.start + 1}, half of a character, expected Unicode text"
        ) from None


def _shown(text: str) -> str:
    """A name as it can be printed."""
    return text.encode("utf-8", "backslashreplace").decode()[:120]


def one_line(text: str) -> str:
    """Some captions hold line ends and trailing blanks (data.md 1.4)."""
    return " ".join(text.strip().splitlines())
