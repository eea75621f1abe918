"""SCAN-style folders of the detector's features, for other people's code and for our own reader (data.md 2.2).

`rematch.json` beside the arrays says whose features they are: a run from such a folder is no run on SCAN's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmark.data.regions.cache import CHUNK
from benchmark.data.regions.scan import CAPTIONS, VALIDATION_IMAGES, flickr30k_by_id
from benchmark.data.splits import Dataset, Split
from benchmark.errors import UserError
from benchmark.files import replacing, write_text
from benchmark.guarded import read_json
from benchmark.strict import Strict

MARK = "rematch.json"

PARTS = {"train": "train", "val": "dev", "test": "test"}
"""The first parts of file names by split; all of MSCOCO's test images are `testall`, and the first fold is `test`."""


class Mark(Strict):
    """The content of MARK: what a record says of the features."""

    dataset: str
    features: str
    """As signatures name them."""
    departures: list[str]


def read_mark(folder: Path | None) -> Mark | None:
    """Return what an exported folder says of itself; None: it was not exported. Raises UserError for a damaged file."""
    if folder is None or not (folder / MARK).is_file():
        return None
    try:
        return Mark.model_validate(read_json(folder / MARK))
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{(folder / MARK).as_posix()}: not the mark of an export ({reason})") from None


def check_target(folder: Path, dataset: str) -> None:
    """Raise UserError where a folder holds anything but an export of this dataset, which may be unfinished."""
    mark = read_mark(folder)
    if mark is None and folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"option --export-scan: {folder.as_posix()} holds other files; name an empty folder")
    if mark is not None and mark.dataset != dataset:
        raise UserError(
            f"option --export-scan: {folder.as_posix()} holds features of {mark.dataset}, expected {dataset}; name "
            "an empty folder"
        )


def export_scan(dataset: Dataset, folder: Path, *, show_progress: bool = True) -> list[str]:
    """Write `<part>_ims.npy`, `_caps.txt` and `_ids.txt` of every split, and `id_mapping.json`; return their names.

    Features are float32, each image once. Raises UserError where an image has not five captions.
    """
    assert dataset.features is not None, "the detector's features alone are exported"
    mark = Mark(dataset=dataset.name, features=dataset.features, departures=dataset.departures)
    write_text(folder / MARK, json.dumps(mark.model_dump(), indent=2) + "\n")
    written, mapping = [MARK], dict[str, str]()
    for part, split in _parts(dataset):
        ids = _ids(dataset.name, split)
        mapping |= dict(zip(ids, split.filenames, strict=True))
        _write_part(folder, part, split, ids, show_progress=show_progress)
        written += [f"{part}_{kind}" for kind in ("ims.npy", "caps.txt", "ids.txt")]
    write_text(folder / "id_mapping.json", json.dumps(mapping))
    return [*written, "id_mapping.json"]


def _parts(dataset: Dataset) -> Iterator[tuple[str, Split]]:
    for name, split in dataset.splits.items():
        if any(len(rows) != CAPTIONS for rows in split.rows_of_images()):
            raise UserError(f"option --export-scan: split '{name}' has images without {CAPTIONS} captions")
        if name == "test" and dataset.name == "mscoco":
            yield "testall", split
            split = split.first_images(VALIDATION_IMAGES)
        yield PARTS[name], split


def _ids(dataset: str, split: Split) -> list[str]:
    """Return the number of each image: Flickr30K: the place in Karpathy's file; MSCOCO: cocoid (data.md 2.2)."""
    if dataset == "flickr30k":
        numbers = {name: number for number, name in flickr30k_by_id().items()}
        if all(name in numbers for name in split.filenames):
            return [numbers[name] for name in split.filenames]
    if all(item.isdecimal() for item in split.image_ids):
        return split.image_ids
    first = {"train": 0, "val": 1, "test": 2}[split.name] * 1_000_000
    return [str(first + row) for row in range(len(split))]


def _write_part(folder: Path, part: str, split: Split, ids: list[str], *, show_progress: bool) -> None:
    regions = split.regions
    assert regions is not None, "checked with the dataset"
    shape = (len(split), *regions.shape)
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    rows = range(0, len(split), CHUNK)
    with replacing(folder / f"{part}_ims.npy") as handle:
        np.lib.format.write_array_header_1_0(handle, header)
        for start in tqdm(rows, desc=f"write {part}", disable=None if show_progress else True):
            found = regions.regions(range(start, min(start + CHUNK, len(split))))
            handle.write(np.ascontiguousarray(found, "<f4").data.cast("B"))
    captions = [" ".join(caption.splitlines()) for caption in split.captions]
    write_text(folder / f"{part}_caps.txt", "".join(f"{caption}\n" for caption in captions))
    write_text(folder / f"{part}_ids.txt", "".join(f"{number}\n" for number in ids))
