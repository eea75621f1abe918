"""The detector's network: Faster R-CNN on the fourth stage of a ResNet (data.md 3.1 and 3.3), for inference only.

Batch norms are folded into the convolutions before them, maps lie in memory with their channels last, and what is added
or rectified is so in place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import roi_pool

from benchmark.data.regions.detector.boxes import STRIDE


class Architecture(NamedTuple):
    """The sizes of a network; those of the published one, unless others are given."""

    stem: int = 64
    """Channels of the first convolution."""
    inner: int = 64
    """Channels inside the blocks of the second stage; each later stage has twice as many."""
    outer: int = 256
    """Channels between those blocks, likewise."""
    blocks: tuple[int, int, int, int] = (3, 4, 23, 3)
    hidden: int = 512
    """Channels of the region network."""
    anchors: int = 12
    classes: int = 1_600
    """Classes without background, which is the last column."""
    embedding: int = 256
    """The width of a class's vector, which the attributes are told with."""
    attribute_hidden: int = 512
    attributes: int = 400
    """Attributes without a last column, which stands for none."""


PUBLISHED = Architecture()

POOLED = 14
"""A proposal's map has so many places a side."""


class Bottleneck(nn.Module):
    """A residual block; a stage's first one strides in its first 1 x 1 convolution (data.md 3.1)."""

    def __init__(
        self, before: int, inner: int, outer: int, stride: int, dilation: int, *, first: bool = False
    ) -> None:
        super().__init__()
        self.shortcut = nn.Conv2d(before, outer, 1, stride) if first else None
        self.conv1 = nn.Conv2d(before, inner, 1, stride)
        self.conv2 = nn.Conv2d(inner, inner, 3, padding=dilation, dilation=dilation)
        self.conv3 = nn.Conv2d(inner, outer, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, before, h, w) -> (N, outer, h / stride, w / stride)."""
        y: Tensor = self.conv1(x).relu_()
        y = self.conv2(y).relu_()
        y = self.conv3(y)
        return y.add_(x if self.shortcut is None else self.shortcut(x)).relu_()


def make_stage(
    blocks: int, before: int, inner: int, outer: int, stride: int, dilation: int = 1
) -> nn.Sequential:
    """Return a stage of a ResNet."""
    rest = [Bottleneck(outer, inner, outer, 1, dilation) for _ in range(blocks - 1)]
    return nn.Sequential(Bottleneck(before, inner, outer, stride, dilation, first=True), *rest)


class Backbone(nn.Module):
    """The stem and three stages: pictures -> a map with a place for each 16 x 16 pixels."""

    def __init__(self, sizes: Architecture) -> None:
        super().__init__()
        inner, outer = sizes.inner, sizes.outer
        self.stem = nn.ModuleDict({"conv1": nn.Conv2d(3, sizes.stem, 7, 2, 3)})
        self.res2 = make_stage(sizes.blocks[0], sizes.stem, inner, outer, 1)
        self.res3 = make_stage(sizes.blocks[1], outer, 2 * inner, 2 * outer, 2)
        self.res4 = make_stage(sizes.blocks[2], 2 * outer, 4 * inner, 4 * outer, 2)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, D / 2, h, w)."""
        x: Tensor = self.stem["conv1"](pixels).relu_()
        x = F.max_pool2d(x, 3, 2, ceil_mode=True)  # Caffe's: no padding
        for stage in (self.res2, self.res3, self.res4):
            x = stage(x)
        return x


class RegionHead(nn.Module):
    """The head that tells whether something is at an anchor, and how the anchor is to be moved and stretched."""

    def __init__(self, sizes: Architecture) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4 * sizes.outer, sizes.hidden, 3, padding=1)
        self.objectness_logits = nn.Conv2d(sizes.hidden, sizes.anchors, 1)
        self.anchor_deltas = nn.Conv2d(sizes.hidden, 4 * sizes.anchors, 1)

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """(B, D / 2, h, w) -> logits (B, h * w * A), deltas (B, h * w * A, 4), as `grid_anchors` has the anchors."""
        hidden = self.conv(maps).relu_()
        logits = self.objectness_logits(hidden).movedim(1, -1).flatten(1)
        deltas = self.anchor_deltas(hidden).movedim(1, -1).reshape(len(maps), -1, 4)
        return logits, deltas


class BoxHead(nn.Module):
    """The head that tells a proposal's class, its box, and its attribute."""

    def __init__(self, sizes: Architecture) -> None:
        super().__init__()
        width = 8 * sizes.outer
        self.cls_score = nn.Linear(width, sizes.classes + 1)
        self.bbox_pred = nn.Linear(width, 4 * sizes.classes)
        self.cls_embedding = nn.Embedding(sizes.classes + 1, sizes.embedding)
        self.fc_attr = nn.Linear(width + sizes.embedding, sizes.attribute_hidden)
        self.attr_score = nn.Linear(sizes.attribute_hidden, sizes.attributes + 1)

    def deltas(self, pooled: Tensor, objects: Tensor) -> Tensor:
        """Return the deltas (P, 4) of one class for each proposal's vector (P, D), and of no other class."""
        weight = self.bbox_pred.weight.view(-1, 4, pooled.shape[1])[objects]  # (P, 4, D)
        return torch.einsum("pkd,pd->pk", weight, pooled) + self.bbox_pred.bias.view(-1, 4)[objects]

    def attributes(self, pooled: Tensor, objects: Tensor) -> Tensor:
        """Return the logits (P, attributes + 1) of proposals (P, D) told to be of some classes (P,)."""
        told = torch.cat([pooled, self.cls_embedding(objects)], dim=1)
        logits: Tensor = self.attr_score(self.fc_attr(told).relu_())
        return logits


class Network(nn.Module):
    """The whole network."""

    def __init__(self, sizes: Architecture) -> None:
        super().__init__()
        self.sizes = sizes
        self.backbone = Backbone(sizes)
        self.region_head, self.box_head = RegionHead(sizes), BoxHead(sizes)
        self.cell_anchors = nn.Parameter(torch.empty(sizes.anchors, 4))
        self.res5 = make_stage(
            sizes.blocks[3], 4 * sizes.outer, 8 * sizes.inner, 8 * sizes.outer, 1, dilation=2
        )

    @property
    def width(self) -> int:
        """D, the width of a region's feature."""
        return 8 * self.sizes.outer

    def pool(self, maps: Tensor, boxes: Sequence[Tensor], chunk: int) -> Tensor:
        """Return the features (P, D) of boxes, `chunk` at a time: those of each of the maps (B, D / 2, h, w) in turn.

        boxes: (P of a map, 4) in pixels of the resized picture, for each map.
        """
        rows = torch.cat([F.pad(each, (1, 0), value=number) for number, each in enumerate(boxes)])  # (P, 5)
        plain = maps.contiguous()  # as RoIPool reads them
        out = maps.new_empty(len(rows), self.width)
        for start in range(0, len(rows), chunk):
            part = slice(start, start + chunk)
            cut = roi_pool(plain, rows[part], POOLED, 1 / STRIDE)  # (n, D / 2, 14, 14)
            cut = cut.contiguous(memory_format=torch.channels_last)
            out[part] = self.res5(cut).mean(dim=(2, 3))
        return out
