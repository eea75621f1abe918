"""The text path: a deep residual CNN over word vectors (dualpath.md 3.3).

A caption is a row of positions, each with a word or nothing; convolutions of width two see a position and the one
before it.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.dualpath.batch_norm import DeviationNorm
from benchmark.strict import Strict


class TextConfig(Strict):
    """The text CNN; the defaults are the published ones."""

    positions: int = Field(default=32, ge=4, multiple_of=4)
    """Places for words; longer captions lose their end (56 for CUHK-PEDES)."""
    word_dim: int = Field(default=300, ge=1)
    """Width of a word vector."""
    widths: tuple[int, int, int, int, int, int] = (64, 128, 256, 512, 1024, 2048)
    """Widths for the published 64, 128, 256, 512, 1024 and 2048 channels; the last is the common space's width."""
    units: tuple[int, int, int, int] = (3, 4, 6, 1)
    """Residual units of the four groups, the projecting one that each begins with among them."""


class WordLayer(nn.Module):
    """A 1x1 convolution over one-hot words, computed as a lookup: id k has row k - 1, and 0, no word, the bias alone.

    The gradient is dense: weight decay and momentum act on all rows at every step.
    """

    def __init__(self, words: int, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(words, dim))
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, ids: Tensor) -> Tensor:
        """Ids (N, P) -> (N, P, dim)."""
        vectors = F.embedding((ids - 1).clamp(min=0), self.weight)  # (N, P, dim)
        return vectors * (ids > 0).to(vectors.dtype)[..., None] + self.bias


class ResidualUnit(nn.Module):
    """1x1, 1x2 and 1x1 convolutions, each with a norm, and a shortcut; the second and the shortcut may stride.

    Channels come last, and a convolution is a matrix product: over few places that takes half the time.
    """

    def __init__(self, channels: int, middle: int, out: int, *, stride: int = 1, project: bool) -> None:
        super().__init__()
        self.stride = stride
        self.conv1 = nn.Conv1d(channels, middle, 1, bias=False)
        self.norm1 = DeviationNorm(middle)
        self.conv2 = nn.Conv1d(middle, middle, 2, stride=stride, bias=False)
        self.norm2 = DeviationNorm(middle)
        self.conv3 = nn.Conv1d(middle, out, 1, bias=False)
        self.norm3 = DeviationNorm(out)
        self.shortcut = nn.Conv1d(channels, out, 1, stride=stride, bias=False) if project else None
        self.shortcut_norm = DeviationNorm(out) if project else None

    def forward(self, values: Tensor) -> Tensor:
        """(N, W, channels) -> (N, W / stride, out)."""
        hidden = normalise_places(self.norm1, convolve(self.conv1, values)).relu()
        seen = join_left_neighbours(hidden)[:, :: self.stride]
        hidden = normalise_places(self.norm2, convolve(self.conv2, seen)).relu()
        hidden = normalise_places(self.norm3, convolve(self.conv3, hidden))
        if self.shortcut is not None and self.shortcut_norm is not None:
            values = normalise_places(self.shortcut_norm, convolve(self.shortcut, values[:, :: self.stride]))
        result: Tensor = (hidden + values).relu()
        return result


def join_left_neighbours(values: Tensor) -> Tensor:
    """(N, W, C) -> (N, W, 2 C): each place's left neighbour, of the first an empty one, before it."""
    return torch.cat([F.pad(values, (0, 0, 1, 0))[:, :-1], values], dim=2)


def convolve(conv: nn.Conv1d, values: Tensor) -> Tensor:
    """A convolution's filters (out, in, taps) on places (N, W, taps * in) that bring what each tap sees."""
    return F.linear(values, conv.weight.transpose(1, 2).flatten(1))


def normalise_places(norm: DeviationNorm, values: Tensor) -> Tensor:
    """Norm (N, W, C) over batch and places."""
    normed: Tensor = norm(values.flatten(0, 1))
    return normed.view_as(values)


class TextCNN(nn.Module):
    """Word ids at their positions -> features before the ReLU (the published `fc5_2bn`)."""

    def __init__(self, config: TextConfig, words: int) -> None:
        super().__init__()
        self.config = config
        self.words = WordLayer(words, config.word_dim)
        self.word_norm = DeviationNorm(config.word_dim)  # no ReLU follows
        self.groups = nn.ModuleList(_groups(config))
        dim = config.widths[-1]
        self.output = nn.Conv1d(dim, dim, 1, bias=False)
        self.output_norm = DeviationNorm(dim)

    def forward(self, ids: Tensor) -> Tensor:
        """Ids (N, positions), 0 where there is no word -> (N, D)."""
        values = normalise_places(self.word_norm, self.words(ids))  # (N, P, word_dim)
        for group in self.groups:
            values = group(values)
        pooled = values.max(1).values  # over all places, empty ones too; (N, D)
        features: Tensor = self.output_norm(convolve(self.output, pooled))
        return features


def place_at_all_starts(words: Tensor, positions: int) -> Tensor:
    """Words (n,) -> (positions + 1 - n, positions): begun at every place where they fit, nothing around them."""
    starts = positions + 1 - len(words)
    places = torch.arange(starts, device=words.device)[:, None] + torch.arange(
        len(words), device=words.device
    )
    placed = words.new_zeros(starts, positions)
    return placed.scatter(1, places, words.expand(starts, -1))


def _groups(config: TextConfig) -> list[nn.Sequential]:
    c64, c128, c256, c512, c1024, c2048 = config.widths
    # channels in, middle and out of the first unit; middle of the others; stride
    plans = (
        (config.word_dim, c128, c256, c64, 1),
        (c256, c512, c512, c128, 2),
        (c512, c1024, c1024, c256, 2),
        (c1024, c2048, c2048, c512, 1),
    )
    groups = []
    for (channels, first, out, middle, stride), units in zip(plans, config.units, strict=True):
        begin = ResidualUnit(channels, first, out, stride=stride, project=True)
        rest = [ResidualUnit(out, middle, out, project=False) for _ in range(units - 1)]
        groups.append(nn.Sequential(begin, *rest))
    return groups
