"""Captions in a text table beside pictures: captions.csv, .tsv or .txt, and the metadata files of an image folder."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from benchmark.data.own.columns import choose_columns
from benchmark.data.own.files import PictureFolder, told_split
from benchmark.data.own.items import Collection, Faults, Gatherer, Item, Reading
from benchmark.errors import UserError
from benchmark.guarded import ANNOTATIONS, DocumentError, parse_json, read_within

TABLES = ("captions.csv", "captions.tsv", "captions.txt")
METADATA = ("metadata.csv", "metadata.jsonl")
SUFFIXES = (".csv", ".tsv", ".txt", ".jsonl")


@dataclass(frozen=True)
class Table:
    """A text table: its columns, and its rows with the numbers of their lines."""

    columns: list[str]
    rows: list[tuple[int, dict[str, Any]]]


def read_text_table(reading: Reading, files: Sequence[str]) -> Collection:
    """Read a folder of pictures and the tables of their captions.

    files: paths below the source, which may be one of them itself. An image may stand in any number of rows, and in
    several tables. Raises UserError for a table that cannot be read; what is missing is said in the faults.
    """
    faults, columns = Faults(), dict[str, str]()
    gatherer = Gatherer(faults)
    told = {file: told_split(PurePosixPath(file)) for file in files}
    several = len({split for split in told.values() if split is not None}) > 1
    for file in files:
        path = reading.source if reading.source.is_file() else reading.source / file
        table = read_rows(path)
        chosen = choose_columns(table.columns, reading, faults, path.name)
        if chosen is None:
            continue
        columns |= chosen.told()
        for line, row in table.rows:
            image, where = row.get(chosen.image), f"{path.name}: line {line:,}"
            if not isinstance(image, str) or not image.strip():
                faults.wrong.append(f"{where}: column '{chosen.image}' names no picture")
                continue
            captions = [text for name in chosen.captions for text in texts_of(row.get(name))]
            split = row.get(chosen.split) if chosen.split else told[file] if several else None
            gatherer.add(_beside(reading, file, image.strip()), captions, split, where)
    pictures = PictureFolder(reading.picture_folder)
    items = gatherer.items(pictures.places(gatherer.found, faults))
    return Collection(items, faults, columns, list(files), notes=unused(pictures, items))


def _beside(reading: Reading, file: str, image: str) -> str:
    """Return the name of a picture from the pictures' folder: a table in a folder of its own names those beside it."""
    near = f"{PurePosixPath(file).parent.as_posix()}/{image}"
    with suppress(OSError):  # a name that is too long for the system
        if "/" in file and (reading.picture_folder / near).is_file():
            return near
    return image


def unused(pictures: PictureFolder, items: Sequence[Item]) -> list[str]:
    """Say how many pictures of the folder have no captions at all, which is no fault."""
    left = len(pictures.paths) - len({item.place[0] for item in items})
    return [f"pictures that no caption names: {left:,}"] if left > 0 else []


def texts_of(value: object) -> list[object]:
    """Return the captions in a cell: one, or a list of them; none where it is empty."""
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, list) else [value]


def read_rows(path: Path) -> Table:
    """Read a table with a head: commas, semicolons, tabs or bars between the columns, or JSON a line.

    Raises UserError, with the line, for what cannot be read.
    """
    try:
        content = read_within(path, ANNOTATIONS)
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UserError(f"{path.as_posix()}: line {line:,} is not UTF-8; convert the file") from None
    except (OSError, DocumentError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"{path.as_posix()}: cannot be read: {reason}") from None
    rows = list(_json_rows(path, text) if path.suffix.lower() == ".jsonl" else _cells(path, text))
    if not rows:
        raise UserError(f"{path.as_posix()}: found no rows, expected a head and a row a caption")
    return Table(list(dict.fromkeys(name for _, row in rows for name in row)), rows)


def _json_rows(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
        except DocumentError as error:
            raise UserError(f"{path.as_posix()}: line {number:,}: not JSON: {error}") from None
        if not isinstance(row, dict):
            raise UserError(
                f"{path.as_posix()}: line {number:,}: found a {type(row).__name__}, expected a mapping"
            )
        yield number, row


def _cells(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    head = text.split("\n", 1)[0]
    delimiter = (
        "\t" if path.suffix.lower() == ".tsv" else next((sign for sign in "\t|,;" if sign in head), ",")
    )
    # a caption may begin with a quotation mark that nothing ends; only tables of commas and semicolons quote
    quotes = delimiter in ",;"
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE
    unquoted = quotes and '"' not in text
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting)
    try:
        columns = [name.strip() for name in next(reader, [])]
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            if len(row) > len(columns) > 0 and unquoted:  # commas of the last cell, the caption
                row = [*row[: len(columns) - 1], ",".join(row[len(columns) - 1 :])]
            if len(row) != len(columns):
                raise UserError(
                    f"{path.as_posix()}: line {reader.line_num:,}: found {len(row)} cells, expected {len(columns)} as "
                    f"in the head ({', '.join(columns)[:80]})"
                )
            yield reader.line_num, dict(zip(columns, (cell.strip() for cell in row), strict=True))
    except csv.Error as error:
        raise UserError(f"{path.as_posix()}: line {reader.line_num:,}: {error}") from None
