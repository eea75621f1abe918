"""Region features as sheets: what an extraction has made, and how close two sets of features are."""

from __future__ import annotations

import numpy as np

from benchmark.data.regions.compare import ALIKE, OVERLAP, Comparison
from benchmark.data.regions.detected import REGIONS, Detection
from benchmark.data.splits import Dataset
from benchmark.reporting.sheet import Column, Sheet, make_sheet

SHOWN = 10
"""The images of a comparison that are shown to readers, those of the least mean cosine."""


def extraction_sheet(dataset: Dataset, detection: Detection) -> Sheet:
    """The features of each split: how many, how many images have too few, and what they are known by."""
    rows = []
    for name, split in dataset.splits.items():
        pictures = detection.pictures(split)
        found = detection.kept.tensor("found", pictures)  # (n,)
        few = int((found < REGIONS).sum())
        rows.append((name, len(split), few, int(found.min()), detection.kept.checksum(pictures)))
    few_heading = Column("under_36", f"under {REGIONS} regions", missing="")
    heads = (
        "split",
        "images",
        few_heading,
        Column("fewest", "fewest"),
        Column("checksum", "checksum", "text"),
    )
    notes = [f"{detection.identity}", f"kept in {detection.kept.folder.as_posix()}", *dataset.departures]
    return make_sheet(f"region features of {dataset.name}", heads, rows, notes=notes)


def comparison_sheet(found: Comparison, every: bool) -> Sheet:
    """The matched share and the cosines of each image, the least alike first, and of all images together.

    every: list all images; else those that are least alike.
    """
    order = np.argsort(np.nan_to_num(found.mean, nan=-1.0), kind="stable").tolist()
    rows: list[tuple[object, ...]] = [
        (found.images[row], *map(_known, (found.matched[row], found.mean[row], found.worst[row])))
        for row in (order if every else order[:SHOWN])
    ]
    paired = ~np.isnan(found.mean)
    mean = float(found.mean[paired].mean()) if paired.any() else None
    worst = float(found.worst[paired].min()) if paired.any() else None
    rows.append(("all", float(found.matched.mean()), mean, worst))
    by = (
        f"boxes that overlap by {OVERLAP} or more"
        if found.by_boxes
        else "cosine, and counted from " + str(ALIKE)
    )
    notes = [f"{len(found.images):,} images in both; regions are matched by {by}, the best pair first"]
    for title, count in zip(found.titles, found.alone, strict=True):
        notes += [f"{count:,} images in {title} alone"] if count else []
    if not paired.all():
        notes.append(f"{int((~paired).sum()):,} images without a matched pair have no cosine")
    if not every and len(order) > SHOWN:
        notes.append(f"shown are the {SHOWN} images of the least mean cosine; --format csv lists all")
    columns = (
        "image",
        Column("matched", "boxes matched", spec=".3f"),
        Column("mean_cosine", "mean cosine", spec=".4f", missing="no pair"),
        Column("worst_cosine", "worst cosine", spec=".4f", missing="no pair"),
    )
    return make_sheet(f"{found.titles[0]} against {found.titles[1]}", columns, rows, notes=notes)


def _known(value: float) -> float | None:
    """The number; None where there is none."""
    return None if np.isnan(value) else float(value)
