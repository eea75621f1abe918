"""Region features that the project's detector makes of pictures, in one pass of decoding, and keeps (kept.py)."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from benchmark.data.regions.arrays import ArrayRegions
from benchmark.data.regions.cache import CHUNK
from benchmark.data.regions.grid import FeatureStore
from benchmark.data.regions.kept import TENSORS, KeptRegions
from benchmark.data.splits import Dataset, Images, Split
from benchmark.errors import UserError
from benchmark.files import sha256_bytes
from benchmark.recipe.schema import DETECTED, DetectorRegions

if TYPE_CHECKING:
    from benchmark.data.regions.detector import Detector, DetectorSettings, PictureRegions

REGIONS = 36
"""Regions of a picture."""

DEPARTURE = f"{DETECTED} ({{}}), not the published ones"
"""A departure of every run on them."""

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
"""A picture (H, W, 3)."""

DTYPES = {"float16": "<f2", "float32": "<f4"}

WINDOW = {"cpu": 1, "cuda": 64}
"""Pictures that are decoded before they are looked at: of more of them, more have one size and pass together."""

SAVED_EVERY = 600.0
"""Seconds after which what was found is written, with CHUNK pictures or fewer: no more is lost when a run is killed."""

BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_noinv_fmt}]"
"""A progress bar with images a second, however few, and the time left."""


class Remembered(Images):
    """Pictures of which the last CHUNK are still decoded, for a second reader of the same pass."""

    def __init__(self, images: Images) -> None:
        self.images = images
        self._decoded = lru_cache(CHUNK)(images.__getitem__)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int, /) -> Image.Image:
        return self._decoded(row)

    def select(self, rows: Sequence[int]) -> Images:
        return self.images.select(rows)

    def identity(self) -> bytes:
        return self.images.identity()

    def digests(self) -> list[bytes] | None:
        return self.images.digests()


class Detection:
    """Finds the regions of the pictures of a dataset's splits, where the store lacks them."""

    def __init__(self, regions: DetectorRegions, store: FeatureStore, *, show_progress: bool = True) -> None:
        """`regions` says how, `store` where they are kept, and the device that computes them."""
        self.settings, self.identity = detector_settings(regions), identity_of(regions)
        self.device, self.show_progress = store.device, show_progress
        self.key = sha256_bytes(self.identity.encode())
        self.title = f"{regions.mode} mode, {self.key[:8]}"
        self.kept = KeptRegions(store_folder(store.folder, regions), DTYPES[regions.precision], DETECTED)
        self._pictures: dict[str, list[bytes]] = {}
        self._bars: dict[str, tqdm] = {}  # type: ignore[type-arg]  # no type at run time

    @property
    def signed(self) -> str:
        """The features as a signature names them."""
        return f"detector-{self.settings.mode}-{self.key[:8]}"

    @cached_property
    def detector(self) -> Detector:
        """The detector, whose weights are fetched when a picture is to be looked at."""
        from benchmark.data.regions.detector import Detector

        return Detector.load(self.settings, self.device)

    def pictures(self, split: Split) -> list[bytes]:
        """Return the sha256 of each picture of a split. Raises UserError where it has none."""
        if split.name not in self._pictures:
            found = split.images.digests()
            if found is None:
                raise UserError(
                    f"split '{split.name}': these data hold no pictures for the detector to look at"
                )
            self._pictures[split.name] = found
        return self._pictures[split.name]

    def fill(self, split: Split, rows: Sequence[int]) -> None:
        """Find the regions of the pictures of some rows that the store lacks.

        Raises UserError for a picture that cannot be decoded, for weights that cannot be had and for a disk that cannot
        be written to; what was found until then is kept.
        """
        todo = self.lacking(split, rows)
        if not todo:
            return
        waiting: list[tuple[int, PictureRegions]] = []
        bar, since = self._bar(split), time.monotonic()
        try:
            for window, pictures in self._decoded(split.images, todo):
                waiting += zip(window, self.detector.detect(pictures), strict=True)
                bar.update(len(window))
                if len(waiting) >= CHUNK or time.monotonic() - since > SAVED_EVERY:
                    self._keep(split, waiting)
                    since = time.monotonic()
        except BaseException:
            self._keep_rest(split, waiting)
            raise
        self._keep(split, waiting)

    def lacking(self, split: Split, rows: Sequence[int]) -> list[int]:
        """Return the rows among some whose pictures the store lacks; of equal pictures the first."""
        pictures = self.pictures(split)
        first = {pictures[row]: row for row in reversed(rows)}
        return sorted(row for picture, row in first.items() if picture not in self.kept)

    def _bar(self, split: Split) -> tqdm:  # type: ignore[type-arg]  # as above
        """Return the progress bar of a split; the first time, say how much there is to do."""
        if split.name not in self._bars:
            count = len(self.lacking(split, range(len(split))))
            print(
                f"regions of {split.name}: {count:,} of {len(split):,} pictures to look at, once, on {self.device}",
                file=sys.stderr,
            )
            hidden = None if self.show_progress else True
            self._bars[split.name] = tqdm(
                total=count, desc=f"regions of {split.name}", unit=" images", bar_format=BAR, disable=hidden
            )
        return self._bars[split.name]

    def _keep(self, split: Split, waiting: list[tuple[int, PictureRegions]]) -> None:
        """Write what was found, and forget it."""
        if not waiting:
            return
        rows, found = [row for row, _ in waiting], [regions for _, regions in waiting]
        waiting.clear()
        tensors = {name: np.stack([getattr(regions, name) for regions in found]) for name in TENSORS}
        pictures, names = self.pictures(split), split.filenames
        self.kept.keep([pictures[row] for row in rows], [names[row] for row in rows], tensors, self.identity)

    def _keep_rest(self, split: Split, waiting: list[tuple[int, PictureRegions]]) -> None:
        """Write what was found before an error, which is the one that is said."""
        with suppress(UserError):
            self._keep(split, waiting)

    def _decoded(self, images: Images, rows: Sequence[int]) -> Iterator[tuple[Sequence[int], list[Pixels]]]:
        """Yield windows of rows with their pictures; the next window is decoded while one is looked at."""
        size = WINDOW.get(self.device.type, 8)
        windows = [rows[start : start + size] for start in range(0, len(rows), size)]

        def decode(window: Sequence[int]) -> list[Pixels]:
            return [np.asarray(images[row]) for row in window]

        with ThreadPoolExecutor(1) as pool:
            ahead = pool.submit(decode, windows[0])
            for window, following in zip(windows, [*windows[1:], []], strict=True):
                found = ahead.result()
                ahead = pool.submit(decode, following)
                yield window, found

    def attach(self, split: Split) -> Split:
        """Return the split with the regions of its pictures; those that the store lacks are found first."""
        self.fill(split, range(len(split)))
        if split.name in self._bars:
            self._bars.pop(split.name).close()
        files, rows = self.kept.places(self.pictures(split))
        # guides are something else that a model reads of the same pictures
        made_by = f"{replace(split, guides=None).fingerprint} {self.identity}"
        return replace(split, regions=ArrayRegions(files, rows, f"{DETECTED}, {self.title}", made_by))

    def short(self, split: Split) -> str:
        """Return a note on the images of a split that have fewer than REGIONS regions; empty: there is none."""
        found = self.kept.tensor("found", self.pictures(split))  # (n,)
        few = found[found < REGIONS]
        if not len(few):
            return ""
        return (
            f"regions of '{split.name}': {len(few):,} of {len(split):,} images have fewer than {REGIONS}, the fewest "
            f"{few.min()}; zeros stand for the rest"
        )


