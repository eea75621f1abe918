"""A GRU's states on a CPU, with a backward pass written out: each weight has its gradient by one product.

Autograd makes a product for every step of the sequence instead, as large as the weight itself, and adds them up: for
sequences of 13 words and batches of 32, three times the time (speed.md 6). With r, z, n the reset, update and new gate,

    n = tanh(W x + b + r (V h + c)),   h' = (1 - z) n + z h.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.utils.rnn import PackedSequence

from baselines.layers.dense import dense

Runs = list[slice]
"""Rows of a packed sequence, by step, in the order in which a direction takes them."""


def gru_states(gru: nn.GRU, packed: PackedSequence) -> PackedSequence:
    """Return what `gru` gives for a packed sequence of the batch, differentiable; its last states are not made.

    Without gradient, on a GPU and under autocast it is PyTorch's own.
    """
    data, device = packed.data, packed.data.device.type
    plain = gru.bias and not gru.dropout and not gru.proj_size
    if device != "cpu" or not torch.is_grad_enabled() or torch.is_autocast_enabled(device) or not plain:
        states: PackedSequence = gru(packed)[0]
        return states
    starts = [0, *packed.batch_sizes.cumsum(0).tolist()]
    runs = [slice(start, end) for start, end in pairwise(starts)]
    for layer in range(gru.num_layers):
        ways = [
            _Direction.apply(data, *(getattr(gru, f"{name}_l{layer}{way}") for name in _PARTS), order)
            for way, order in (("", runs), ("_reverse", runs[::-1]))[: 1 + gru.bidirectional]
        ]
        data = torch.cat(ways, dim=1)
    return PackedSequence(data, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)


_PARTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


class _Direction(torch.autograd.Function):
    """One direction of one layer: states (T, H) of inputs (T, I), T rows of all steps together."""

    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias_ih: Tensor,
        bias_hh: Tensor,
        runs: Runs,
    ) -> Tensor:
        rows, width = len(inputs), weight_hh.shape[1]
        gates = torch.addmm(bias_ih, inputs, weight_ih.mT)  # (T, 3 H)
        previous, inner = inputs.new_zeros(rows, width), inputs.new_empty(rows, width)
        states, last = inputs.new_empty(rows, width), inputs.new_empty(0, width)
        for run in runs:
            before = previous[run]
            before[: len(last)] = last[: len(before)]
            hidden = dense(before, weight_hh, bias_hh)  # (b, 3 H)
            both, new = torch.split(gates[run], [2 * width, width], dim=1)
            reset, update = both.add_(hidden[:, : 2 * width]).sigmoid_().chunk(2, dim=1)
            inner[run] = hidden[:, 2 * width :]
            new.addcmul_(reset, inner[run]).tanh_()
            last = torch.lerp(new, before, update, out=states[run])
        ctx.save_for_backward(inputs, weight_ih, weight_hh, gates, previous, inner)
        ctx.runs = runs
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_states: Tensor) -> tuple[Tensor | None, ...]:
        inputs, weight_ih, weight_hh, gates, previous, inner = ctx.saved_tensors
        width = weight_hh.shape[1]
        of_hidden, of_new = torch.empty_like(gates), torch.empty_like(previous)
        carried = of_states.new_empty(0, width)
        for run in reversed(ctx.runs):
            own = of_states[run].clone()  # (b, H)
            shared = min(len(own), len(carried))
            own[:shared] += carried[:shared]
            reset, update, new = gates[run].chunk(3, dim=1)
            of_reset, of_update, of_inner = of_hidden[run].chunk(3, dim=1)
            torch.ops.aten.tanh_backward.grad_input(
                torch.addcmul(own, own, update, value=-1), new, grad_input=of_new[run]
            )
            torch.ops.aten.sigmoid_backward.grad_input(
                (previous[run] - new).mul_(own), update, grad_input=of_update
            )
            torch.ops.aten.sigmoid_backward.grad_input(of_new[run] * inner[run], reset, grad_input=of_reset)
            torch.mul(of_new[run], reset, out=of_inner)
            carried = own.mul_(update).add_(dense(of_hidden[run], weight_hh.mT, None))
        of_weight_hh, of_bias_hh = of_hidden.mT @ previous, of_hidden.sum(0)
        of_gates = of_hidden
        of_gates[:, 2 * width :] = of_new
        of_inputs = of_gates @ weight_ih if ctx.needs_input_grad[0] else None
        return of_inputs, of_gates.mT @ inputs, of_weight_hh, of_gates.sum(0), of_bias_hh, None
