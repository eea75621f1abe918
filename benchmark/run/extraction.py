"""Estimates of an extraction of region features: time, memory and disk, from one picture that is timed here and now."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from benchmark.data.regions.detected import DTYPES, REGIONS, detector_settings, store_folder
from benchmark.data.regions.detector import Detector
from benchmark.data.regions.detector.formula import formula_weights
from benchmark.data.regions.detector.network import PUBLISHED, Architecture
from benchmark.data.regions.detector.published import build_network
from benchmark.data.regions.detector.weights import CACHE, expected_sha256
from benchmark.data.regions.kept import count_kept
from benchmark.places import WORK
from benchmark.recipe.schema import DetectorRegions
from benchmark.timing.clock import CPU
from benchmark.timing.detector import SCALE
from benchmark.timing.memory import PeakMemory
from benchmark.timing.scoring import threads_set

WEIGHT_BYTES = 262_398_754
"""Of the detector's published weights (data.md 3.2)."""

PICTURE = (375, 500, 3)
"""Height, width and colours of a usual picture."""


@dataclass(frozen=True)
class TimedPicture:
    """One picture through the full-size network."""

    seconds: float
    """On one thread of the processor."""
    memory_bytes: int
    """The most that the process took."""


@dataclass(frozen=True)
class ExtractionEstimate:
    """An extraction that a run would begin with."""

    images: int
    kept: int
    """Pictures of any dataset whose features are there already."""
    picture: TimedPicture
    disk_bytes: int

    @property
    def seconds(self) -> float:
        """Of all pictures, on one thread."""
        return self.images * self.picture.seconds


def converted_weights() -> list[Path]:
    """List the converted weights that the detector would read; their content is not looked at."""
    return sorted(CACHE.glob(f"detector-{expected_sha256()[:16]}-*.safetensors"))


def estimate_extraction(regions: DetectorRegions, images: int) -> ExtractionEstimate:
    """Estimate an extraction of so many pictures; nothing is downloaded or written."""
    width, size = 8 * PUBLISHED.outer, np.dtype(DTYPES[regions.precision]).itemsize
    kept = count_kept(store_folder(WORK / "features", regions))
    return ExtractionEstimate(images, kept, time_picture(regions), images * REGIONS * width * size)


@cache
def time_picture(regions: DetectorRegions, sizes: Architecture = PUBLISHED) -> TimedPicture:
    """Look at one picture of noise with weights by formula; several runs of a command ask once."""
    weights = formula_weights(sizes, SCALE, np.zeros(sizes.classes + 1, np.float32))
    detector = Detector(build_network(weights), detector_settings(regions), CPU)
    pixels = np.random.default_rng(0).integers(0, 256, PICTURE, dtype=np.uint8)
    with threads_set(1):
        memory, start = PeakMemory(CPU), time.process_time()
        detector.detect([pixels])
        return TimedPicture(time.process_time() - start, memory.peak())
