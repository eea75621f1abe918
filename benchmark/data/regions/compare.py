"""How close two sets of region features are: SCAN folders, TSV files, what the detector kept, or pictures.

Of each image that both sets have, the regions are matched, greedily, the best pair first: by the overlap of their boxes
where both sets tell them, else by the cosine of their features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torchvision.ops import box_iou
from tqdm import tqdm

from benchmark.data.images.decoding import FileImages
from benchmark.data.published.pictures import files_below
from benchmark.data.regions.arrays import ArrayRegions, Floats, open_npy
from benchmark.data.regions.detected import Detection
from benchmark.data.regions.kept import features_in, is_whole, read_notes
from benchmark.data.regions.scan import (
    PARTS,
    file_names,
    is_scan_folder,
    read_captions,
    read_ids,
    rows_of_images,
)
from benchmark.data.regions.tsv import NAMES, convert_tsv, number_of, tsv_files
from benchmark.data.splits import Regions, Split
from benchmark.errors import UserError

Doubles = np.ndarray[Any, np.dtype[np.float64]]

OVERLAP = 0.5
"""The least overlap (intersection over union) of the boxes of a pair."""

ALIKE = 0.9
"""The cosine from which a pair counts as matched where there are no boxes."""

BATCH = 64
"""Images that are compared at once."""


@dataclass(frozen=True)
class FeatureSet:
    """Region features of named images; `boxes` gives those of some rows, (n, R, 4) in pixels, where they are known."""

    title: str
    names: Sequence[str]
    regions: Regions
    boxes: Callable[[Sequence[int]], Floats] | None = None

    def rows(self) -> dict[str, int]:
        """Return the first row of each image, by the number in its name."""
        found: dict[str, int] = {}
        for row, name in enumerate(self.names):
            found.setdefault(number_of(name), row)
        return found


@dataclass(frozen=True)
class Comparison:
    """What matching the regions of the images that two sets share has shown; a row an image."""

    titles: tuple[str, str]
    images: Sequence[str]
    matched: Doubles
    """(n,) the share of the first set's regions that have a partner."""
    mean: Doubles
    """(n,) mean cosine of the pairs; NaN where there is none."""
    worst: Doubles
    """(n,) least cosine of the pairs; NaN likewise."""
    by_boxes: bool
    alone: tuple[int, int]
    """The images that only the first, and only the second set has."""


def compare_features(a: FeatureSet, b: FeatureSet, *, show_progress: bool = True) -> Comparison:
    """Match the regions of all images that both sets have.

    Raises UserError where they share none, and where their features have another width.
    """
    if a.regions.shape[1] != b.regions.shape[1]:
        raise UserError(
            f"features of width {a.regions.shape[1]:,} ({a.title}) and {b.regions.shape[1]:,} ({b.title}): expected "
            "the same"
        )
    ours, theirs = a.rows(), b.rows()
    shared = [name for name in ours if name in theirs]
    if not shared:
        raise UserError(
            f"no image of {a.title} is in {b.title}: they are called '{a.names[0]}' and '{b.names[0]}'; with "
            "--dataset, ids of SCAN's folders stand for file names"
        )
    by_boxes = a.boxes is not None and b.boxes is not None
    parts = []
    for start in tqdm(range(0, len(shared), BATCH), desc="compare", disable=None if show_progress else True):
        names = shared[start : start + BATCH]
        parts.append(_compared(a, b, [ours[name] for name in names], [theirs[name] for name in names]))
    matched, mean, worst = (np.concatenate([part[k] for part in parts]) for k in range(3))
    alone = len(ours) - len(shared), len(theirs) - len(shared)
    images = [a.names[ours[name]] for name in shared]
    return Comparison((a.title, b.title), images, matched, mean, worst, by_boxes, alone)


def _compared(
    a: FeatureSet, b: FeatureSet, rows: Sequence[int], others: Sequence[int]
) -> tuple[Doubles, Doubles, Doubles]:
    """Return the matched share, mean and least cosine (n,) of some images."""
    one, two = a.regions.regions(rows), b.regions.regions(others)  # (n, R, D), (n, S, D)
    ours, theirs = (
        np.asarray(part.any(axis=2)) for part in (one, two)
    )  # (n, R), (n, S): zeros are no regions
    there = ours[:, :, None] & theirs[:, None, :]  # (n, R, S)
    cosines = _cosines(one, two)  # (n, R, S)
    if a.boxes is None or b.boxes is None:
        pairs, counted = greedy_pairs(np.where(there, cosines, -np.inf), -1.0), ALIKE
    else:
        boxes = zip(a.boxes(rows), b.boxes(others), strict=True)
        overlaps = np.stack([box_iou(*map(torch.from_numpy, pair)).numpy() for pair in boxes])
        pairs, counted = greedy_pairs(np.where(there, overlaps, -np.inf), OVERLAP), -np.inf
    found = np.where(pairs, cosines, np.nan)  # (n, R, S)
    has = pairs.any(axis=(1, 2))
    mean, worst = (np.full(len(rows), np.nan) for _ in range(2))
    mean[has], worst[has] = np.nanmean(found[has], axis=(1, 2)), np.nanmin(found[has], axis=(1, 2))
    regions = np.maximum(1, ours.sum(axis=1))  # (n,)
    return (pairs & (cosines >= counted)).sum(axis=(1, 2)) / regions, mean, worst


