"""Data in a local folder (`--data-dir`): parquet files of any known schema, or pictures with Karpathy's JSON file.

What the folder holds is found out by looking: parquet files first, then `dataset_*.json` (data.md 2.1), and for
datasets whose captions can be had without pictures (MSCOCO), a folder of nothing but pictures.
"""

from __future__ import annotations

import filecmp
import re
from collections.abc import Sequence
from pathlib import Path

from benchmark.data.published.adapters import PARTS, OtherColumnsError, assemble, recognise, rows_in_order
from benchmark.data.published.annotations import karpathy_file, read_karpathy
from benchmark.data.published.hub import Loaded, PicturesOf, Request, hub_split, read_split
from benchmark.data.published.pictures import files_below, find_pictures, pictures_of
from benchmark.data.published.tables import column_names
from benchmark.data.splits import NoPictures
from benchmark.errors import UserError

_MARKS = {**PARTS, "restval": "restval"}


def local_split(request: Request, folder: Path) -> Loaded:
    """Return one split from a local folder; raises UserError where it holds nothing that can be read."""
    if not folder.is_dir():
        raise UserError(f"data folder {folder.as_posix()}: no such folder")
    parquet = parquet_files(folder, request)
    if parquet:
        split, _ = read_split(request, parquet, folder.as_posix(), tuple(parquet))
        return Loaded(split, "local", "local parquet files", [])
    annotations = karpathy_file(folder, request.entry.name)
    if annotations is not None:
        return _karpathy_split(
            request, annotations, "pictures", lambda rows, kept: find_pictures(folder, rows, kept)
        )
    if any(source.needs_pictures for source in request.entry.sources) and pictures_of(folder):
        return hub_split(request, lambda rows, kept: find_pictures(folder, rows, kept))
    raise UserError(
        f"data folder {folder.as_posix()}: found no parquet file of split '{request.split}' "
        f"({request.split}-*.parquet) and no dataset_*.json; expected one of the two"
    )


def captions_split(request: Request, folder: Path) -> Loaded:
    """Load one split without pictures: by Karpathy's JSON in the folder, else captions that the Hub has alone.

    Raises UserError where there are neither.
    """
    annotations = karpathy_file(folder, request.entry.name)
    if annotations is not None:
        return _karpathy_split(request, annotations, "features", lambda _rows, kept: NoPictures(len(kept)))
    if any(source.needs_pictures for source in request.entry.sources):
        return hub_split(request, lambda _rows, kept: NoPictures(len(kept)))
    raise UserError(
        f"data folder {folder.as_posix()}: found no dataset_*.json, expected Karpathy's annotations beside the features"
    )


def parquet_files(folder: Path, request: Request) -> list[Path]:
    """Parquet files of a split at any depth: by their names, else their folders, else those with a split column.

    A file of a whole corpus that a declared split is made from needs none of it. Raises UserError where nothing says
    which split a file is, and where a file of this split is one of another split too.
    """
    everything = [path for path in files_below(folder) if path.name.endswith(".parquet")]
    marks = {path: _marked(path.relative_to(folder)) for path in everything}
    said = {mark for mark in marks.values() if mark is not None}
    if len(said) < 2 and all(map(_has_split_column, everything)):
        return everything  # a corpus in one folder, perhaps called after a single split
    if everything and not said:
        if request.entry.declared is not None:
            return everything
        raise UserError(
            f"{everything[0].as_posix()}: nothing says which split it is, expected train, val or test in its name or "
            "its folder's (test.parquet, test/0000.parquet), or a column 'split'"
        )
    parts = {request.split, "restval"} if request.split == "train" and request.restval else {request.split}
    chosen = [path for path in everything if marks[path] in parts]
    _check_apart(chosen, [path for path in everything if marks[path] not in {None, *parts}])
    return chosen


def _marked(path: Path) -> str | None:
    """The one split that a file's name tells, else the nearest of its folders' that tells one."""
    for name in (path.stem, *reversed(path.parts[:-1])):
        found = {_MARKS[word] for word in re.split("[^a-z]+", name.lower()) if word in _MARKS}
        if len(found) == 1:
            return next(iter(found))
    return None


def _has_split_column(path: Path) -> bool:
    columns = column_names(path)
    try:
        return recognise(columns, path.name).part in columns
    except OtherColumnsError:
        return False


def _check_apart(chosen: Sequence[Path], others: Sequence[Path]) -> None:
    """Raise UserError where a file is the same as one of another split, and no column tells its rows apart."""
    sizes = {path: path.stat().st_size for path in (*chosen, *others)}
    for path in chosen:
        for other in others:
            if (
                sizes[path] == sizes[other]
                and filecmp.cmp(path, other, shallow=False)
                and not _has_split_column(path)
            ):
                raise UserError(
                    f"{path.as_posix()} and {other.as_posix()} are the same file: a model would be trained on what it "
                    "is tested on; expected one file a split"
                )


def _karpathy_split(request: Request, annotations: Path, what: str, pictures: PicturesOf) -> Loaded:
    rows = read_karpathy(annotations)
    kept = rows_in_order(rows, request.split, restval=request.restval, published=(), where=annotations.name)
    images = pictures(rows, kept)
    split = assemble(request.split, rows, kept, images, request.captions_per_image)
    return Loaded(split, "local", f"local {what} with {annotations.name}", [])
