"""The detector's published weights: fetched, held against their sha256 and their keys, converted once to safetensors.

The first download locks the repository's commit and the file's sha256 (`benchmark/data/published/revisions.py`).
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from benchmark.data.published.revisions import read_revisions
from benchmark.places import WORK

REPOSITORY = "unc-nlp/frcnn-vg-finetuned"
FILE = "pytorch_model.bin"
SHA256 = "d3bf8ad74828a244a95d85e17a842cc0ac75419a53e4e81ee68386f192bb24c5"
"""Of the published file (data.md 3.2)."""

CACHE = WORK / "weights"
"""The folder of converted weights."""


def expected_sha256() -> str:
    """Return the sha256 that the file of weights must have: the lock's, else the published one."""
    return read_revisions().hashes.get(f"{REPOSITORY}/{FILE}", SHA256)


def load_weights(path: Path | None = None, cache: Path = CACHE) -> dict[str, Tensor]:
    raise NotImplementedError
