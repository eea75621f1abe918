"""Pictures to regions: the network's passes, and the choice among its proposals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmark.data.regions.detector.boxes import STRIDE, Bounds, decode, grid_anchors, propose
from benchmark.data.regions.detector.network import Network
from benchmark.data.regions.detector.pictures import Picture, prepare, scale_of
from benchmark.data.regions.detector.published import build_network
from benchmark.data.regions.detector.selection import Choice, select_as_original, select_as_port
from benchmark.data.regions.detector.settings import DetectorSettings
from benchmark.data.regions.detector.weights import CACHE, load_weights

Floats = np.ndarray[Any, np.dtype[np.float32]]
Integers = np.ndarray[Any, np.dtype[np.int64]]


class PictureRegions(NamedTuple):
    """The regions of a picture, best first; where it has fewer than wanted, the last rows are zeros."""

    features: Floats
    """(R, D), of the proposals, before any of their boxes is regressed."""
    boxes: Floats
    """(R, 4), x1 y1 x2 y2 in pixels of the picture as it was given."""
    scores: Floats
    """(R,), the probability of the class."""
    objects: Integers
    """(R,), the class, from 0; background is none."""
    found: int
    """The number of regions that are no zeros."""
    attributes: Integers | None = None
    """(R,), the most probable attribute, where it was asked for."""
    attribute_scores: Floats | None = None


CHUNK = {"cpu": 16, "cuda": 256}
"""Proposals that pass the last stage at once. On a CPU, fewer would spend more time on the weights, which are laid out
anew for each chunk, and the maps of more leave the cache."""

BATCH = {"cpu": 1, "cuda": 8}
"""Pictures of one size that pass the other stages at once; on a CPU, more of them only take more memory."""

SMALLEST = 16
"""The least side of the original's proposals, in pixels of the picture as it was given (data.md 3.1)."""

GROWTH = (10.0, 5.0)
"""The weights of a class's deltas (data.md 3.3, BBOX_REG_WEIGHTS)."""


class Seen(NamedTuple):
    """One resized picture on its way through the network."""

    proposals: Tensor
    """(P, 4) in resized pixels, best first."""
    objectness: Tensor
    """(P,), logits."""
    pooled: Tensor
    """(P, D)."""
    logits: Tensor
    """(P, classes + 1), background last."""

    @property
    def probabilities(self) -> Tensor:
        """(P, classes), without background."""
        return self.logits.softmax(dim=1)[:, :-1]


