"""Tables with pictures inside, or with their paths: parquet files of any columns, and repositories on the Hub."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow  # type: ignore[import-untyped]

from benchmark.data.checksums import DamagedError
from benchmark.data.images.decoding import EncodedImages
from benchmark.data.own.columns import Columns, choose_columns
from benchmark.data.own.files import PICTURES, PictureFolder, told_split
from benchmark.data.own.items import Collection, Faults, Gatherer, Item, Place, Reading
from benchmark.data.own.readers.text_tables import texts_of
from benchmark.data.published.remote import answers, list_files, resolve_commit
from benchmark.data.published.tables import column_names, progress_bars
from benchmark.data.splits import SplitName
from benchmark.errors import UserError
from benchmark.files import sha256_bytes


def read_parquet(reading: Reading, files: Sequence[str]) -> Collection:
    """Read parquet files with a column of pictures (or of their paths) and captions.

    Rows with the same picture are one image. The files' or folders' names tell splits where no column does.
    """
    faults = Faults()
    paths = [reading.source if reading.source.is_file() else reading.source / file for file in files]
    with progress_bars(reading.show_progress), damages(paths):
        found = column_names(paths[0])
        chosen = choose_columns(found, reading, faults, paths[0].name)
        if chosen is None:
            return Collection([], faults)
        table = open_parquet(paths, chosen.told())
        sizes = [_rows_of(path) for path in paths]
    return _gather(table, chosen, faults, reading, _told_splits(files, sizes), list(files), paths[0].name)


def open_parquet(paths: Sequence[Path], columns: dict[str, str]) -> Any:
    """Return the columns of a card from parquet files as one memory-mapped table, pictures not decoded."""
    from benchmark.data.published.parquet import prepare_table

    wanted = list(dict.fromkeys(name for told in columns.values() for name in told.split(", ")))
    return undecoded(prepare_table(paths, wanted), columns["image"])


def undecoded(table: Any, image: str) -> Any:
    """Return the table with pictures as they are stored; one of paths stays as it is."""
    import datasets

    if _kind(table, image) == "text":
        return table
    return table.cast_column(image, datasets.Image(decode=False))


def _rows_of(path: Path) -> int:
    import pyarrow.parquet  # type: ignore[import-untyped]

    return int(pyarrow.parquet.ParquetFile(path).metadata.num_rows)


@contextmanager
def damages(paths: Sequence[Path]) -> Iterator[None]:
    """Turn what the libraries raise about damaged files, and columns that some files lack, into one line."""
    import datasets

    try:
        yield
    except datasets.exceptions.DatasetGenerationError as error:
        reason = " ".join(str(error.__cause__ or error).split())[:160]
        raise DamagedError(paths[0], reason) from None
    except (pyarrow.ArrowException, KeyError) as error:
        raise UserError(
            f"{paths[0].as_posix()}: cannot be read as a table: {' '.join(str(error).split())[:160]}"
        ) from None


# ------------------------------------------------------------------------------------- the Hub


def read_hub(reading: Reading, files: Sequence[str]) -> Collection:
    """Read a repository of the Hub through `datasets`, whatever it is made of; its splits are taken as they are named.

    files: not used; those of the repository are its own matter.
    """
    del files
    faults = Faults()
    commit = resolve_commit(reading.repository, reading.revision or "")
    with progress_bars(reading.show_progress):
        tables = load_tables(reading.repository, commit, reading.config)
    names = list(tables)
    table = _joined(tables, names)
    images = [name for name, kind in table.features.items() if type(kind).__name__ == "Image"]
    for name in left_out(reading.repository, commit, table, images):
        faults.lacks(LEFT_OUT, name)
    chosen = choose_columns(table.column_names, reading, faults, reading.repository, images)
    if chosen is None:
        return Collection([], faults)
    splits = _told_splits(names, [len(tables[name]) for name in names])
    table = with_bytes(undecoded(table, chosen.image), chosen.image)
    found = _gather(table, chosen, faults, reading, splits, names, reading.repository)
    return Collection(found.items, faults, found.columns, names, commit, found.notes)


def load_tables(repository: str, commit: str, config: str | None) -> Any:
    """Return the tables of a repository at a commit by the names of their splits. Raises UserError, in one line."""
    import datasets

    try:
        with answers(repository, commit):
            return datasets.load_dataset(repository, name=config, revision=commit)
    except UserError:
        raise
    except Exception as error:  # of a repository of any making
        reason = " ".join(str(error.__cause__ or error).split())[:200]
        hint = "; name one with --config" if "onfig" in reason else ""
        raise UserError(f"{repository}: cannot be read by `datasets`: {reason}{hint}") from None


def open_hub(repository: str, commit: str, config: str | None, names: Sequence[str], image: str) -> Any:
    """Return the table of a card from the Hub, pictures not decoded."""
    return with_bytes(undecoded(_joined(load_tables(repository, commit, config), names), image), image)


def with_bytes(table: Any, image: str) -> Any:
    """Return the table with its pictures inside; a repository of loose pictures has their paths alone."""
    from datasets.table import embed_table_storage

    if _kind(table, image) == "text" or _paths_alone(table, image) is None:
        return table
    return table.with_format("arrow").map(embed_table_storage, batched=True, batch_size=100).with_format(None)


LEFT_OUT = (
    "pictures without a row, such as `datasets` leaves out where other pictures' names hold words like test or val, "
    "which it takes for splits"
)


def left_out(repository: str, commit: str, table: Any, images: Sequence[str]) -> list[str]:
    """Return the loose pictures of a repository that are in none of its rows, if there are more than rows."""
    pictures = [name for name in list_files(repository, commit) if Path(name).suffix.lower() in PICTURES]
    if len(pictures) <= len(table):
        return []
    paths = [path for column in images for path in _paths(undecoded(table, column), column)]
    known = {Path(path).name for path in paths if path}
    return sorted(name for name in pictures if Path(name).name not in known)


def _joined(tables: Any, names: Sequence[str]) -> Any:
    import datasets

    return datasets.concatenate_datasets([tables[name] for name in names])


# ------------------------------------------------------------------------------------- rows


def _told_splits(names: Sequence[str], sizes: Sequence[int]) -> list[SplitName | None]:
    """Return the split of each row by the names of tables of so many rows; None for all where these tell only one."""
    told = [told_split(Path(name)) for name in names]
    if len({*told} - {None}) < 2:
        return [None] * sum(sizes)
    return [split for split, size in zip(told, sizes, strict=True) for _ in range(size)]


def _gather(
    table: Any,
    chosen: Columns,
    faults: Faults,
    reading: Reading,
    told: Sequence[SplitName | None],
    files: list[str],
    where: str,
) -> Collection:
    kind = _kind(table, chosen.image)
    if kind not in ("pictures", "text"):
        faults.wrong.append(
            f"{where}: column '{chosen.image}' holds {kind}, expected pictures (bytes) or their paths"
        )
        return Collection([], faults)
    captions = [table[name][:] for name in chosen.captions]
    parts = [str(part) for part in table[chosen.split][:]] if chosen.split else told
    gatherer = Gatherer(faults)
    digests: dict[str, str] = {}
    paths = (
        [str(name) for name in table[chosen.image][:]]
        if kind == "text"
        else _paths_alone(table, chosen.image)
    )
    if paths is not None:
        keys, names = paths, dict[str, str]()
        places = PictureFolder(reading.picture_folder).places(keys, faults)
    else:
        keys, names, places = _pictures(table, chosen.image, faults)
        digests = {key: key for key in places}
    for row, key in enumerate(keys):
        if not key:
            continue
        texts = [text for column in captions for text in texts_of(column[row])]
        gatherer.add(key, texts, parts[row], f"{where}: row {row:,}")
    items = [
        Item(names.get(item.id, item.id), names.get(item.id, item.file), item.place, item.captions, item.split,
             digests.get(item.id, ""))
        for item in gatherer.items(places)
    ]  # fmt: skip
    return Collection(_distinct(items), faults, chosen.told(), files)


def _pictures(table: Any, image: str, faults: Faults) -> tuple[list[str], dict[str, str], dict[str, Place]]:
    """Return the sha256 of each row's picture, its name and its place; rows without a picture are a fault."""
    paths = _paths(table, image)
    names = [Path(path).name if path else f"row {row}" for row, path in enumerate(paths)]
    images = EncodedImages(table, image, np.arange(len(table)), names, "the table")
    empty = sha256_bytes(b"")  # of a cell without a picture
    keys = [digest.hex() for digest in images.digests()]
    lost = [row for row, key in enumerate(keys) if key == empty]
    for row in lost:
        faults.lacks("rows without a picture", names[row])
        keys[row] = ""
    known: dict[str, str] = {}
    places: dict[str, Place] = {}
    for row, key in enumerate(keys):
        if key:
            known.setdefault(key, names[row])
            places.setdefault(key, (row,))
    return keys, known, places


