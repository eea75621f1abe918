"""Datasets with guides: from files beside region features, or computed from pictures, once, and cached."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image

from benchmark.data.guides.files import stored_guides
from benchmark.data.regions.cache import Chunks
from benchmark.data.regions.grid import FeatureStore
from benchmark.data.regions.tsv import number_of
from benchmark.data.splits import Dataset, Guides, Split
from benchmark.errors import UserError
from benchmark.files import sha256_bytes
from benchmark.recipe.schema import CLIPGuides, RandomGuides, RegionSettings

PROXY = "proxy guides: {} in place of CLIP's image vectors"
"""A departure of every run on them."""

Floats = np.ndarray[Any, np.dtype[np.float32]]


Ahead = Callable[[Split, Sequence[int]], object]
"""Another reader of the pictures of some rows of a split, in the same pass of decoding."""


class GuideExtractor(Protocol):
    """Pictures -> a vector of each."""

    @property
    def identity(self) -> str:
        """Everything that decides the vectors."""
        ...

    @property
    def description(self) -> str:
        """A description of the vectors for the run record."""
        ...

    @property
    def proxy(self) -> bool:
        """True where the vectors stand in for CLIP's."""
        ...

    def vectors(self, pictures: Sequence[Image.Image]) -> Floats:
        """(n, D)."""
        ...


def guide_extractor_for(settings: CLIPGuides | RandomGuides, device: torch.device) -> GuideExtractor:
    """Return the extractor that a recipe names; raises UserError where its weights cannot be had."""
    if settings.source == "random":
        from benchmark.data.guides.projection import RandomProjection

        return RandomProjection()
    from benchmark.data.guides.clip import CLIPVectors

    return CLIPVectors(settings.model, settings.revision, device)


def with_stored_guides(dataset: Dataset, regions: RegionSettings | None, folder: Path | None) -> Dataset:
    """Add the vectors that lie beside the features of a whole dataset; raises UserError as `stored_guides`."""
    if regions is None or regions.source != "scan" or folder is None:
        raise UserError(
            "field 'data.guides.source': found 'file', whose vectors lie beside SCAN's features (data.regions: "
            "{source: scan}); valid here: clip, random"
        )
    splits = {
        name: replace(split, guides=stored_guides(split, folder)) for name, split in dataset.splits.items()
    }
    return replace(dataset, splits=splits)


def with_computed_guides(
    settings: CLIPGuides | RandomGuides,
    dataset: Dataset,
    pictures: Callable[[], Dataset] | None,
    store: FeatureStore,
    ahead: Ahead | None = None,
    *,
    show_progress: bool = True,
) -> Dataset:
    """Add vectors of the dataset's pictures; `pictures` loads the same splits as pictures, where it has none.

    ahead: reads pictures before the vectors are made of them, a few hundred at a time.
    Raises UserError where pictures or weights cannot be had, and where images are not among the pictures.
    """
    extractor = guide_extractor_for(settings, store.device)
    shown = dataset if pictures is None else pictures()
    splits = {}
    for name, split in dataset.splits.items():
        plain = replace(shown.splits[name], regions=None)  # region features do not decide the vectors
        found = computed_guides(plain, extractor, store, ahead, show_progress=show_progress)
        splits[name] = replace(
            split, guides=found if pictures is None else found.select(rows_among(plain, split))
        )
    proxy = [PROXY.format(extractor.description)] if extractor.proxy else []
    origin = [] if pictures is None else [f"pictures for the guides: {shown.revision}"]
    return replace(
        dataset,
        splits=splits,
        departures=[*dataset.departures, *proxy],
        notes=[*dataset.notes, *origin],
    )


def computed_guides(
    split: Split,
    extractor: GuideExtractor,
    store: FeatureStore,
    ahead: Ahead | None = None,
    *,
    show_progress: bool = True,
) -> Guides:
    """Return vectors of a split's pictures: from the cache, else computed and kept as float32.

    Raises UserError for a picture that cannot be decoded and for a disk that cannot be written to.
    """
    made_by = f"{split.fingerprint} {extractor.identity}"
    folder = store.folder / f"{split.fingerprint[:16]}-{sha256_bytes(extractor.identity.encode())[:16]}"
    chunks = Chunks(folder, len(split), "<f4", f"guides of {split.name}")

    def produce(rows: Sequence[int]) -> Floats:
        return extractor.vectors([split.images[row] for row in rows])[:, None]  # as one region

    first = None if ahead is None else partial(ahead, split)
    files = chunks.fetch(produce, first, show_progress=show_progress)
    vectors = np.concatenate([np.load(file.path)[:, 0] for file in files])  # (n, D)
    return Guides(vectors, extractor.description, made_by)


def rows_among(pictures: Split, split: Split) -> list[int]:
    """Return the row of each image among the pictures, by file name or by the number in it.

    Raises UserError that counts the images without a picture and names the first.
    """
    by_name = {PurePosixPath(name).name: row for row, name in enumerate(pictures.filenames)}
    by_number = {number_of(name): row for row, name in enumerate(pictures.filenames)}
    found = [
        by_name.get(PurePosixPath(name).name, by_number.get(number_of(name))) for name in split.filenames
    ]
    absent = [row for row, place in enumerate(found) if place is None]
    if absent:
        raise UserError(
            f"split '{split.name}': {len(absent):,} of {len(split):,} images have no picture to compute a guide from, "
            f"the first is {split.image_ids[absent[0]]} ({split.filenames[absent[0]]}); _ids.txt or id_mapping.json "
            "says which picture an image is"
        )
    return [row for row in found if row is not None]


def guides_described(dataset: Dataset) -> Dataset:
    """Return the dataset with a note for each split: which vectors, and their identity."""
    notes = [
        f"guides of '{name}': {split.guides.description} (identity {split.guides.identity().decode()[:12]})"
        for name, split in dataset.splits.items()
        if split.guides is not None
    ]
    return replace(dataset, notes=[*dataset.notes, *notes])
