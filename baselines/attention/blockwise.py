"""Elementwise steps over the widest arrays of training, with gradients, block by block (speed.md 6).

Autograd makes a pass over memory, and an array, of every operation. Here each block goes through all of them while it
is in the cache, and what is cheap is computed again in the backward pass. Every operation and its order are autograd's
own, so that values and gradients are the same to the bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from baselines.attention.tiles import wide_type
from baselines.layers.norms import EPS

BLOCK = {"cpu": 2**18, "cuda": 2**26}
"""Numbers of a block of one array: several of them fit a processor's cache; on a GPU they are worth a launch."""


def by_blocks(*wide: Tensor) -> bool:
    """Return True where arrays of one type, at least float32, need gradients and nothing is being compiled."""
    plain = torch.is_grad_enabled() and not torch.compiler.is_compiling()
    return plain and all(one.dtype == wide[0].dtype == wide_type(one) for one in wide)


def squared_unit_differences(attended: Tensor, queries: Tensor) -> Tensor:
    """Return (attended / |attended| - query)^2 of vectors (K, N, Q, D) and queries (N, Q, D) or (K, N, Q, D)."""
    differences: Tensor = _SquaredUnitDifferences.apply(attended, queries)
    return differences


def clamped_sum(step: Tensor, previous: Tensor | None) -> Tensor:
    """Return previous + step (K, N, Q, D), between -1 and 1; previous: None for ones."""
    if not by_blocks(step, step if previous is None else previous):
        return (step + (1.0 if previous is None else previous)).clamp(-1, 1)
    total: Tensor = _ClampedSum.apply(step, previous)
    return total


class _SquaredUnitDifferences(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, attended: Tensor, queries: Tensor) -> Tensor:
        norms = attended.new_empty(*attended.shape[:-1], 1)
        squares = torch.empty_like(attended)
        for rows in _blocks(attended):
            own = torch.linalg.vector_norm(attended[rows], dim=-1, keepdim=True, out=norms[rows])
            _differences(attended[rows], _rows_of(queries, attended, rows), own, squares[rows]).square_()
        ctx.save_for_backward(attended, queries, norms)
        return squares

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_squares: Tensor) -> tuple[Tensor, Tensor]:
        """With d = q - scale a, scale = 1 / (|a| + eps): 2 d for q; -2 scale d, and that through |a|, for a."""
        attended, queries, norms = ctx.saved_tensors
        of_queries, of_attended = torch.empty_like(attended), torch.empty_like(attended)
        for rows in _blocks(attended):
            own, of_own = attended[rows], of_queries[rows]  # (k, N, Q, D)
            _differences(own, _rows_of(queries, attended, rows), norms[rows], of_own)
            of_own.mul_(2).mul_(of_squares[rows])
            scale = (norms[rows] + EPS).reciprocal_()
            work = of_own * own
            of_norms = work.sum(-1, keepdim=True).mul_(scale * scale)
            lengths = norms[rows].masked_fill(norms[rows] == 0, torch.inf)  # of zeros: no gradient
            torch.div(own, lengths, out=work).mul_(of_norms)
            torch.mul(of_own, scale.neg_(), out=of_attended[rows]).add_(work)
        return of_attended, of_queries.sum_to_size(queries.shape)


class _ClampedSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, step: Tensor, previous: Tensor | None) -> Tensor:
        ctx.save_for_backward(step, previous)
        total = torch.empty_like(step)
        for rows in _blocks(step):
            torch.add(step[rows], 1.0 if previous is None else previous[rows], out=total[rows]).clamp_(-1, 1)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_total: Tensor) -> tuple[Tensor, Tensor | None]:
        step, previous = ctx.saved_tensors
        of_sum = torch.empty_like(step)
        for rows in _blocks(step):
            total = step[rows] + (1.0 if previous is None else previous[rows])
            # as clamp has it, a sum at a bound has no gradient
            of_sum[rows].copy_(of_total[rows]).masked_fill_(total.abs_() >= 1, 0)
        return of_sum, None if previous is None else of_sum


def _differences(attended: Tensor, queries: Tensor, norms: Tensor, out: Tensor) -> Tensor:
    scale = (norms + EPS).reciprocal_()
    return torch.addcmul(queries, attended, scale, value=-1, out=out)


def _rows_of(queries: Tensor, attended: Tensor, rows: slice) -> Tensor:
    """The queries of these contexts: their own, or those that all share."""
    return queries[rows] if queries.ndim == attended.ndim else queries


def _blocks(wide: Tensor) -> Iterator[slice]:
    """Rows of an array (K, ...) in blocks."""
    step = max(1, BLOCK.get(wide.device.type, BLOCK["cuda"]) * len(wide) // max(1, wide.numel()))
    for start in range(0, len(wide), step):
        yield slice(start, start + step)
