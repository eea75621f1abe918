"""The narrow network of the golden files, in small detectors, as a file of weights, and as a repository of a twin."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmark.checks.parity.report import read_golden
from benchmark.data.regions.detector import Detector, DetectorSettings
from benchmark.data.regions.detector.pictures import Picture
from benchmark.data.regions.detector.published import build_network
from benchmark.data.regions.detector.weights import CONFIG, FILE, REPOSITORY
from benchmark.files import sha256_file
from benchmark.places import GOLDEN
from tests.hub.store import Repository

CPU = torch.device("cpu")
COMMIT = "5" * 40
NUMBERS = "RPN:\n  POST_NMS_TOPK_TEST: 300\n  PRE_NMS_TOPK_TEST: 6000\n  NMS_THRESH: 0.7\n"
"""The part of the port's configuration that is looked at."""


@cache
def golden(name: str) -> dict[str, Any]:
    """The arrays of a golden file; not to be written to."""
    return read_golden(GOLDEN / "detector" / f"{name}.npz")


@cache
def narrow_weights() -> dict[str, Tensor]:
    """The weights by their published names; not to be written to."""
    arrays = golden("narrow_a")
    return {
        key.removeprefix("weights/"): torch.from_numpy(arrays[key])
        for key in arrays
        if key.startswith("weights/")
    }


def narrow_detector(**settings: Any) -> Detector:
    """A detector with few proposals of small pictures."""
    small = {"short_side": 96, "longest_side": 160, "proposals": 40, "regions": 6}
    return Detector(build_network(narrow_weights()), DetectorSettings(**{**small, **settings}), CPU)


def pictures(*sizes: tuple[int, int], seed: int = 0) -> list[Picture]:
    """Pictures of some heights and widths, a few coloured boxes in each."""
    draws, made = np.random.default_rng(seed), []
    for height, width in sizes:
        picture = np.full((height, width, 3), draws.integers(0, 256, 3), np.uint8)
        for _ in range(8):
            top, left = draws.integers(0, height - 8), draws.integers(0, width - 8)
            tall, wide = draws.integers(8, height), draws.integers(8, width)
            picture[top : top + tall, left : left + wide] = draws.integers(0, 256, 3)
        made.append(picture)
    return made


def save_weights(folder: Path, content: Any = None, **options: Any) -> Path:
    """A file of weights as the Hub has it; None: the narrow ones."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(narrow_weights() if content is None else content, folder / FILE, **options)
    return folder / FILE


def lock_text(path: Path) -> str:
    """A lock of revisions that expects this file of weights."""
    return f"hashes:\n  {REPOSITORY}/{FILE}: {sha256_file(path)}\n"


def narrow_repository(folder: Path, config: str = NUMBERS) -> Repository:
    """A repository of the twin with narrow weights and a configuration."""
    save_weights(folder)
    (folder / CONFIG).write_text(config)
    return Repository(REPOSITORY, {COMMIT: folder}, kind="model")
