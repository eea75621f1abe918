"""A twin of the detector's repository: weights of a narrow network, by the published names (data.md 3.3)."""

from __future__ import annotations

from pathlib import Path

import torch

from benchmark.data.published.revisions import keep_file
from benchmark.data.regions.detector.network import Architecture
from benchmark.data.regions.detector.published import manifest
from benchmark.data.regions.detector.weights import FILE, REPOSITORY
from benchmark.files import sha256_file
from tests.hub.store import Repository, made_up_commit

NARROW = Architecture(
    stem=4,
    inner=2,
    outer=4,
    blocks=(1, 1, 1, 1),
    hidden=4,
    classes=20,
    embedding=3,
    attribute_hidden=6,
    attributes=8,
)
WIDTH = 8 * NARROW.outer
"""The width of a feature."""


def narrow_weights(sizes: Architecture = NARROW) -> dict[str, torch.Tensor]:
    """Random weights by their published names; anchors of 64 to 512 pixels."""
    draws = torch.Generator().manual_seed(0)
    found = {}
    for name, shape in manifest(sizes).items():
        fan = max(1, torch.Size(shape[1:]).numel())
        drawn = torch.randn(shape, generator=draws) / fan**0.5
        kind = name.rpartition(".")[2]
        if kind == "num_batches_tracked":
            found[name] = torch.zeros((), dtype=torch.int64)
        elif name.endswith("cell_anchors.0"):
            side = torch.tensor([64.0, 128.0, 256.0, 512.0]).repeat_interleave(3)  # (A,)
            ratio = torch.tensor([0.5, 1.0, 2.0]).repeat(4).sqrt()
            corner = torch.stack([side / ratio, side * ratio], dim=1) / 2
            found[name] = torch.cat([-corner, corner], dim=1)
        elif ".norm." in name and kind in ("weight", "running_var"):
            found[name] = 1 + 0.1 * drawn.abs()
        else:
            found[name] = drawn if "deltas" not in name else 0.1 * drawn
    return found


def detector_repository(folder: Path, sizes: Architecture = NARROW) -> Repository:
    """The repository with narrow weights, and their sha256 in the lock, without which they are refused."""
    folder.mkdir(parents=True)
    torch.save(narrow_weights(sizes), folder / FILE)
    commit = made_up_commit("abc", REPOSITORY)
    keep_file(REPOSITORY, commit, FILE, sha256_file(folder / FILE))
    return Repository(REPOSITORY, {commit: folder}, kind="model")
