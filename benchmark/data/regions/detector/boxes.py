"""Boxes: anchors over a map, decoding of deltas, clipping, and proposals of the region network (data.md 3.3)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import nms

STRIDE = 16
"""Pixels between two places of the map."""

LARGEST = math.log(1000 / 16)
"""The most that the logarithm of a box's growth counts."""

BEFORE = 6_000
"""The anchors of a picture, best first, whose boxes are looked at."""

OVERLAP = 0.7
"""The overlap from which a worse proposal is left out."""


@dataclass(frozen=True)
class Bounds:
    """The boxes that a resized picture may have."""

    height: int
    width: int
    smallest: float = 0.0
    """Narrower or lower boxes are left out; so are empty ones, in any case."""
    edge: int = 0
    """1: a box ends with its last pixel, as in the original, and is wider by one than its ends are apart."""
    scales: tuple[float, float] = (1.0, 1.0)
    """The factors that the picture was resized by, across and down."""

    def clip(self, boxes: Tensor) -> Tensor:
        """Cut boxes (N, 4) off at the borders."""
        right, bottom = self.width - self.edge, self.height - self.edge
        return torch.stack([boxes[:, side].clamp(0, (right, bottom)[side % 2]) for side in range(4)], dim=1)

    def original(self, boxes: Tensor) -> Tensor:
        """Return boxes (N, 4) in pixels of the picture before it was resized."""
        return boxes / boxes.new_tensor(self.scales).repeat(2)

    def whole(self, boxes: Tensor) -> Tensor:
        """Return boxes (N, 4) whose areas and overlaps are those of the convention."""
        return boxes + boxes.new_tensor([0, 0, self.edge, self.edge])


def grid_anchors(cells: Tensor, height: int, width: int) -> Tensor:
    """Return the anchors `cells` (A, 4) around each place of a map, place by place: (height * width * A, 4)."""
    x = torch.arange(width, device=cells.device, dtype=cells.dtype) * STRIDE
    y = torch.arange(height, device=cells.device, dtype=cells.dtype) * STRIDE
    shifts = torch.stack([x.repeat(height), y.repeat_interleave(width)] * 2, dim=1)  # (h * w, 4)
    return (shifts[:, None] + cells).reshape(-1, 4)


def decode(deltas: Tensor, boxes: Tensor, weights: tuple[float, float] = (1.0, 1.0)) -> Tensor:
    """Move and stretch boxes (N, 4) by deltas (N, 4) of centre and log size; `weights` divide the two kinds."""
    size = boxes[:, 2:] - boxes[:, :2]  # (N, 2), width and height
    centre = boxes[:, :2] + 0.5 * size
    centre = centre + deltas[:, :2] / weights[0] * size
    size = size * (deltas[:, 2:] / weights[1]).clamp(max=LARGEST).exp()
    return torch.cat([centre - 0.5 * size, centre + 0.5 * size], dim=1)


def propose(
    logits: Tensor, deltas: Tensor, anchors: Tensor, bounds: Bounds, count: int
) -> tuple[Tensor, Tensor]:
    """Return the proposals (P, 4) of one picture with their logits (P,), best first; P is at most `count`.

    logits: (N,) of the anchors (N, 4), and their deltas (N, 4).
    """
    best, rows = logits.topk(min(BEFORE, len(logits)))
    boxes = bounds.clip(decode(deltas[rows], anchors[rows]))
    whole = bounds.whole(boxes)
    size = whole[:, 2:] - whole[:, :2]
    sound = ((boxes[:, 2:] > boxes[:, :2]) & (size >= bounds.smallest)).all(dim=1)
    boxes, whole, best = boxes[sound], whole[sound], best[sound]
    kept = nms(whole, best, OVERLAP)[:count]
    return boxes[kept], best[kept]
