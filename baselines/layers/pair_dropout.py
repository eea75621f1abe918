"""Dropout inside pairs: every caption draws from a random stream of its own, for all images of the batch.

What is dropped of a pair then depends neither on how pairs are grouped into parts, nor on how often a part is
computed.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmark.distributed import shares


def draw_seeds(captions: int, device: torch.device) -> Tensor:
    """A seed for each caption's stream (m,), from PyTorch's own stream."""
    return shares.draw(captions, lambda count: torch.randint(2**62, (count,))).to(device)


def number_rows(images: int, device: torch.device) -> Tensor:
    """The row of each image (n,) in its batch."""
    own = shares.own_rows(images)
    return torch.arange(own.start, own.stop, device=device)


class PairDropout:
    """What a batch drops in its pairs: what is drawn once is kept, so that a pair may be scored in several parts."""

    def __init__(self, rate: float, images: int) -> None:
        """`images`: the number of images of the batch."""
        self.rate, self.images = rate, images
        self.streams: dict[int, torch.Generator] = {}
        self.kept: dict[int, list[Tensor]] = {}

    def of_pairs(
        self, rows: Tensor, seeds: Tensor, caption_axis: int, lengths: Tensor | None = None
    ) -> BlockDropout:
        """The dropout of a part of the batch's pairs.

        Images in `rows` (n,) of the batch, each with the captions of `seeds` (C,), which are `caption_axis` of the
        part's arrays, (n, C, ...) or (C, n, ...); or `rows` (P,), each with a caption of its own of `seeds` (P, 1),
        and arrays (P, 1, ...). `lengths`, like `seeds`: how many words captions have that are padded to more.
        """
        own = [None] * seeds.numel() if lengths is None else lengths.flatten().tolist()
        listed = seeds.ndim == 2
        images = torch.split(rows, 1) if listed else [rows] * len(seeds)
        columns = list(zip(images, seeds.flatten().tolist(), own, strict=True))
        return BlockDropout(self, columns, 0 if listed else caption_axis)

    def keep(self, seed: int, call: int, shape: tuple[int, ...], device: torch.device) -> Tensor:
        """True where a caption's numbers (images, *shape) stay in this call; calls are counted from 0."""
        if seed not in self.streams:
            self.streams[seed], self.kept[seed] = torch.Generator(device).manual_seed(seed), []
        kept = self.kept[seed]
        if call == len(kept):
            draws = torch.rand((self.images, *shape), generator=self.streams[seed], device=device)
            kept.append(draws >= self.rate)
        return kept[call]


class BlockDropout:
    """Dropout on arrays of some pairs, one call after the other; all parts make the same calls."""

    def __init__(
        self, batch: PairDropout, columns: list[tuple[Tensor, int, int | None]], caption_axis: int
    ) -> None:
        """`columns`: the rows of a caption's images, its seed, and its length if it is padded to more."""
        self.batch, self.columns, self.caption_axis, self.calls = batch, columns, caption_axis, 0

    def __call__(self, values: Tensor) -> Tensor:
        """`values` with a share of `rate` at zero, the rest larger by as much; without gradient in their place.

        Their axes: two of pairs, in (*, L, Z) then L words of the caption, and Z.
        """
        kept = [self._kept(values, *column) for column in self.columns]
        self.calls += 1
        factors = torch.stack(kept, self.caption_axis).to(values.dtype).mul_(1 / (1 - self.batch.rate))
        return values * factors if torch.is_grad_enabled() else values.mul_(factors)

    def _kept(self, values: Tensor, rows: Tensor, seed: int, length: int | None) -> Tensor:
        shape = tuple(values.shape[2:])
        if length is None or values.ndim == 3:
            return self.batch.keep(seed, self.calls, shape, values.device)[rows]
        kept = self.batch.keep(seed, self.calls, (length, shape[1]), values.device)[rows]
        return F.pad(kept, (0, 0, 0, shape[0] - length))