def _cosines(one: Floats, two: Floats) -> Doubles:
    """Return the cosines (n, R, S) of features (n, R, D) and (n, S, D); 0 for a feature of zeros."""
    units = []
    for part in (one.astype(np.float64), two.astype(np.float64)):
        norms = np.linalg.norm(part, axis=2, keepdims=True)
        units.append(part / np.where(norms == 0, 1, norms))
    found: Doubles = units[0] @ units[1].transpose(0, 2, 1)
    return found


def greedy_pairs(scores: Doubles, least: float) -> np.ndarray:
    """Return which pairs (n, R, S) are matched: the best first, each region once, scores under `least` never."""
    left, images = scores.copy(), np.arange(len(scores))
    pairs = np.zeros(scores.shape, dtype=bool)
    for _ in range(min(scores.shape[1:])):
        row, column = np.unravel_index(left.reshape(len(left), -1).argmax(axis=1), scores.shape[1:])
        good = left[images, row, column] >= least
        pairs[images[good], row[good], column[good]] = True
        left[images, row, :] = left[images, :, column] = -np.inf
    return pairs


# -------------------------------------------------------------------------------------- what people have


def open_features(
    path: Path, dataset: str, converted: Path, detection: Callable[[], Detection], *, show_progress: bool
) -> FeatureSet:
    """Open a SCAN folder, TSV files, a folder of the detector's store, or a folder of pictures.

    dataset: of the ids of a SCAN folder. converted: the folder for converted TSV files. detection: finds the regions of
    pictures. Raises UserError for anything else, and for what is damaged.
    """
    if path.is_file() and NAMES.search(path.name.lower()):
        return _open_tsv([path], converted, show_progress=show_progress)
    check_there(path)
    if is_scan_folder(path):
        return _open_scan(path, dataset)
    if any(path.glob("*.safetensors")):
        return _open_kept(path)
    if any(NAMES.search(item.name.lower()) for item in path.iterdir()):
        return _open_tsv(tsv_files(path), converted, show_progress=show_progress)
    return _open_pictures(path, detection)


def check_there(path: Path) -> None:
    """Raise UserError where there is neither a folder nor a .tsv file."""
    if not path.is_dir() and not (path.is_file() and NAMES.search(path.name.lower())):
        raise UserError(f"{path.as_posix()}: no such folder, nor a .tsv file")


def _open_tsv(paths: Sequence[Path], converted: Path, *, show_progress: bool) -> FeatureSet:
    found = convert_tsv(paths, converted, show_progress=show_progress)
    return FeatureSet(paths[0].name, list(found.places), found.regions, found.boxes)


def _open_scan(folder: Path, dataset: str) -> FeatureSet:
    """All parts of the folder as one."""
    files, rows, names, start = [], [], [], 0
    for part in (part for parts in PARTS.values() for part in parts):
        if not (folder / f"{part}_ims.npy").is_file():
            continue
        file = open_npy(folder / f"{part}_ims.npy")
        captions = read_captions(folder / f"{part}_caps.txt")
        own = rows_of_images(file, captions, part)
        names += file_names(
            folder, dataset, read_ids(folder / f"{part}_ids.txt", part, len(own), len(captions))
        )
        files.append(file)
        rows.append(own + start)
        start += file.shape[0]
    if not files:
        raise UserError(f"{folder.as_posix()}: found captions and no _ims.npy, expected a SCAN folder")
    title = folder.resolve().name
    return FeatureSet(title, names, ArrayRegions(tuple(files), np.concatenate(rows), title))


def _open_kept(folder: Path) -> FeatureSet:
    files, names, boxes = [], [], []
    for path in sorted(folder.glob("*.safetensors")):
        try:
            if not is_whole(path):
                raise ValueError("its content has another checksum than its name")
            names += read_notes(path)[1]
            files.append(features_in(path))
            with safe_open(path, framework="numpy") as file:
                boxes.append(file.get_tensor("boxes"))
        except (OSError, ValueError, KeyError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"{path.as_posix()}: not a file of the detector's features ({reason})") from None
    regions = ArrayRegions(tuple(files), np.arange(len(names)), folder.name)
    whole = np.concatenate(boxes)  # (n, R, 4)
    return FeatureSet(folder.resolve().name, names, regions, lambda rows: whole[list(rows)])


def _open_pictures(folder: Path, make_detection: Callable[[], Detection]) -> FeatureSet:
    paths = [path for path in files_below(folder) if path.suffix.lower() in (".jpg", ".jpeg", ".png")]
    if not paths:
        raise UserError(
            f"{folder.as_posix()}: found neither region features (SCAN's arrays, .tsv files, the detector's store) nor "
            "pictures"
        )
    below = [path.relative_to(folder).as_posix() for path in paths]
    none = np.zeros(0, np.int64)
    detection = make_detection()
    split = detection.attach(Split("test", below, below, [], [], none, FileImages(folder, below, below)))
    assert split.regions is not None, "attached"
    boxes = detection.kept.tensor("boxes", detection.pictures(split))  # (n, R, 4)
    return FeatureSet(
        f"pictures in {folder.resolve().name}", below, split.regions, lambda rows: boxes[list(rows)]
    )
