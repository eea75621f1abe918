"""Squared differences without gradient against a naive loop in double precision, also where contexts cancel."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from baselines.attention import alignment

TEMPERATURE, SLOPE = 9.0, 0.1


def naive(queries: Tensor, contexts: Tensor) -> Tensor:
    """(K, N, Q, D), pair by pair."""
    queries, contexts = queries.double(), contexts.double()
    rows = []
    for context in contexts:
        for query in queries:
            products = F.leaky_relu(query @ context.mT, SLOPE)  # (Q, S)
            products = products / (products.square().sum(0, keepdim=True).sqrt() + 1e-8)
            attended = (products * TEMPERATURE).softmax(1) @ context  # (Q, D)
            attended = attended / (attended.square().sum(1, keepdim=True).sqrt() + 1e-8)
            rows.append((attended - query).square())
    return torch.stack(rows).view(len(contexts), *queries.shape)


def tokens(cancelling: float) -> tuple[Tensor, Tensor]:
    """Unit queries (3, 4, 64); contexts (2, 6, 64), whose tokens have a sum of length `cancelling` unless it is 0."""
    generator = torch.Generator().manual_seed(0)
    queries = F.normalize(torch.randn(3, 4, 64, generator=generator), dim=2)
    contexts = F.normalize(torch.randn(2, 6, 64, generator=generator), dim=2)
    if cancelling:
        queries = F.pad(
            queries[..., :32], (0, 32)
        )  # they do not see the half of the axes in which contexts are
        first = F.pad(contexts[:, :5, 32:], (32, 0))
        rest = F.normalize(F.pad(contexts[:, 5:, 32:], (32, 0)), dim=2)
        contexts = torch.cat([first, cancelling * rest - first.sum(1, keepdim=True)], dim=1)
    return queries, contexts


@pytest.mark.parametrize("cancelling", [0.0, 0.1, 1e-2, 1e-3])
def test_differences_are_those_of_a_naive_loop(cancelling: float) -> None:
    queries, contexts = tokens(cancelling)
    with torch.no_grad():
        found = alignment.squared_differences(queries, contexts, temperature=TEMPERATURE, slope=SLOPE)
    error = (found - naive(queries, contexts)).abs().max()
    # what float32 tokens allow: their own rounding is as large beside a short sum as it is
    assert float(error) < (1e-6 if not cancelling else 5e-8 / cancelling)


def test_with_and_without_gradient_agree() -> None:
    queries, contexts = tokens(0.0)
    with_gradient = alignment.squared_differences(
        queries.requires_grad_(), contexts, temperature=TEMPERATURE, slope=SLOPE
    )
    with torch.no_grad():
        without = alignment.squared_differences(queries, contexts, temperature=TEMPERATURE, slope=SLOPE)
    torch.testing.assert_close(without, with_gradient, atol=1e-6, rtol=0)
