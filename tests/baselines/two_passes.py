"""Losses of the hardest negatives in one pass, all pairs with gradient, and in two: the same loss and gradients."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor

from baselines.rcar.model import RCAR
from baselines.sgraf.model import SGRAF
from benchmark.batches import Codes, TrainingCodes
from benchmark.method import TripletLoss
from tests.baselines.region_models import progress

Gradients = list[Tensor | None]


def as_leaves(codes: TrainingCodes, dtype: torch.dtype) -> tuple[TrainingCodes, list[Tensor]]:
    """The same codes, cut off from the encoders, and those of them that have gradients."""
    sides = [
        {
            name: value.detach().to(dtype).requires_grad_() if value.is_floating_point() else value
            for name, value in side.tensors.items()
        }
        for side in (codes.images, codes.captions)
    ]
    leaves = [value for side in sides for value in side.values() if value.requires_grad]
    return TrainingCodes(Codes(sides[0]), Codes(sides[1]), codes.extra), leaves


def in_one_pass(
    model: RCAR | SGRAF, codes: TrainingCodes, dtype: torch.dtype, loss: dict[str, Any]
) -> tuple[Tensor, Tensor, Gradients]:
    """The scores, the loss, and its gradients for parameters and codes, with gradient through all pairs."""
    model, (codes, leaves) = deepcopy(model).to(dtype), as_leaves(codes, dtype)
    scores = model.training_scores(codes, None)
    value = TripletLoss.model_validate(loss)(scores)
    gradients = torch.autograd.grad(value, [*model.parameters(), *leaves], allow_unused=True)
    return scores.detach(), value.detach(), list(gradients)


def assert_two_passes_are_one(
    model: RCAR | SGRAF, codes: TrainingCodes, budget: int | None = None, **loss: Any
) -> Tensor:
    """Compare with one pass: 1e-9 of each gradient's largest entry in float64, 1e-5 of the largest of all in float32.

    Where float32's one pass itself is off by more than a tenth of that, ten times as much as it is. Returns the scores.
    """
    dtype = next(model.parameters()).dtype
    scores, expected, theirs = in_one_pass(model, codes, dtype, loss)
    exact = in_one_pass(model, codes, torch.float64, loss)[2]
    codes, leaves = as_leaves(codes, dtype)
    found = model.objective(codes, progress(**loss), budget)
    ours = torch.autograd.grad(found, [*model.parameters(), *leaves], allow_unused=True)
    assert [one is None for one in ours] == [one is None for one in theirs]
    double = dtype == torch.float64
    torch.testing.assert_close(found.detach(), expected, atol=0, rtol=1e-9 if double else 1e-5)
    pairs = [
        (one, true) for one, true in zip(ours, exact, strict=True) if one is not None and true is not None
    ]
    largest = max(float(true.abs().max()) for _, true in pairs)
    rounding = max(
        float((one - true).abs().max())
        for one, true in zip(theirs, exact, strict=True)
        if one is not None and true is not None
    )
    for one, true in pairs:
        # some are nothing but rounding: a bias before a softmax
        own = 1e-9 * max(float(true.abs().max()), 1e-3 * largest) if double else 1e-5 * largest
        torch.testing.assert_close(one.to(true.dtype), true, atol=max(own, 10 * rounding), rtol=0)
    return scores
