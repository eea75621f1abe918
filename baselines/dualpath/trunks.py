"""Image trunks (dualpath.md 3.2): pixels -> maps of features that the image head reads, window by window.

`caffe_resnet50` and `vgg19` are the networks the authors began with, in Caffe's reading of them. `timm_*` have
weights from the Hub, a marked departure. `small` is for training from scratch in minutes.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Literal, Protocol

import timm
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.dualpath.batch_norm import DeviationNorm, as_deviation_norms
from benchmark.strict import Strict

OfficialNames = list[tuple[str, str]]
"""Names of the official arrays in the official order, which the published learning rates go by, and ours of each."""


class TrunkConfig(Strict):
    """The choice of a trunk, and the movement of its stored moments."""

    name: Literal["caffe_resnet50", "vgg19", "timm_resnet50", "timm_resnet152", "timm_vgg19", "small"] = (
        "caffe_resnet50"
    )
    moment_rate: float = Field(default=0.001, ge=0, le=1)
    """Share of a batch in the stored moments at a step, while the trunk is trained (dualpath.md 5.3)."""
    widths: tuple[int, ...] = Field(default=(32, 64, 128), min_length=1)
    """Channels of the convolutions of `small`, but for the last."""
    out: int = Field(default=256, ge=1)
    """Width of the maps of `small`, which the head reads."""


class Trunk(Protocol):
    """An `nn.Module` from pixels to maps; nothing in it draws random numbers."""

    width: int
    """Channels of the maps."""

    def __call__(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) of 0..255 less the data set's mean -> (B, width, h, w), a place for each window."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]: ...

    def official_names(self) -> OfficialNames:
        """Names of the arrays in the authors' files; [] where they have no such trunk."""
        ...


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions with a shortcut; Caffe's ResNet strides in the first."""

    def __init__(self, channels: int, middle: int, out: int, stride: int, rate: float) -> None:
        super().__init__()
        self.branch1 = nn.Conv2d(channels, out, 1, stride=stride, bias=False) if channels != out else None
        self.norm1 = _norm(out, rate) if self.branch1 is not None else None
        self.branch2a = nn.Conv2d(channels, middle, 1, stride=stride, bias=False)
        self.norm2a = _norm(middle, rate)
        self.branch2b = nn.Conv2d(middle, middle, 3, padding=1, bias=False)
        self.norm2b = _norm(middle, rate)
        self.branch2c = nn.Conv2d(middle, out, 1, bias=False)
        self.norm2c = _norm(out, rate)

    def forward(self, values: Tensor) -> Tensor:
        hidden = self.norm2a(self.branch2a(values)).relu()
        hidden = self.norm2b(self.branch2b(hidden)).relu()
        hidden = self.norm2c(self.branch2c(hidden))
        if self.branch1 is not None and self.norm1 is not None:
            values = self.norm1(self.branch1(values))
        result: Tensor = (hidden + values).relu()
        return result


class CaffeResNet50(nn.Module):
    """ResNet-50 of the MSRA release: 213 official arrays, conv1 with a bias, a pool that pads bottom and right only."""

    width = 2048

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3)
        self.norm1 = _norm(64, rate)
        self.stages = nn.ModuleList()
        channels = 64
        for number, blocks in enumerate((3, 4, 6, 3)):
            middle, out = 64 * 2**number, 256 * 2**number
            strides = [1 if number == 0 else 2, *[1] * (blocks - 1)]
            ins = [channels, *[out] * (blocks - 1)]
            units = [Bottleneck(i, middle, out, s, rate) for i, s in zip(ins, strides, strict=True)]
            self.stages.append(nn.Sequential(*units))
            channels = out

    def forward(self, pixels: Tensor) -> Tensor:
        """Return (B, 2048, 1, 1) at 224 pixels: the last pool is 7x7 with stride 1."""
        values = self.norm1(self.conv1(pixels)).relu()
        values = F.max_pool2d(F.pad(values, (0, 1, 0, 1), value=-float("inf")), 3, 2)
        for stage in self.stages:
            values = stage(values)
        return F.avg_pool2d(values, 7, 1)

    def official_names(self) -> OfficialNames:
        """conv1 with its bias and norm, then each convolution with its norm, shortcuts first."""
        names = [
            ("conv1_filter", "conv1.weight"),
            ("conv1_bias", "conv1.bias"),
            *_norm_names("bn_conv1", "norm1"),
        ]
        for number, stage in enumerate(self.stages):
            assert isinstance(stage, nn.Sequential)
            for place, unit in enumerate(stage):
                block = f"{number + 2}{'abcdef'[place]}"
                for branch in ("1", "2a", "2b", "2c"):
                    if getattr(unit, f"branch{branch}") is None:
                        continue
                    ours = f"stages.{number}.{place}"
                    names.append((f"res{block}_branch{branch}_filter", f"{ours}.branch{branch}.weight"))
                    names += _norm_names(f"bn{block}_branch{branch}", f"{ours}.norm{branch}")
        return names


