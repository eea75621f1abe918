"""Estimates of an extraction of region features: time, memory and disk, from one picture that is timed here and now."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch

from benchmark.data.regions.detected import DTYPES, REGIONS, detector_settings, store_folder
from benchmark.data.regions.detector import Detector
from benchmark.data.regions.detector.network import Architecture, Network
from benchmark.data.regions.detector.published import empty_network
from benchmark.data.regions.detector.weights import CACHE, expected_sha256
from benchmark.data.regions.kept import count_kept
from benchmark.places import WORK
from benchmark.recipe.schema import DetectorRegions
from benchmark.timing.scoring import threads_set

PUBLISHED = Architecture()
"""The sizes of the published network."""

WEIGHT_BYTES = 262_398_754
"""Of the detector's published weights (data.md 3.2)."""

PICTURE = (375, 500, 3)
"""Height, width and colours of a usual picture."""


@dataclass(frozen=True)
class TimedPicture:
    """One picture through the full-size network with random weights."""

    seconds: float
    """On one thread of the processor."""
    memory_bytes: int | None
    """The most that the process has taken so far; None: the system does not tell."""


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
    """Look at one picture of noise; several runs of a command ask once."""
    pixels = np.random.default_rng(0).integers(0, 256, PICTURE, dtype=np.uint8)
    detector = Detector(random_network(sizes), detector_settings(regions), torch.device("cpu"))
    with threads_set(1):
        start = time.process_time()
        detector.detect([pixels])
        seconds = time.process_time() - start
    return TimedPicture(seconds, _peak_bytes())


def random_network(sizes: Architecture = PUBLISHED) -> Network:
    """Return a network with random weights and the published anchors (data.md 3.3)."""
    network = empty_network(sizes).to_empty(device="cpu").requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for name, parameter in network.named_parameters():
        if parameter.ndim > 1 and "deltas" not in name:  # anchors that stay where they are overlap little
            parameter.normal_(0, parameter[0].numel() ** -0.5, generator=generator)
        else:
            parameter.zero_()
    shapes = [(size, ratio**0.5) for size in (64, 128, 256, 512) for ratio in (0.5, 1.0, 2.0)]
    sides = torch.tensor([(size / root, size * root) for size, root in shapes])  # (A, 2)
    network.cell_anchors.copy_(torch.cat([-sides, sides], dim=1) / 2)
    return network.to(memory_format=torch.channels_last).eval()


def _peak_bytes() -> int | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
