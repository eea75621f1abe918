"""The detector's maths by loops over single numbers, in float64."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def naive_overlap(one: Sequence[float], other: Sequence[float], edge: float = 0.0) -> float:
    """Intersection over union; `edge`: how much longer a box is than its ends are apart."""
    width = min(one[2], other[2]) - max(one[0], other[0]) + edge
    height = min(one[3], other[3]) - max(one[1], other[1]) + edge
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0] + edge) * (box[3] - box[1] + edge) for box in (one, other)]
    return width * height / (sum(areas) - width * height)


def naive_nms(boxes: Array, scores: Array, overlap: float, edge: float = 0.0) -> list[int]:
    """Rows of the boxes that no better box that stays overlaps by more, best first."""
    kept: list[int] = []
    for row in sorted(range(len(boxes)), key=lambda row: -scores[row]):
        if all(naive_overlap(boxes[row], boxes[other], edge) <= overlap for other in kept):
            kept.append(row)
    return kept


def naive_decode(delta: Sequence[float], box: Sequence[float], weights: tuple[float, float]) -> list[float]:
    """A box moved and stretched."""
    found = [0.0] * 4
    for axis in (0, 1):
        size = box[axis + 2] - box[axis]
        centre = box[axis] + size / 2 + delta[axis] / weights[0] * size
        size *= math.exp(min(delta[axis + 2] / weights[1], math.log(1000 / 16)))
        found[axis], found[axis + 2] = centre - size / 2, centre + size / 2
    return found


def naive_original(probabilities: Array, boxes: Array, count: int, edge: float = 0.0) -> list[int]:
    """Rows as the original extractor keeps them (data.md 3.1): suppression class by class, then the largest maxima."""
    largest = np.zeros(len(boxes))
    for group in range(probabilities.shape[1]):
        for row in naive_nms(boxes, probabilities[:, group], 0.3, edge):
            largest[row] = max(largest[row], probabilities[row, group])
    rows = [row for row in range(len(boxes)) if largest[row] > 0.2]
    if len(rows) == count:
        return rows
    own = probabilities.max(axis=1)
    ranked = sorted(
        range(len(boxes)), key=lambda row: (largest[row] > 0, largest[row] or own[row]), reverse=True
    )
    return ranked[:count]


def naive_pool(maps: Array, box: Sequence[float], side: int, stride: int) -> Array:
    """RoIPool of one box on a map (D, h, w): the largest number of each of side x side parts, (D, side, side)."""
    depth, height, width = maps.shape
    left, top, right, bottom = (math.floor(end / stride + 0.5) for end in box)
    wide, tall = max(right - left + 1, 1) / side, max(bottom - top + 1, 1) / side
    out = np.zeros((depth, side, side))
    for i in range(side):
        for j in range(side):
            rows = [
                min(max(end + top, 0), height) for end in (math.floor(i * tall), math.ceil((i + 1) * tall))
            ]
            columns = [
                min(max(end + left, 0), width) for end in (math.floor(j * wide), math.ceil((j + 1) * wide))
            ]
            part = maps[:, rows[0] : rows[1], columns[0] : columns[1]]
            out[:, i, j] = part.max(axis=(1, 2)) if part.size else 0
    return out
