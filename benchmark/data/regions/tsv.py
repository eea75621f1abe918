"""Bottom-up-attention TSV files, converted once into .npy (data.md 2.2 and 3.1).

A line is an image: its id first, then sizes and whatever else, and in the last three columns the number of boxes, the
boxes and the features, both as base64 of float32. A first pass finds the lines and checks their counts; the features
are then decoded chunk by chunk into a cache (cache.py), so that an interrupted conversion goes on where it stopped.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
from tqdm import tqdm

from benchmark.data.regions.arrays import ArrayRegions, Floats
from benchmark.data.regions.cache import Chunks
from benchmark.data.splits import NoPictures, Split
from benchmark.errors import UserError
from benchmark.files import sha256_bytes, write_text
from benchmark.guarded import read_json

NAMES = re.compile(r"\.tsv(?:\.\d+)?$")
"""The ends of file names, in lower case; the published adaptive files are numbered parts."""

MARK = b"\xef\xbb\xbf"
"""The byte order mark that some editors put before the first character."""

BOXES = 36
WIDTH = 2_048
FEATURE_BYTES = BOXES * WIDTH * 4
ENCODED = 4 * -(-FEATURE_BYTES // 3)
"""Characters of base64 of an image's features."""

LONGEST = 2**22
"""Bytes of a line at most."""

HEADINGS = (b"image_id\t", b"img_id\t")
"""Some files begin with the names of the columns."""

ENDS = 2**20
"""Bytes at both ends of a file that stand for it: hashing 25 GB would take as long as converting them."""


@dataclass(frozen=True)
class TSVRow:
    """The place of an image's line."""

    image: str
    file: int
    start: int
    length: int


@dataclass(frozen=True)
class Converted:
    """Features of all images of some TSV files: `places` has each image's row by its id."""

    regions: ArrayRegions
    places: Mapping[str, int]
    paths: Sequence[Path]
    lines: Sequence[TSVRow]

    def boxes(self, rows: Sequence[int]) -> Floats:
        """Return the boxes (n, 36, 4) of some images. Raises UserError where they are not 36 x 4 float32."""
        return _decoded(self.paths, [self.lines[row] for row in rows], -2, 4)


def tsv_files(folder: Path) -> list[Path]:
    """The TSV files of a folder, in parts or whole; raises UserError where there is none."""
    there = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    files = [folder / name for name in there if NAMES.search(name.lower())]
    if not files:
        near = [name for name in there if "tsv" in name.lower()]
        found = f"found {', '.join(near[:3])} and no .tsv file" if near else "found no .tsv file"
        raise UserError(
            f"data folder {folder.as_posix()}: {found}, expected bottom-up-attention features (NAME.tsv, NAME.tsv.0)"
        )
    return files


def convert_tsv(paths: Sequence[Path], cache: Path, *, show_progress: bool = True) -> Converted:
    """Convert TSV files to .npy chunks below `cache`, with `ids.json` beside them, where they are missing.

    An image that comes twice counts once, with its first line. Raises UserError that names file and line for
    another number of boxes than 36, features that are not 36 x 2048 float32, and lines that are no TSV of features.
    """
    folder = cache / f"tsv-{tsv_key(paths)[:16]}"
    lines = _index(paths, folder, show_progress=show_progress)
    chunks = Chunks(folder, len(lines), "<f4", f"convert {paths[0].name}")
    files = chunks.fetch(
        lambda rows: _decoded(paths, [lines[row] for row in rows]), show_progress=show_progress
    )
    names = ", ".join(path.name for path in paths)
    regions = ArrayRegions(files, np.arange(len(lines)), f"bottom-up-attention features of {names}")
    return Converted(regions, {line.image: row for row, line in enumerate(lines)}, paths, lines)


def tsv_key(paths: Sequence[Path]) -> str:
    """Return the sha256 over names, sizes and both ends of the files."""
    parts = []
    for path in paths:
        size = path.stat().st_size
        with path.open("rb") as handle:
            head = handle.read(ENDS)
            handle.seek(max(0, size - ENDS))
            parts += [f"{path.name} {size}\n".encode(), head, handle.read(ENDS)]
    return sha256_bytes(*parts)


# ----------------------------------------------------------------------------------------- lines


