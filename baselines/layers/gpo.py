"""Generalised pooling operator: a set of vectors -> one, by weights of the ranks in each dimension (user.md 3.3).

Each dimension is sorted by itself, largest first, and summed with weights that a small recurrent network makes of
the number of vectors alone. They run from the maximum to the mean, whichever training finds better.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from baselines.layers.packing import pack, unpack
from benchmark.batches import move, move_known, numbers_of

TEMPERATURE = 0.1
"""Temperature of the softmax over the ranks."""


class GPO(nn.Module):
    """Pools sets of any size; `width` is that of the places' codes and of each direction of the GRU."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.width = width
        self.gru = nn.GRU(width, width, batch_first=True, bidirectional=True)
        self.linear = nn.Linear(width, 1, bias=False)

    def forward(self, vectors: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Pooled vectors (B, D) of `vectors` (B, N, D).

        `lengths` (B,), 1 or more: how many of each set count; None: all N. What comes after them is not read.
        """
        if lengths is None:
            ordered = vectors.sort(1, descending=True).values  # (B, N, D)
            size = move_known(torch.tensor([vectors.shape[1]]), vectors.device)
            return (self.weights(size)[:, None] @ ordered).squeeze(1)
        weights = self.weights(lengths)  # (B, L)
        padding = _padding(lengths, weights.shape[1])[..., None]  # (B, L, 1)
        counting = vectors[:, : weights.shape[1]].masked_fill(padding, -math.inf)  # last in the order
        ordered = counting.sort(1, descending=True).values.masked_fill(padding, 0)  # (B, L, D)
        return (weights[:, None] @ ordered).squeeze(1)

    def weights(self, lengths: Tensor) -> Tensor:
        """Weights (B, L) of the ranks in sets of `lengths` (B,), L being the largest; 0 after a set's last.

        In float32, also under autocast: the temperature makes a rounding error of the scores ten times as large, and
        a recurrent network over a few numbers gains nothing from half precision.
        """
        numbers = numbers_of(lengths)
        sizes = sorted(set(numbers))  # sets of one size share their weights
        place = move(torch.tensor([sizes.index(number) for number in numbers]), lengths.device)
        with torch.autocast(lengths.device.type, enabled=False):
            return self._by_size(sizes, lengths.device)[place]

    def _by_size(self, sizes: list[int], device: torch.device) -> Tensor:
        """Weights (S, L) of the ranks in sets of S different sizes, smallest first."""
        codes = positional_codes(sizes[-1], self.width, device)  # (L, W)
        codes = codes.to(self.linear.weight.dtype).expand(len(sizes), -1, -1)  # (S, L, W)
        states = unpack(self.gru(pack(codes, sizes))[0])
        forward, backward = states.chunk(2, dim=2)
        scores = self.linear((forward + backward) / 2).squeeze(2)  # (S, L)
        padding = _padding(move(torch.tensor(sizes), device), scores.shape[1])
        weights: Tensor = (scores.masked_fill(padding, -math.inf) / TEMPERATURE).softmax(1)
        return weights


def positional_codes(places: int, width: int, device: torch.device | None = None) -> Tensor:
    """Sines and cosines in turns, of wavelengths from 2 pi to 10,000 times that: (places, width) float64."""
    speeds = torch.arange(0, width, 2, dtype=torch.float64, device=device) * (-math.log(10_000) / width)
    angles = torch.arange(places, dtype=torch.float64, device=device)[:, None] * speeds.exp()  # (P, W / 2)
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)


def _padding(lengths: Tensor, longest: int) -> Tensor:
    """True at the places (B, longest) after each length."""
    return torch.arange(longest, device=lengths.device) >= lengths[:, None]
