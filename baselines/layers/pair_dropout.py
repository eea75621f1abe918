"""Dropout inside pairs: every caption draws from a random stream of its own.

What is dropped then depends neither on how captions are grouped into parts, nor on whether a part is computed
again in the backward pass.
"""

from __future__ import annotations

import torch
from torch import Tensor


def draw_seeds(captions: int, device: torch.device) -> Tensor:
    """A seed for each caption's stream (m,), from PyTorch's own stream."""
    return torch.randint(2**62, (captions,)).to(device)


class PairDropout:
    """Dropout on arrays of pairs; one call after the other goes on in the captions' streams."""

    def __init__(self, rate: float, seeds: Tensor, caption_axis: int) -> None:
        """`seeds`: (C,), of the captions along `caption_axis` of what is dropped."""
        self.rate, self.caption_axis = rate, caption_axis
        self.streams = [torch.Generator(seeds.device).manual_seed(seed) for seed in seeds.tolist()]

    def __call__(self, values: Tensor) -> Tensor:
        """`values` with a share of `rate` at zero, the rest larger by as much."""
        shape = list(values.shape)
        shape.pop(self.caption_axis)
        draws = [torch.rand(shape, generator=stream, device=values.device) for stream in self.streams]
        kept = torch.stack(draws, self.caption_axis) >= self.rate
        return torch.where(kept, values / (1 - self.rate), 0)
