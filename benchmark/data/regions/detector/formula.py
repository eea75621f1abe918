"""Weights by formula: a stand-in with the published names and shapes, for parity and timing; it knows no picture.

The formula is that of tests/golden/detector/README.md.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmark.data.regions.detector.network import Architecture
from benchmark.data.regions.detector.published import COUNTER, manifest

Array = np.ndarray[Any, Any]

GAINS = {"anchor_deltas": 0.3, "objectness_logits": 1.5, "bbox_pred": 0.7, "fc_attr": 1.5, "attr_score": 1.5}
"""The size of weights by formula, where it is not that of convolutions."""


def formula_weights(sizes: Architecture, scale: float, bias: Array) -> dict[str, Tensor]:
    """Return the weights that the recordings without weights were made with.

    scale: of the weights of classes; bias: of classes. Each tensor is drawn by a generator of its own, whose seed is in
    the sha256 of its name; numbers of batches, which nothing reads, are 0.
    """
    return {key: _formula(key, shape, scale, bias) for key, shape in manifest(sizes).items()}


def _formula(key: str, shape: tuple[int, ...], scale: float, bias: Array) -> Tensor:
    if key.endswith(COUNTER):
        return torch.tensor(0)
    if key.endswith("cell_anchors.0"):
        return torch.from_numpy(cell_anchors().astype(np.float32))
    if key.endswith("cls_score.bias"):
        return torch.from_numpy(bias)
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "little")
    x = np.random.Generator(np.random.PCG64(seed)).standard_normal(shape)
    fan = np.prod(shape[1:])
    if key.endswith("norm.weight"):
        x = (0.35 if ".conv3." in key else 1.0) * (1 + 0.1 * x)
    elif key.endswith("norm.running_var"):
        x = (5000.0 if "stem" in key else 1.0) * (1 + 0.2 * np.abs(x))
    elif len(shape) == 1:  # biases and means
        x = 0.1 * x
    elif key.endswith("cls_score.weight"):
        x = scale * (8 * (x - x.mean(axis=1, keepdims=True)) / np.sqrt(fan)).astype(np.float32)
    elif key.endswith("cls_embedding.weight"):
        pass
    else:
        gain = next((gain for part, gain in GAINS.items() if f"{part}.weight" in key), np.sqrt(2))
        x = gain * x / np.sqrt(fan)
    return torch.from_numpy(x.astype(np.float32))


def cell_anchors() -> Array:
    """Return the anchors (12, 4) around a place: sides of 64 to 512 pixels, in three shapes (data.md 3.3)."""
    sides, ratios = np.meshgrid([64.0, 128.0, 256.0, 512.0], [0.5, 1.0, 2.0], indexing="ij")
    width = np.sqrt(sides**2 / ratios).ravel()  # (12,)
    height = width * ratios.ravel()
    return np.stack([-width, -height, width, height], axis=1) / 2