class VGG19(nn.Module):
    """VGG-19 up to fc7, before its ReLU: 36 official arrays; no dropout, the dense layers as convolutions."""

    width = 4096

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleDict(dict(_vgg_layers()))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return (B, 4096, 1, 1) at 224 pixels."""
        values, block = pixels, "1"
        for name, conv in self.convs.items():
            if name.startswith("fc") or name[4] != block:  # a pool ends each block
                values = F.max_pool2d(values, 2, 2) if name != "fc7" else values
                block = name[4:5]
            values = conv(values)
            values = values if name == "fc7" else values.relu()
        return values

    def official_names(self) -> OfficialNames:
        """Each layer's filter and bias."""
        return [
            (f"{name}{kind}", f"convs.{name}.{ours}")
            for name in self.convs
            for kind, ours in (("f", "weight"), ("b", "bias"))
        ]


def _vgg_layers() -> Iterator[tuple[str, nn.Conv2d]]:
    channels = 3
    for block, (count, out) in enumerate(((2, 64), (2, 128), (4, 256), (4, 512), (4, 512)), start=1):
        for number in range(1, count + 1):
            yield f"conv{block}_{number}", nn.Conv2d(channels, out, 3, padding=1)
            channels = out
    yield "fc6", nn.Conv2d(512, 4096, 7)
    yield "fc7", nn.Conv2d(4096, 4096, 1)


class TimmResNet(nn.Module):
    """A ResNet of timm with the norm of this method; reads 0..255 less the mean, as the others do."""

    width = 2048

    def __init__(self, name: str, rate: float, weights: dict[str, Any]) -> None:
        super().__init__()
        self.net = timm.create_model(name, num_classes=0, global_pool="", **weights)
        as_deviation_norms(self.net, rate)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return (B, 2048, 1, 1) at 224 pixels."""
        std = pixels.new_tensor(TIMM_STD).view(3, 1, 1)
        return F.avg_pool2d(self.net(pixels / (255 * std)), 7, 1)

    def official_names(self) -> OfficialNames:
        """None: the authors had another network."""
        return []


class SmallTrunk(nn.Module):
    """Patches of 4 pixels, then 3x3 convolutions: all but the last halve the maps, whose average is taken, as ResNet's.

    An average, since filters as large as the maps learn pictures by heart that they see a few times.
    """

    def __init__(self, config: TrunkConfig, image_size: int) -> None:
        super().__init__()
        self.width = config.out
        widths = (*config.widths, config.out)
        first = nn.Conv2d(3, widths[0], 4, stride=4, bias=False)
        pairs = pairwise(widths)
        strides = [*[2] * (len(widths) - 2), 1]
        rest = [
            nn.Conv2d(i, o, 3, stride=stride, padding=1, bias=False)
            for (i, o), stride in zip(pairs, strides, strict=True)
        ]
        self.convs = nn.ModuleList([first, *rest])
        self.norms = nn.ModuleList(_norm(width, config.moment_rate) for width in widths)
        self.side = -(-image_size // (4 * 2 ** (len(widths) - 2)))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return (B, out, 1, 1) at `image_size` pixels."""
        values = pixels / 64  # 0..255 less the mean: to about unit size
        for conv, norm in zip(self.convs, self.norms, strict=True):
            values = norm(conv(values)).relu()
        return F.avg_pool2d(values, self.side, 1)

    def official_names(self) -> OfficialNames:
        """None: it is our own."""
        return []


def _norm(channels: int, rate: float) -> DeviationNorm:
    return DeviationNorm(channels, eps=1e-5, rate=rate)


def _norm_names(official: str, ours: str) -> OfficialNames:
    return [(f"{official}_{kind}", f"{ours}.{part}") for kind, part in NORM_PARTS.items()]


TIMM_STD = [0.229, 0.224, 0.225]
"""Deviations that timm's weights were trained with, of pixels from 0 to 1."""

NORM_PARTS = {"mult": "weight", "bias": "bias", "moments": "moments"}
"""Official names of a trunk norm's arrays, and ours."""


def official_factor(place: int) -> float:
    """Learning-rate factor of the official trunk array at `place`, counted from 1 (dualpath.md 5.3).

    Of moments it is the share of a batch. The published rule counts filters and biases as if they alternated.
    """
    if place == 1:
        return 0.0001
    return 0.02 if place % 2 == 0 else 0.001
