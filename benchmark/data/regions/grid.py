"""Region features for datasets that have pictures only: 36 = 6 x 6 cells of each picture, through a fixed extractor.

They stand in for the 36 regions that a detector found (data.md 3): proxy features, which no paper's number can be
held against. They are computed once and cached, by the fingerprint of the split and the identity of the extractor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image

from benchmark.data.regions.arrays import ArrayRegions, Floats
from benchmark.data.regions.cache import Chunks
from benchmark.data.splits import Split
from benchmark.files import sha256_bytes
from benchmark.places import WORK
from benchmark.recipe.schema import GridRegions

PROXY = "proxy region features: {} in place of a detector's 36 regions"
"""A departure of every run on them."""


class Extractor(Protocol):
    """Pictures -> features of their cells."""

    @property
    def identity(self) -> str:
        """Everything that decides the features."""
        ...

    @property
    def description(self) -> str: ...

    def cells(self, pictures: Sequence[Image.Image]) -> Floats:
        """(n, 36, D), cells row by row."""
        ...


@dataclass(frozen=True)
class FeatureStore:
    """The folder of computed features and the device that computes them; neither changes a result but by rounding."""

    folder: Path = WORK / "features"
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


def extractor_for(settings: GridRegions, device: torch.device) -> Extractor:
    """Return the extractor that a recipe names; raises UserError where its weights cannot be had."""
    if settings.backbone == "random":
        from benchmark.data.regions.random_cells import RandomCells

        return RandomCells()
    from benchmark.data.regions.backbone import BackboneCells
    from benchmark.data.regions.packaged import LITE, LiteCells

    if settings.backbone == LITE:
        return LiteCells(device)
    return BackboneCells(settings.backbone, device)


def with_grid(
    split: Split, extractor: Extractor, store: FeatureStore, *, show_progress: bool = True
) -> Split:
    """Return the split with features of its pictures' cells: from the cache, else computed and kept as float16.

    Raises UserError for a picture that cannot be decoded and for a disk that cannot be written to.
    """
    made_by = f"{split.fingerprint} {extractor.identity}"
    folder = store.folder / f"{split.fingerprint[:16]}-{sha256_bytes(extractor.identity.encode())[:16]}"
    chunks = Chunks(folder, len(split), "<f2", f"regions of {split.name}")

    def produce(rows: Sequence[int]) -> Floats:
        return extractor.cells([split.images[row] for row in rows])

    files = chunks.fetch(produce, show_progress=show_progress)
    regions = ArrayRegions(files, np.arange(len(split)), extractor.description, made_by)
    return replace(split, regions=regions)
