"""Datasets with region features: whole ones from a folder (`scan`, `tsv`), or computed from pictures (`grid`).

Those of the project's detector are in detected.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmark.data.published.catalogue import Entry
from benchmark.data.regions.cache import BATCH
from benchmark.data.regions.exported import read_mark
from benchmark.data.regions.grid import PROXY, FeatureStore, extractor_for, with_grid
from benchmark.data.regions.scan import CUT, VALIDATION_IMAGES, WHERE, scan_entry, scan_split, unnamed
from benchmark.data.regions.tsv import convert_tsv, tsv_files, with_tsv
from benchmark.data.splits import Dataset, SplitName
from benchmark.errors import UserError
from benchmark.recipe.schema import DETECTED, GridRegions, StoredRegions


@dataclass(frozen=True)
class Folder:
    """The folder of features, and the store of converted ones."""

    path: Path | None
    store: FeatureStore
    show_progress: bool = True


def stored_dataset(
    settings: StoredRegions,
    entry: Entry,
    options: dict[str, Any],
    splits: Sequence[SplitName],
    captions_per_image: int,
    folder: Folder,
) -> Dataset:
    """Splits whose features lie in a folder, not verified yet; raises UserError where they cannot be read."""
    found = f"field 'data.regions.source': found '{settings.source}'"
    if entry.embedded:
        raise UserError(f"{found}, {entry.name} is made by code; valid: grid")
    if folder.path is None:
        raise UserError(f"{found}, which reads a folder: name it with --data-dir; {WHERE}")
    if settings.source == "scan":
        loaded = {name: scan_split(entry.name, name, folder.path, captions_per_image) for name in splits}
        mark = read_mark(folder.path)
        return Dataset(
            entry.name,
            "local",
            "SCAN region features, a local folder" if mark is None else f"{DETECTED}, a local folder",
            entry.license,
            loaded,
            options,
            departures=[*(mark.departures if mark is not None else []), *unnamed(loaded)],
            features=None if mark is None else mark.features,
        )
    return _tsv_dataset(entry, options, splits, captions_per_image, folder.path, folder)


def _tsv_dataset(
    entry: Entry,
    options: dict[str, Any],
    splits: Sequence[SplitName],
    captions_per_image: int,
    path: Path,
    folder: Folder,
) -> Dataset:
    """Return captions by Karpathy's annotations, features from all TSV files of the folder."""
    from benchmark.data.published.hub import Request  # `datasets` takes a second to import
    from benchmark.data.published.local import captions_split

    files = tsv_files(path)
    restval = bool(options.get("restval"))
    loaded = {
        name: captions_split(Request(entry, name, restval, captions_per_image), path) for name in splits
    }
    converted = convert_tsv(files, folder.store.folder, show_progress=folder.show_progress)
    sources = [item.source for item in loaded.values()]
    return Dataset(
        entry.name,
        ", ".join(dict.fromkeys(item.revision for item in loaded.values())),
        ", ".join(dict.fromkeys([*sources, "region features from local TSV files"])),
        entry.license,
        {name: with_tsv(item.split, converted) for name, item in loaded.items()},
        options,
        notes=[note for item in loaded.values() for note in item.notes],
    )


def known_of(settings: StoredRegions, entry: Entry, dataset: Dataset) -> Entry:
    """Return the facts about the published splits, as far as these files can show them."""
    return scan_entry(entry, dataset.splits) if settings.source == "scan" else entry


def cut_down(settings: StoredRegions, dataset: str, wanted: Mapping[SplitName, int]) -> dict[SplitName, int]:
    """Return the number of first images of each split to keep: some `dev` is never used beyond its first 1,000."""
    if settings.source != "scan" or dataset not in CUT:
        return dict(wanted)
    return {**wanted, "val": min(VALIDATION_IMAGES, wanted.get("val", VALIDATION_IMAGES))}


def grid_dataset(
    settings: GridRegions, dataset: Dataset, store: FeatureStore, *, show_progress: bool
) -> Dataset:
    """Return the dataset with proxy features of its pictures, which make its scores comparable with no paper's."""
    extractor = extractor_for(settings, store.device)
    splits = {
        name: with_grid(split, extractor, store, show_progress=show_progress)
        for name, split in dataset.splits.items()
    }
    return replace(
        dataset, splits=splits, departures=[*dataset.departures, PROXY.format(extractor.description)]
    )


def described(dataset: Dataset) -> Dataset:
    """Return the dataset with a note for each split: which features, and their identity."""
    notes = [
        f"regions of '{name}': {split.regions.description} (identity {split.regions.identity().decode()[:12]})"
        for name, split in dataset.splits.items()
        if split.regions is not None
    ]
    return replace(dataset, notes=[*dataset.notes, *notes])


def read_all(dataset: Dataset, *, show_progress: bool = True) -> Iterator[str]:
    """Read every feature once and describe the regions of each split. Raises UserError where one is not finite."""
    for name, split in dataset.splits.items():
        if split.regions is None:
            continue
        rows = range(0, len(split), BATCH)
        largest = 0.0
        for start in tqdm(rows, desc=f"regions of {name}", disable=None if show_progress else True):
            found = split.regions.regions(range(start, min(start + BATCH, len(split))))
            largest = max(largest, float(found.max()))
        count, width = split.regions.shape
        yield f"{name}: {count} regions of width {width} an image, all finite, the largest value {largest:.4g}"
