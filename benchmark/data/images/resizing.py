"""Bicubic resizing as MATLAB's imresize has it (data.md 7.7): a = -0.5, antialiased, not clipped or rounded."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

Floats = np.ndarray[Any, np.dtype[np.float32]]


def resize_bicubic(pixels: np.ndarray[Any, Any], height: int, width: int) -> Floats:
    """Pixels (H, W, C) -> (height, width, C) float32, perhaps outside the range that they came in."""
    down, across = weights(pixels.shape[0], height), weights(pixels.shape[1], width)
    rows = np.tensordot(down, pixels.astype(np.float32), axes=(1, 0))  # (height, W, C)
    return np.ascontiguousarray(np.einsum("ow,hwc->hoc", across, rows, optimize=True), dtype=np.float32)


@lru_cache(maxsize=128)
def weights(before: int, after: int) -> Floats:
    """(after, before): what each old place gives to each new one; rows sum to 1. Pictures are mirrored at the ends."""
    scale = after / before
    stretch = min(scale, 1.0)  # a filter as wide as the picture shrinks
    reach = 4 / stretch
    centres = (np.arange(after) + 0.5) / scale - 0.5  # of the new places among the old
    first = np.floor(centres - reach / 2).astype(np.int64)
    places = first[:, None] + np.arange(int(np.ceil(reach)) + 2)  # (after, taps)
    taps = _cubic((centres[:, None] - places) * stretch)
    taps /= taps.sum(axis=1, keepdims=True)
    mirrored = places % (2 * before)
    mirrored = np.where(mirrored < before, mirrored, 2 * before - 1 - mirrored)
    table = np.zeros((after, before))
    np.add.at(table, (np.arange(after)[:, None], mirrored), taps)
    return table.astype(np.float32)


def _cubic(x: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Keys' kernel with a = -0.5."""
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))
