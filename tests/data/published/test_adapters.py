"""Schemas as one normalised table, on tables of a few rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pytest

from benchmark.data.images.decoding import FileImages
from benchmark.data.published.adapters import (
    ADAPTERS,
    Adapter,
    OtherColumnsError,
    Rows,
    assemble,
    normalise,
    one_line,
    recognise,
    rows_in_order,
)
from benchmark.data.splits import SplitName
from benchmark.errors import UserError

FLICKR = ["image", "caption", "sentids", "split", "img_id", "filename"]


def no_pictures(count: int) -> FileImages:
    return FileImages(Path("nowhere"), ["absent.jpg"] * count, ["absent.jpg"] * count)


def table_for(adapter: Adapter, rows: int = 3) -> dict[str, list[Any]]:
    """Columns of a schema; order columns run against the rows."""
    texts = [[f"caption {k} of {row}" for k in range(5)] for row in range(rows)]
    columns: dict[str, list[Any]] = {"split": ["test"] * rows}
    if adapter.image is not None:
        columns[adapter.image] = [b""] * rows
    if isinstance(adapter.captions, str):
        columns[adapter.captions] = texts
    else:
        for k, name in enumerate(adapter.captions):
            columns[name] = [texts[row][k] for row in range(rows)]
    if adapter.caption_ids:
        columns[adapter.caption_ids] = [[10 * row + k for k in range(5)] for row in range(rows)]
    for name in filter(None, (adapter.image_id, adapter.filename)):
        columns[name] = [f"{90 - row}.jpg" if "name" in name else str(90 - row) for row in range(rows)]
    if adapter.order and adapter.order not in columns:
        columns[adapter.order] = [50 - row for row in range(rows)]
    return columns


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda adapter: adapter.schema)
def test_every_schema_is_recognised_and_read(adapter: Adapter) -> None:
    table = datasets.Dataset.from_dict(table_for(adapter))
    found = recognise([*table.column_names, "and_more"], "somewhere")
    assert found is adapter
    rows = normalise(table, found, "test")
    assert len(rows) == 3
    assert rows.captions[2] == [f"caption {k} of 2" for k in range(5)]
    assert all(len(ids) == 5 and isinstance(ids[0], str) for ids in rows.caption_ids)
    assert len({name for ids in rows.caption_ids for name in ids}) == 15
    kept = rows_in_order(rows, "test", restval=False, published=(), where="somewhere")
    assert kept == ([2, 1, 0] if adapter.order else [0, 1, 2])
    split = assemble("test", rows, kept, no_pictures(3), 5)
    assert split.captions[:5] == rows.captions[kept[0]]
    assert split.caption_image.tolist() == [row // 5 for row in range(15)]


def test_altered_captions_are_not_taken_for_the_original_ones() -> None:
    columns = [*FLICKR, "alt_text", "original_alt_text"]
    assert recognise(columns, "somewhere").captions == "original_alt_text"
    assert recognise([name for name in columns if name != "caption"], "x").captions == "original_alt_text"


def test_a_table_with_a_row_a_caption_is_not_taken_for_one_without_pictures() -> None:
    columns = ["image", "filepath", "sentids", "filename", "imgid", "split", "sentences", "cocoid"]
    with pytest.raises(OtherColumnsError):
        recognise(columns, "bitmind/MS-COCO")


def test_the_missing_column_is_that_of_the_nearest_schema() -> None:
    with pytest.raises(
        OtherColumnsError, match=r"rows\.parquet: column 'sentids' is missing .*found image, "
    ):
        recognise([name for name in FLICKR if name != "sentids"], "rows.parquet")


def rows_of(parts: list[str] | None, order: list[Any] | None) -> Rows:
    count = len(parts or order or [])
    names = [f"{row}" for row in range(count)]
    return Rows(names, names, [["a"]] * count, [["1"]] * count, parts, order)


@pytest.mark.parametrize(
    ("split", "restval", "expected"),
    [("train", False, [5, 0]), ("train", True, [5, 2, 0]), ("val", False, [1, 3]), ("test", False, [4])],
)
def test_rows_of_a_split_by_the_split_column(split: SplitName, restval: bool, expected: list[int]) -> None:
    rows = rows_of(["train", "val", "restval", "val", "test", "train"], [9, 1, 5, 3, 0, 2])
    assert rows_in_order(rows, split, restval=restval, published=(), where="x") == expected


def test_published_order_where_the_table_has_none() -> None:
    rows = rows_of(["test"] * 4, None)
    assert rows_in_order(rows, "test", restval=False, published=["2", "0"], where="x") == [2, 0, 1, 3]


def test_a_table_without_the_split_is_one_line() -> None:
    with pytest.raises(UserError, match=r"x: no row of split 'test'; the split column holds train, val"):
        rows_in_order(rows_of(["val", "train"], [1, 2]), "test", restval=False, published=(), where="x")


@pytest.mark.parametrize("word", ["val", "validation", "dev", "Validation"])
def test_names_of_the_validation_split(word: str) -> None:
    adapter = ADAPTERS[1]
    table = datasets.Dataset.from_dict({**table_for(adapter), "split": [word] * 3})
    assert normalise(table, adapter, "val").parts == ["val"] * 3


def test_the_first_five_captions_in_stored_order() -> None:
    texts = ["z", "y", "x\ny ", " w", "v", "u"]
    rows = Rows(["7"], ["7.jpg"], [texts], [list("654321")], None, [0])
    split = assemble("test", rows, [0], no_pictures(1), 5)
    assert split.captions == ["z", "y", "x y", "w", "v"]
    assert split.caption_ids == ["6", "5", "4", "3", "2"]
    with pytest.raises(UserError, match=r"image 7\.jpg: found 6 captions, expected 7"):
        assemble("test", rows, [0], no_pictures(1), 7)


def test_one_line() -> None:
    assert one_line(" Two lines\nof text. \n") == "Two lines of text."