class Detector:
    """Finds the regions of pictures; on one device, in float32."""

    def __init__(self, network: Network, settings: DetectorSettings, device: torch.device) -> None:
        self.network, self.settings, self.device = network.to(device), settings, device
        kind = device.type if device.type in CHUNK else "cpu"
        self.chunk, self.batch = CHUNK[kind], BATCH[kind]
        self.tf32 = False
        """True: products on a GPU keep 10 bits of a fraction, which changes features beyond rounding."""

    @classmethod
    def load(
        cls,
        settings: DetectorSettings,
        device: torch.device,
        weights: Path | None = None,
        *,
        cache: Path = CACHE,
    ) -> Detector:
        """Return a detector with the published weights, fetched and converted where `cache` lacks them.

        weights: a local copy of the Hub's file. Raises UserError where the weights are neither cached nor reachable,
        have another sha256 than expected, or do not fit the network.
        """
        loaded = load_weights(weights, cache)
        settings.check_config(loaded.config)
        return cls(build_network(loaded.tensors), settings, device)

    @property
    def width(self) -> int:
        """D, the width of a feature."""
        return self.network.width

    def detect(self, pictures: Sequence[Picture], attributes: bool = False) -> list[PictureRegions]:
        """Return the regions of pictures (H, W, 3) uint8 RGB; the same for any batch but for rounding.

        attributes: tell an attribute of each region, too.
        """
        by_shape: dict[tuple[int, ...], list[int]] = {}
        for place, picture in enumerate(pictures):
            by_shape.setdefault(picture.shape, []).append(place)
        found: dict[int, PictureRegions] = {}
        for places in by_shape.values():
            for start in range(0, len(places), self.batch):
                part = places[start : start + self.batch]
                made = self._detect_equal([pictures[place] for place in part], attributes)
                found.update(zip(part, made, strict=True))
        return [found[place] for place in range(len(pictures))]

    @torch.no_grad()
    def _detect_equal(self, pictures: Sequence[Picture], attributes: bool) -> list[PictureRegions]:
        """Return the regions of pictures of one size."""
        pixels = torch.stack([prepare(picture, self.settings) for picture in pictures])  # (B, 3, h, w)
        pixels = pixels.to(self.device).contiguous(memory_format=torch.channels_last)
        bounds = self.bounds_of(pictures[0], pixels)
        with self._precision():
            return [self.regions(seen, bounds, attributes) for seen in self.look(pixels, bounds)]

    @contextmanager
    def _precision(self) -> Iterator[None]:
        before = torch.backends.cudnn.allow_tf32
        torch.backends.cudnn.allow_tf32 = self.tf32
        try:
            yield
        finally:
            torch.backends.cudnn.allow_tf32 = before

    def bounds_of(self, picture: Picture, pixels: Tensor) -> Bounds:
        """Return the bounds of the boxes of a picture that was resized to pixels (B, 3, h, w)."""
        height, width = pixels.shape[2:]
        if self.settings.mode == "hub":
            return Bounds(height, width, scales=(width / picture.shape[1], height / picture.shape[0]))
        scale = scale_of(picture, self.settings)
        return Bounds(height, width, SMALLEST * scale, edge=1, scales=(scale, scale))

    def look(self, pixels: Tensor, bounds: Bounds) -> Iterator[Seen]:
        """Pass pictures (B, 3, h, w) through the network."""
        network = self.network
        maps = network.backbone(pixels)  # (B, D / 2, h, w)
        logits, deltas = network.region_head(maps)
        anchors = grid_anchors(self._cells(), *maps.shape[2:])
        proposals = [
            propose(logits[row], deltas[row], anchors, bounds, self.settings.proposals)
            for row in range(len(maps))
        ]
        boxes = [each[0] for each in proposals]
        pooled = network.pool(maps, boxes, self.chunk)  # (P of all pictures, D)
        classes = network.box_head.cls_score(pooled)  # (P of all pictures, classes + 1)
        start = 0
        for found, objectness in proposals:
            rows = slice(start, start + len(found))
            yield Seen(found, objectness, pooled[rows], classes[rows])
            start = rows.stop

    def _cells(self) -> Tensor:
        """Return the anchors (A, 4) around a place; the original's are centred on the middle of its pixels."""
        cells = self.network.cell_anchors
        if self.settings.mode == "hub":
            return cells
        centres = (cells[:, :2] + cells[:, 2:]) / 2  # (A, 2)
        return cells - centres.repeat(1, 2) + STRIDE / 2

    def choose(self, seen: Seen, bounds: Bounds) -> tuple[Choice, Tensor]:
        """Return the kept proposals and their boxes (K, 4) in resized pixels."""
        count, probabilities = self.settings.regions, seen.probabilities
        if self.settings.mode == "caffe":
            choice = select_as_original(probabilities, bounds.whole(seen.proposals), count)
            return choice, seen.proposals[choice.rows]
        deltas = self.network.box_head.deltas(seen.pooled, probabilities.argmax(dim=1))
        boxes = bounds.clip(decode(deltas, seen.proposals, GROWTH))  # (P, 4)
        choice = select_as_port(probabilities, boxes, count)
        return choice, boxes[choice.rows]

    def regions(self, seen: Seen, bounds: Bounds, attributes: bool = False) -> PictureRegions:
        """Return the kept regions of a picture."""
        choice, boxes = self.choose(seen, bounds)
        told: list[Any] = []
        if attributes:
            told = [self._filled(part) for part in self._attributes(seen, choice.rows)]
        return PictureRegions(
            self._filled(seen.pooled[choice.rows]),
            self._filled(bounds.original(boxes)),
            self._filled(choice.scores),
            self._filled(choice.objects),
            len(choice.rows),
            *told,
        )

    def _attributes(self, seen: Seen, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the most probable attribute (K,) of some proposals, and its probability (K,)."""
        objects = seen.logits[rows].argmax(dim=1)  # background among them
        logits = self.network.box_head.attributes(seen.pooled[rows], objects)[:, :-1]
        scores, found = logits.softmax(dim=1).max(dim=1)
        return found, scores

    def _filled(self, rows: Tensor) -> np.ndarray[Any, Any]:
        """Return rows (K, ...) with zeros after them, as many rows as are wanted."""
        out = rows.new_zeros(self.settings.regions, *rows.shape[1:])
        out[: len(rows)] = rows
        return out.cpu().numpy()
