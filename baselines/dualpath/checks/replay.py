"""The models of the golden files, rebuilt from what was recorded of them, and how close ours must come.

Their image trunk is a stand-in of two convolutions: the pretrained one could not be had for the recordings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.dualpath.batch_norm import DeviationNorm
from baselines.dualpath.build import build_dualpath
from baselines.dualpath.checkpoint import translate
from baselines.dualpath.config import DualPathConfig
from baselines.dualpath.model import DualPath
from baselines.dualpath.trunks import NORM_PARTS, OfficialNames
from baselines.published.golden import Array, EachEntry, Recorded, Tolerances, load_exactly
from benchmark.method import DataFacts

TOLERANCES: Tolerances = {
    "values": EachEntry(1e-6, 1e-6),
    "steps": (0.0, 1e-6),
    "nothing": (1e-9, 0.0),
    "loss alone": (0.0, 1e-6),
    "exact": (0.0, 0.0),
}
"""From tests/golden/dualpath/README.md, in float64. `steps`: relative to the largest entry; `nothing`: of a gradient
that is zero but for rounding."""


class StandIn(nn.Module):
    """The golden files' trunk: 3x3 with stride 2 and a bias, 1x1 without, each with norm and ReLU, a 4x4 average."""

    def __init__(self, channels: int, width: int, eps: float) -> None:
        super().__init__()
        self.width = width
        self.conv1 = nn.Conv2d(3, channels, 3, stride=2, padding=1)
        self.norm1 = DeviationNorm(channels, eps=eps, rate=0.001)
        self.conv2 = nn.Conv2d(channels, width, 1, bias=False)
        self.norm2 = DeviationNorm(width, eps=eps, rate=0.001)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, width, h, w)."""
        hidden = self.norm1(self.conv1(pixels)).relu()
        return F.avg_pool2d(self.norm2(self.conv2(hidden)).relu(), 4, 1)

    def official_names(self) -> OfficialNames:
        """Nine arrays, in the order that the published learning rates go by."""
        norms = [
            [(f"{official}_{kind}", f"{ours}.{part}") for kind, part in NORM_PARTS.items()]
            for official, ours in (("bn_conv1", "norm1"), ("bn5c", "norm2"))
        ]
        first = [("conv1_filter", "conv1.weight"), ("conv1_bias", "conv1.bias")]
        return [*first, *norms[0], ("res5c_filter", "conv2.weight"), *norms[1]]


def build_recorded(config: dict[str, Any]) -> DualPath:
    """The model of a file, in float64, with weights of its own still."""
    widths = tuple(config[f"c{width}"] for width in (64, 128, 256, 512, 1024, 2048))
    dropout = config.get("dropout", "off")
    ours = DualPathConfig.model_validate(
        {
            "text": {"widths": widths, "word_dim": config["word_dim"], "positions": config["positions"]},
            "classifier_bias": config["share_bias"],
            "dropout": 0.0 if dropout == "off" else dropout,
        }
    )
    trunk = StandIn(config["img_c"], config["c2048"], config["trunk_bn_eps"])
    facts = DataFacts(vocab_size=config["vocab"], n_train_images=config["classes"], trunk=trunk)
    return build_dualpath(ours, facts).double()


def load_model(recorded: Recorded) -> DualPath:
    """The model of a file with its weights; ValueError where they do not fit."""
    model = build_recorded(recorded.config())
    arrays = {
        key.removeprefix("weights/"): recorded.arrays[key].astype("float64")
        for key in recorded.under("weights/")
    }
    load_whole(model, arrays)
    return model


def load_whole(model: DualPath, arrays: Mapping[str, Array]) -> None:
    """Give a model all official arrays; ValueError where they do not fit."""
    weights = translate(arrays, model)
    if weights.dropped:
        raise ValueError(f"arrays of another size: {weights.dropped[:3]}")
    load_exactly(model, weights)


def read_words(recorded: Recorded, count: int) -> list[Tensor]:
    """The recorded captions' ids."""
    return [recorded.tensor(f"inputs/words_{number}") for number in range(count)]


def place_captions(words: list[Tensor], starts: Tensor, positions: int) -> Tensor:
    """Captions at their recorded places, which count from 1, (B, positions)."""
    ids = torch.zeros(len(words), positions, dtype=torch.int64)
    for row, word_ids, start in zip(ids, words, starts.tolist(), strict=True):
        row[start - 1 : start - 1 + len(word_ids)] = word_ids
    return ids
