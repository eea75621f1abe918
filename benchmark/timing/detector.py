"""Speed of the detector beside the recorded way of doing it, and beside the floor.

The recorded way is the public port's: one picture at a time, convolutions and batch norms one after the other, all
proposals at once, and the boxes of every class and the attributes of every proposal. The floor is the time of the
convolutions' operations at the rate of a plain matrix product in the same run (scoring.py). Weights are by formula:
they decide nothing about the time but which 36 regions are kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode
from torchvision.ops import roi_pool

from benchmark.data.regions.detector.boxes import STRIDE, Bounds, decode, grid_anchors, propose
from benchmark.data.regions.detector.detector import GROWTH, Detector
from benchmark.data.regions.detector.formula import formula_weights
from benchmark.data.regions.detector.network import POOLED, PUBLISHED, Architecture
from benchmark.data.regions.detector.pictures import Picture, prepare
from benchmark.data.regions.detector.published import EPSILON, NAMES, build_network, empty_network
from benchmark.data.regions.detector.selection import select_as_port
from benchmark.data.regions.detector.settings import DetectorSettings
from benchmark.method import ScoringCase
from benchmark.timing.clock import CPU
from benchmark.timing.memory import PeakMemory
from benchmark.timing.scoring import ScoringRow, scoring_benchmark, threads_set

SCALE = 0.35
"""Of the weights of classes, so that some are more probable than others."""


@dataclass(frozen=True)
class DetectorSpeed:
    """The rows of a benchmark, each over `pictures` pictures, and the peak memory of ours in bytes."""

    rows: list[ScoringRow]
    pictures: int
    peak_bytes: int
    memory: str
    """The way memory was measured, in words."""


def detector_benchmark(
    *,
    height: int = 600,
    width: int = 800,
    proposals: int = 300,
    pictures: int = 1,
    repeats: int = 3,
    threads: int = 1,
    device: torch.device = CPU,
    sizes: Architecture = PUBLISHED,
) -> DetectorSpeed:
    """Time pictures of `height` x `width` pixels, which are not resized; on a GPU also with TF32 against without."""
    weights = formula_weights(sizes, SCALE, np.zeros(sizes.classes + 1, np.float32))
    short, longest = sorted((height, width))
    settings = DetectorSettings(
        mode="hub", regions=min(36, proposals), short_side=short, longest_side=longest, proposals=proposals
    )
    detector = Detector(build_network(weights), settings, device)
    plain = PlainDetector({key: tensor.to(device) for key, tensor in weights.items()}, settings)
    draws = np.random.default_rng(0)
    given = [draws.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(pictures)]
    with threads_set(threads), torch.no_grad():
        memory = PeakMemory(device)
        detector.detect(given)  # before the recorded way takes more
        peak = memory.peak()
    floor = pictures * convolution_flops(sizes, height, width, proposals)
    name = f"{pictures} x {height} x {width}, {proposals} proposals"

    def features(tf32: bool) -> Tensor:
        detector.tf32 = tf32
        return torch.from_numpy(np.stack([found.features for found in detector.detect(given)]))

    recorded = partial(plain.features, given)
    cases = [ScoringCase(name, f"chunks of {detector.chunk}", recorded, partial(features, False), floor)]
    if device.type == "cuda":
        cases.append(ScoringCase(name, "TF32", partial(features, False), partial(features, True), floor))
    rows = scoring_benchmark(cases, repeats=repeats, threads=threads, device=device)
    return DetectorSpeed(rows, pictures, peak, memory.what)


def convolution_flops(sizes: Architecture, height: int, width: int, proposals: int) -> float:
    """Count the operations of all convolutions for one picture, a product and a sum as two."""
    network = empty_network(sizes)
    with FlopCounterMode(display=False) as counter:
        maps = network.backbone(torch.empty(1, 3, height, width, device="meta"))
        network.region_head(maps)
        network.res5(torch.empty(proposals, 4 * sizes.outer, POOLED, POOLED, device="meta"))
    return float(counter.get_total_flops())


class PlainDetector:
    """The network as recorded, from tensors by their published names; of the pictures' features, (n, 36, D)."""

    def __init__(self, weights: Mapping[str, Tensor], settings: DetectorSettings) -> None:
        self.weights, self.settings = weights, settings

    def features(self, pictures: Sequence[Picture]) -> Tensor:
        """Return the features (n, R, D) of pictures, on the CPU, one picture after the other."""
        return torch.stack([self._features(picture).cpu() for picture in pictures])

    def _features(self, picture: Picture) -> Tensor:
        pixels = prepare(picture, self.settings)[None].to(self.weights[NAMES["cell_anchors"]].device)
        maps = F.relu(self._normed("backbone.stem.conv1", pixels, stride=2, padding=3))
        maps = F.max_pool2d(maps, 3, 2, ceil_mode=True)
        for stage, stride in (("res2", 1), ("res3", 2), ("res4", 2)):
            maps = self._stage(f"backbone.{stage}", maps, stride)
        proposals, bounds = self._proposals(maps, pixels), Bounds(*pixels.shape[2:])
        rows = torch.cat([proposals.new_zeros(len(proposals), 1), proposals], dim=1)
        cut = roi_pool(maps, rows, POOLED, 1 / STRIDE)  # (P, D / 2, 14, 14)
        pooled = self._stage("roi_heads.res5", cut, 1, dilation=2).mean(dim=(2, 3))  # (P, D)
        logits = self._linear("cls_score", pooled)
        told = self.weights[NAMES["box_head."] + "cls_embedding.weight"][logits.argmax(dim=1)]
        self._linear("attr_score", F.relu(self._linear("fc_attr", torch.cat([pooled, told], dim=1))))
        deltas = self._linear("bbox_pred", pooled)
        classes = deltas.shape[1] // 4
        boxes = decode(deltas.view(-1, 4), proposals.repeat_interleave(classes, dim=0), GROWTH)
        boxes = bounds.clip(boxes).view(-1, classes, 4)  # (P, classes, 4)
        probabilities = logits.softmax(dim=1)[:, :-1]
        best = boxes[torch.arange(len(boxes), device=boxes.device), probabilities.argmax(dim=1)]
        return pooled[select_as_port(probabilities, best, self.settings.regions).rows]

    def _proposals(self, maps: Tensor, pixels: Tensor) -> Tensor:
        head, weights = NAMES["region_head."], self.weights
        hidden = F.relu(F.conv2d(maps, weights[f"{head}conv.weight"], weights[f"{head}conv.bias"], padding=1))
        logits, deltas = (
            F.conv2d(hidden, weights[f"{head}{part}.weight"], weights[f"{head}{part}.bias"])[0].permute(
                1, 2, 0
            )
            for part in ("objectness_logits", "anchor_deltas")
        )
        anchors = grid_anchors(weights[NAMES["cell_anchors"]], *maps.shape[2:])
        bounds = Bounds(*pixels.shape[2:])
        return propose(logits.flatten(), deltas.reshape(-1, 4), anchors, bounds, self.settings.proposals)[0]

    def _stage(self, name: str, maps: Tensor, stride: int, dilation: int = 1) -> Tensor:
        number = 0
        while f"{name}.{number}.conv1.weight" in self.weights:
            block, by = f"{name}.{number}", stride if number == 0 else 1
            inner = F.relu(self._normed(f"{block}.conv1", maps, stride=by))
            inner = F.relu(self._normed(f"{block}.conv2", inner, padding=dilation, dilation=dilation))
            short = maps if number else self._normed(f"{block}.shortcut", maps, stride=by)
            maps = F.relu(self._normed(f"{block}.conv3", inner) + short)
            number += 1
        return maps

    def _normed(
        self, name: str, maps: Tensor, stride: int = 1, padding: int = 0, dilation: int = 1
    ) -> Tensor:
        weights, norm = self.weights, f"{name}.norm"
        maps = F.conv2d(maps, weights[f"{name}.weight"], None, stride, padding, dilation)
        mean, variance = weights[f"{norm}.running_mean"], weights[f"{norm}.running_var"]
        return F.batch_norm(
            maps, mean, variance, weights[f"{norm}.weight"], weights[f"{norm}.bias"], eps=EPSILON
        )

    def _linear(self, name: str, rows: Tensor) -> Tensor:
        name = NAMES["box_head."] + name
        return F.linear(rows, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])
