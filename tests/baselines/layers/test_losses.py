"""The ranking loss against loops that spell it out, and against the published code's recordings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from benchmark.method import TripletLoss

GOLDEN = Path("tests/golden/hat/triplet_loss.npz")


def looped(scores: Tensor, margin: float, hardest: bool) -> float:
    """The formula of hat.md 4, or of rcar.md 4 with all negatives, one negative at a time."""
    size, total = len(scores), 0.0
    s = scores.tolist()
    for i in range(size):
        captions = [max(0.0, margin + s[i][j] - s[i][i]) for j in range(size) if j != i]
        images = [max(0.0, margin + s[j][i] - s[i][i]) for j in range(size) if j != i]
        for costs in (captions, images):
            total += max(costs) if hardest else sum(costs)
    return total


@pytest.mark.parametrize("hardest", [True, False])
@pytest.mark.parametrize("size", [2, 5, 9])
def test_equals_the_loops(size: int, hardest: bool) -> None:
    scores = torch.randn(size, size, generator=torch.Generator().manual_seed(size), dtype=torch.float64)
    for margin in (0.0, 0.2, 1.5):
        ours = TripletLoss(margin=margin, hardest=hardest)(scores)
        assert ours.item() == pytest.approx(looped(scores, margin, hardest), abs=1e-12)


@pytest.mark.parametrize("hardest", [True, False])
def test_gradient_equals_finite_differences(hardest: bool) -> None:
    scores = torch.randn(6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    scores.requires_grad_()
    assert torch.autograd.gradcheck(lambda s: TripletLoss(margin=0.3, hardest=hardest)(s), (scores,))


def test_tied_maxima_send_the_gradient_to_the_first_index() -> None:
    scores = torch.zeros(4, 4).fill_diagonal_(0.1).requires_grad_()
    torch.autograd.backward(TripletLoss(margin=0.2)(scores))
    assert scores.grad is not None
    first = torch.zeros(4, 4)
    for i in range(4):
        j = 1 if i == 0 else 0  # the first index that is not the diagonal's
        first[i, j] += 1
        first[j, i] += 1
        first[i, i] -= 2
    assert torch.equal(scores.grad, first)


def test_a_batch_that_is_right_by_the_margin_costs_nothing() -> None:
    assert TripletLoss(margin=0.2)(torch.eye(5)).item() == 0
    assert TripletLoss(margin=0.2)(torch.ones(1, 1)).item() == 0


def test_recorded_losses_and_gradients() -> None:
    with np.load(GOLDEN) as file:
        numbers = sorted({key.split("/")[1] for key in file.files if key.startswith("inputs/")})
        assert numbers
        for number in numbers:
            scores = torch.from_numpy(file[f"inputs/{number}/scores"]).requires_grad_()
            loss = TripletLoss(margin=float(file[f"inputs/{number}/margin"]))(scores)
            torch.autograd.backward(loss)
            assert abs(loss.item() - file[f"outputs/{number}/loss"]) <= 1e-6
            assert scores.grad is not None
            assert np.abs(scores.grad.numpy() - file[f"grads/{number}/scores"]).max() <= 1e-6


def test_settings_are_the_published_ones_and_have_limits() -> None:
    assert TripletLoss() == TripletLoss(margin=0.2, hardest=True)
    assert TripletLoss(margin=0).margin == 0
    with pytest.raises(ValidationError, match="margin"):
        TripletLoss(margin=-0.5)
