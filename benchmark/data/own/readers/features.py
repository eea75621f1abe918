"""SCAN-style features: `<part>_ims.npy` and `_caps.txt`, any number of captions an image, and ids that are names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import numpy as np

from benchmark.data.own.items import Collection, Faults, Item, Reading
from benchmark.data.regions.arrays import ArrayRegions, NpyFile, open_npy
from benchmark.data.regions.scan import PARTS, read_captions
from benchmark.data.splits import SplitName
from benchmark.errors import UserError, shown


def feature_parts(folder: Path) -> list[str]:
    """Return the parts that a folder has features of, those of training first."""
    return [part for parts in PARTS.values() for part in parts if (folder / f"{part}_ims.npy").is_file()]


def read_features(reading: Reading, files: Sequence[str]) -> Collection:
    """Read features with captions; `_ids.txt` has a line a caption or a line an image, and lines may be names.

    Without it every image has as many captions as divide evenly. Features may be stored once an image, or once a
    caption. Of `testall` and `test` the first is read.
    """
    faults, notes = Faults(), list[str]()
    items: list[Item] = []
    for split, parts in PARTS.items():
        there = [part for part in parts if part in files]
        if not there:
            faults.wrong.append(
                f"found no {' or '.join(f'{part}_ims.npy' for part in parts)} of split '{split}'"
            )
            continue
        lacking = [name for name in ("caps.txt",) if not (reading.source / f"{there[0]}_{name}").is_file()]
        if lacking:
            faults.wrong.append(f"found no {there[0]}_{lacking[0]} beside {there[0]}_ims.npy")
            continue
        items += _part(reading.source, there[0], split, notes)
    shapes = {part: open_npy(reading.source / f"{part}_ims.npy").shape[1:] for part in files}
    if len(set(shapes.values())) > 1:
        told = ", ".join(f"{part} {shape[0]} x {shape[1]}" for part, shape in shapes.items())
        faults.wrong.append(f"features differ in shape: {told}")
    columns = {"image": "_ims.npy", "caption": "_caps.txt", "id": "_ids.txt"}
    return Collection(items, faults, columns, list(files), notes=notes)


def _part(folder: Path, part: str, split: SplitName, notes: list[str]) -> list[Item]:
    file = open_npy(folder / f"{part}_ims.npy")
    captions = read_captions(folder / f"{part}_caps.txt")
    runs, ids = _runs(folder / f"{part}_ids.txt", part, file, captions)
    stored_once = file.shape[0] == len(runs)
    if not stored_once and file.shape[0] != len(captions):
        raise UserError(
            f"{part}_ims.npy: found features of {file.shape[0]:,} images, expected {len(runs):,} as there are ids, or "
            f"{len(captions):,} where each is repeated for its captions"
        )
    starts = np.cumsum([0, *runs])
    if not stored_once:
        _check_copies(file, starts.tolist(), runs)
        notes.append(f"{part}_ims.npy: every image is repeated for its captions; one copy is read")
    return [
        Item(
            identity,
            identity,
            (part, number if stored_once else int(starts[number])),
            tuple(captions[starts[number] : starts[number] + count]),
            split,
        )
        for number, (identity, count) in enumerate(zip(ids, runs, strict=True))
    ]


def _runs(path: Path, part: str, file: NpyFile, captions: Sequence[str]) -> tuple[list[int], list[str]]:
    """Return how many captions each image has, and its id."""
    if not path.is_file():
        runs = _repeats(file) if file.shape[0] == len(captions) else _even(part, file.shape[0], len(captions))
        return runs, [f"{part}-{row}" for row in range(len(runs))]
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path.as_posix()}: is not UTF-8 ({error.reason}); convert the file") from None
    lines = [line.strip() for line in text.rstrip().split("\n")]
    if len(lines) == len(captions):
        grouped = [(identity, len(list(same))) for identity, same in groupby(lines)]
        ids = [identity for identity, _ in grouped]
        if len(set(ids)) < len(ids):
            twice = next(identity for identity, count in Counter(ids).items() if count > 1)
            raise UserError(
                f"{path.name}: found {shown(twice)} in two places, expected the captions of an image one after the "
                "other"
            )
        return [count for _, count in grouped], ids
    runs = _even(part, len(lines), len(captions))
    if len(set(lines)) < len(lines):
        raise UserError(
            f"{path.name}: found {len(lines) - len(set(lines)):,} ids twice, expected one an image"
        )
    return runs, lines


def _even(part: str, images: int, captions: int) -> list[int]:
    """Return the same number of captions for each image; raises UserError where that does not come out even."""
    if captions % images:
        raise UserError(
            f"{part}_caps.txt: found {captions:,} captions of {images:,} images, which is no whole number an image; "
            f"expected a {part}_ids.txt with the id of each caption's image"
        )
    return [captions // images] * images


def _repeats(file: NpyFile) -> list[int]:
    """Return how often each image is repeated, where features are stored once a caption."""
    heads = ArrayRegions((file,), np.arange(file.shape[0]), file.path.name).heads()
    return [len(list(same)) for _, same in groupby(heads)]


def _check_copies(file: NpyFile, starts: Sequence[int], runs: Sequence[int]) -> None:
    """Look at twenty images: features that should repeat each other are the same."""
    everything = ArrayRegions((file,), np.arange(file.shape[0]), file.path.name)
    for image in sorted({int(k) for k in np.linspace(0, len(runs) - 1, 20)}):
        copies = everything.regions(range(starts[image], starts[image] + runs[image]))  # (n, R, D)
        if not (copies == copies[:1]).all():
            raise UserError(
                f"{file.path.name}: rows {starts[image]:,} to {starts[image] + runs[image] - 1:,} differ, expected the "
                "same features for every caption of an image"
            )