def _paths_alone(table: Any, image: str) -> list[str] | None:
    """Return the paths of a column of pictures that holds nothing else, as `Dataset.to_parquet` writes it."""
    chunks = table.data.column(image).chunks
    if any(chunk.field("bytes").null_count < len(chunk) for chunk in chunks):
        return None
    found = _paths(table, image)
    return [path for path in found if path] if all(found) else None


def _paths(table: Any, image: str) -> list[str | None]:
    """Return the path beside each picture, without reading the pictures."""
    found: list[str | None] = []
    for chunk in table.data.column(image).chunks:
        found += chunk.field("path").to_pylist()
    return found


def _distinct(items: Sequence[Item]) -> list[Item]:
    """Return the images with ids of their own: files of one name in a table get the number of their row."""
    counts: dict[str, int] = {}
    for item in items:
        counts[item.id] = counts.get(item.id, 0) + 1
    return [
        item if counts[item.id] == 1
        else Item(f"{item.id} ({item.place[0]})", item.file, item.place, item.captions, item.split, item.digest)
        for item in items
    ]  # fmt: skip


def _kind(table: Any, column: str) -> str:
    """Return what a column holds: `pictures`, `text`, or Arrow's name of another type."""
    type_ = table.data.schema.field(column).type
    types = pyarrow.types
    if types.is_string(type_) or types.is_large_string(type_):
        return "text"
    if types.is_struct(type_) and {"bytes", "path"} <= {field.name for field in type_}:
        return "pictures"
    return "pictures" if types.is_binary(type_) or types.is_large_binary(type_) else str(type_)[:60]
