"""The contrastive losses against loops, and what they do with the model's own temperature."""

from __future__ import annotations

import math

import pytest
import torch

from baselines.dual_encoder.losses import ContrastiveLoss

COSINES = torch.rand(5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 - 1


def naive_softmax(scale: float) -> float:
    """Both directions, entry by entry."""
    total, size = 0.0, len(COSINES)
    for i in range(size):
        row = sum(math.exp(scale * float(COSINES[i, j])) for j in range(size))
        column = sum(math.exp(scale * float(COSINES[j, i])) for j in range(size))
        own = math.exp(scale * float(COSINES[i, i]))
        total -= math.log(own / row) + math.log(own / column)
    return total / (2 * size)


def naive_sigmoid(scale: float, bias: float) -> float:
    """Every pair on its own."""
    total, size = 0.0, len(COSINES)
    for i in range(size):
        for j in range(size):
            logit = scale * float(COSINES[i, j]) + bias
            total -= math.log(1 / (1 + math.exp(-logit if i == j else logit)))
    return total / size


@pytest.mark.parametrize("scale", [1.0, 14.3])
def test_softmax_is_that_of_a_loop(scale: float) -> None:
    found = ContrastiveLoss()(COSINES, torch.tensor(scale, dtype=torch.float64), None)
    assert float(found) == pytest.approx(naive_softmax(scale), rel=1e-12)


def test_sigmoid_is_that_of_a_loop_with_and_without_a_bias() -> None:
    loss, scale = ContrastiveLoss(kind="sigmoid"), torch.tensor(7.0, dtype=torch.float64)
    assert float(loss(COSINES, scale, torch.tensor(-10.0))) == pytest.approx(naive_sigmoid(7, -10), rel=1e-12)
    assert float(loss(COSINES, scale, None)) == pytest.approx(naive_sigmoid(7, 0), rel=1e-12)


def test_the_factor_is_learnt_up_to_its_limit() -> None:
    low, high = (torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (50.0, 150.0))
    for scale in (low, high):
        ContrastiveLoss()(COSINES, scale, None).backward()  # type: ignore[no-untyped-call]
    assert low.grad is not None
    assert abs(float(low.grad)) > 0
    assert float(high.grad or 0.0) == 0.0
    limited = ContrastiveLoss()(COSINES, torch.tensor(150.0, dtype=torch.float64), None)
    assert float(limited) == pytest.approx(naive_softmax(100), rel=1e-9)
    free = ContrastiveLoss(largest_scale=None)(COSINES, torch.tensor(150.0, dtype=torch.float64), None)
    assert float(free) == pytest.approx(naive_softmax(150), rel=1e-9)
