"""Gathering with gradients: what every process computes of the same tensors gives each the gradient of all.

Each process computes the loss of the whole batch, divided by the number of processes; the gradient that it gets for
what it has sent is the sum of what all processes have for their copies.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from benchmark.distributed.processes import Processes


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, counts: Sequence[int], processes: Processes) -> Tensor:
        ctx.processes, ctx.start, ctx.count = processes, sum(counts[: processes.rank]), len(values)
        return processes.gather_rows(values, counts)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        total = ctx.processes.add_up(gradient.clone(memory_format=torch.contiguous_format))
        return total[ctx.start : ctx.start + ctx.count], None, None


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, processes: Processes) -> Tensor:
        ctx.processes = processes
        return processes.add_up(values.clone(memory_format=torch.contiguous_format))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.processes.add_up(gradient.clone(memory_format=torch.contiguous_format)), None


class _BatchNorm(torch.autograd.Function):
    """Batch norm of values (n, C, ...) over the rows of all processes."""

    @staticmethod
    def forward(
        ctx: Any,
        values: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        count: int,
        eps: float,
        processes: Processes,
    ) -> tuple[Tensor, Tensor, Tensor]:
        wide = values.to(torch.promote_types(values.dtype, torch.float32))
        axes, shape = _axes(values)
        mean = processes.add_up(wide.sum(axes)) / count  # (C,)
        centred = wide - mean.view(shape)
        variance = processes.add_up(centred.square().sum(axes)) / count  # (C,)
        scale = (variance + eps).rsqrt()
        normalised = centred * scale.view(shape)
        ctx.save_for_backward(normalised, scale, weight)
        ctx.count, ctx.processes, ctx.has_bias = count, processes, bias is not None
        if weight is not None:
            normalised = normalised * weight.view(shape)
        if bias is not None:
            normalised = normalised + bias.view(shape)
        ctx.mark_non_differentiable(mean, variance)
        return normalised.to(values.dtype), mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, _mean: Tensor, _variance: Tensor) -> tuple[Tensor | None, ...]:
        normalised, scale, weight = ctx.saved_tensors
        wide = gradient.to(normalised.dtype)
        axes, shape = _axes(gradient)
        own = torch.stack([wide.sum(axes), (wide * normalised).sum(axes)])  # (2, C)
        whole = ctx.processes.add_up(own.clone()) / ctx.count
        inner = wide - whole[0].view(shape) - normalised * whole[1].view(shape)
        factor = scale if weight is None else scale * weight
        passed = (inner * factor.view(shape)).to(gradient.dtype)
        of_weight = None if weight is None else own[1].to(weight.dtype)
        of_bias = own[0].to(scale.dtype) if ctx.has_bias else None
        return passed, of_weight, of_bias, None, None, None


def _axes(values: Tensor) -> tuple[list[int], list[int]]:
    """All axes but the channels', and the shape that channels are broadcast from."""
    return [axis for axis in range(values.ndim) if axis != 1], [1, -1, *[1] * (values.ndim - 2)]


def gather(values: Tensor, counts: Sequence[int], processes: Processes) -> Tensor:
    """Join the rows of all processes, `counts` each; differentiable where `values` are."""
    if not values.requires_grad:
        return processes.gather_rows(values, counts)
    joined: Tensor = _Gather.apply(values, tuple(counts), processes)
    return joined


def add_up(values: Tensor, processes: Processes) -> Tensor:
    """The sum of the values of all processes, differentiable."""
    total: Tensor = _Sum.apply(values, processes)
    return total


def batch_norm(
    values: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    *,
    count: int,
    eps: float,
    processes: Processes,
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalise `values` (n, C, ...) by all processes' statistics; also mean and biased variance, (C,) each.

    `count`: the values of a channel in all processes together.
    """
    found: tuple[Tensor, Tensor, Tensor] = _BatchNorm.apply(values, weight, bias, count, eps, processes)
    return found