def _index(paths: Sequence[Path], folder: Path, *, show_progress: bool) -> list[TSVRow]:
    """Return every image's line; found once, and kept in `ids.json`."""
    kept = folder / "ids.json"
    try:
        return [TSVRow(*entry) for entry in read_json(kept)]
    except (OSError, ValueError, TypeError):
        pass  # not there yet, or damaged: the lines are looked for again
    found: dict[str, TSVRow] = {}
    total = sum(path.stat().st_size for path in paths)
    with tqdm(
        total=total, desc="read", unit="B", unit_scale=True, disable=None if show_progress else True
    ) as bar:
        for number, path in enumerate(paths):
            for line in _lines_of(path, number, bar.update):
                found.setdefault(line.image, line)
    if not found:
        raise UserError(f"{paths[0].name}: found no image, expected a line each")
    lines = list(found.values())
    write_text(kept, json.dumps([[line.image, line.file, line.start, line.length] for line in lines]))
    return lines


def _lines_of(path: Path, number: int, advance: Callable[[int], object]) -> Iterator[TSVRow]:
    start, blank = 0, 0
    with path.open("rb") as handle:
        for count, content in enumerate(iter(lambda: handle.readline(LONGEST), b""), start=1):
            line = content.removeprefix(MARK) if count == 1 else content
            blank = blank or (count if not line.strip() else 0)  # at the very end they are no lines
            if line.strip() and (count > 1 or not line.startswith(HEADINGS)):
                if blank:
                    raise UserError(f"{path.name}: line {blank:,} is empty, expected an image")
                yield TSVRow(_checked(line, f"{path.name}: line {count:,}"), number, start, len(content))
            start += len(content)
            advance(len(content))


def _checked(content: bytes, where: str) -> str:
    """Return the image's id of a line whose counts are right."""
    columns = content.rstrip(b"\r\n").split(b"\t")
    if len(columns) < 4:
        raise UserError(
            f"{where}: found {len(columns)} columns, expected image_id, image_w, image_h, num_boxes, boxes and features"
        )
    image, boxes, features = columns[0].decode("utf-8", "replace"), columns[-3], columns[-1]
    where = f"{where} (image {image})"
    if boxes.strip() != str(BOXES).encode():
        found = boxes[:20].decode("utf-8", "replace")
        raise UserError(
            f"{where}: found {found} boxes, expected {BOXES}; take the files with {BOXES} boxes an image"
        )
    if len(features) != ENCODED:
        raise UserError(
            f"{where}: found {len(features):,} characters of features, expected {ENCODED:,} for {BOXES} x {WIDTH:,} "
            "float32; is the file complete?"
        )
    return number_of(image)


def _decoded(paths: Sequence[Path], lines: Sequence[TSVRow], column: int = -1, width: int = WIDTH) -> Floats:
    """Return the features (n, 36, 2048) of some lines, or another column, counted from the end."""
    out = np.empty((len(lines), BOXES, width), dtype=np.float32)
    for place, line in enumerate(lines):
        with paths[line.file].open("rb") as handle:
            handle.seek(line.start)
            text = handle.read(line.length).rstrip(b"\r\n").split(b"\t")[column]
        try:
            values = np.frombuffer(base64.b64decode(text, validate=True), dtype="<f4")
            out[place] = values.reshape(BOXES, width)
        except (binascii.Error, ValueError):
            what = "features" if column == -1 else "boxes"
            where = f"{paths[line.file].name}: image {line.image}"
            raise UserError(f"{where}: its {what} are not base64 of {BOXES} x {width:,} float32") from None
    return out


# ---------------------------------------------------------------------------------------- splits


def with_tsv(split: Split, converted: Converted) -> Split:
    """Return the split with the features of its images, found by their id or by the number in their file name.

    Raises UserError that counts the images without features and names the first.
    """
    places = [
        converted.places.get(image, converted.places.get(number_of(name)))
        for image, name in zip(split.image_ids, split.filenames, strict=True)
    ]
    absent = [row for row, place in enumerate(places) if place is None]
    if absent:
        raise UserError(
            f"split '{split.name}': {len(absent):,} of {len(split):,} images have no line in the TSV files, the first "
            f"is {split.image_ids[absent[0]]} ({split.filenames[absent[0]]})"
        )
    rows = [place for place in places if place is not None]
    return replace(split, images=NoPictures(len(split)), regions=converted.regions.select(rows))


def number_of(name: str) -> str:
    """Take `42` from `val2014/COCO_val2014_000000000042.jpg`."""
    digits = PurePosixPath(name).stem.rpartition("_")[2]
    return str(int(digits)) if digits.isdecimal() else digits
