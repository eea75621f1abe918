"""The GRU with a backward pass of its own: states and gradients are PyTorch's."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from baselines.layers.gru import gru_states


def run(gru: nn.GRU, inputs: Tensor, lengths: list[int], own: bool) -> tuple[Tensor, list[Tensor]]:
    """The padded states, and gradients of inputs and weights."""
    leaf = inputs.clone().requires_grad_()
    packed = pack_padded_sequence(leaf, torch.tensor(lengths), batch_first=True, enforce_sorted=False)
    states: PackedSequence = gru_states(gru, packed) if own else gru(packed)[0]
    padded = pad_packed_sequence(states, batch_first=True)[0]
    weights = torch.randn(padded.shape, dtype=padded.dtype, generator=torch.Generator().manual_seed(1))
    wanted = [leaf, *gru.parameters()]
    return padded.detach(), list(torch.autograd.grad((padded * weights).sum(), wanted))


@pytest.mark.parametrize("lengths", [[3, 7, 1, 5, 7], [4], [2, 2]])
@pytest.mark.parametrize(("layers", "bidirectional"), [(1, True), (1, False), (2, True)])
def test_states_and_gradients_are_pytorchs(lengths: list[int], layers: int, bidirectional: bool) -> None:
    torch.manual_seed(0)
    gru = nn.GRU(4, 6, layers, batch_first=True, bidirectional=bidirectional).double()
    inputs = torch.randn(len(lengths), max(lengths), 4, dtype=torch.float64)
    (states, ours), (expected, theirs) = (run(gru, inputs, lengths, own) for own in (True, False))
    torch.testing.assert_close(states, expected, atol=1e-12, rtol=0)
    assert len(ours) == 1 + 4 * layers * (1 + bidirectional)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-11, rtol=0)


def test_inputs_without_gradient_get_none() -> None:
    gru = nn.GRU(4, 6, batch_first=True)
    packed = pack_padded_sequence(torch.randn(2, 3, 4), torch.tensor([3, 2]), batch_first=True)
    gru_states(gru, packed).data.sum().backward()  # type: ignore[no-untyped-call]
    assert packed.data.grad is None
    assert all(bool(p.grad is not None and p.grad.any()) for p in gru.parameters())


def test_elsewhere_it_is_pytorchs_own() -> None:
    """To the bit: without gradient, and under autocast."""
    gru = nn.GRU(4, 6, batch_first=True, bidirectional=True)
    packed = pack_padded_sequence(torch.randn(2, 3, 4), torch.tensor([3, 2]), batch_first=True)
    with torch.no_grad():
        assert torch.equal(gru_states(gru, packed).data, gru(packed)[0].data)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(gru_states(gru, packed).data, gru(packed)[0].data)