def detector_settings(regions: DetectorRegions) -> DetectorSettings:
    """Return the detector's own settings of a recipe's."""
    from benchmark.data.regions.detector import DetectorSettings

    sides = {"short_side": regions.short_side, "longest_side": regions.longest_side}
    given = {name: side for name, side in sides.items() if side is not None}
    return DetectorSettings.model_validate(
        {"mode": regions.mode, "regions": REGIONS, "proposals": regions.proposals, **given}
    )


def identity_of(regions: DetectorRegions) -> str:
    """Name everything that decides the features but rounding, and the precision that they are kept in."""
    return f"{detector_settings(regions).identity()} {regions.precision}"


def store_folder(folder: Path, regions: DetectorRegions) -> Path:
    """Return the folder of the features of these settings, below that of all computed features."""
    return folder / f"detector-{sha256_bytes(identity_of(regions).encode())[:16]}"


def with_detected(dataset: Dataset, detection: Detection) -> Dataset:
    """Return the dataset with the regions of its pictures, which make its scores comparable with no paper's."""
    splits = {name: detection.attach(split) for name, split in dataset.splits.items()}
    notes = [note for split in splits.values() if (note := detection.short(split))]
    return replace(
        dataset,
        splits=splits,
        departures=[*dataset.departures, DEPARTURE.format(detection.title)],
        notes=[*dataset.notes, f"{DETECTED}: {detection.identity}", *notes],
        features=detection.signed,
    )
