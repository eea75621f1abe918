"""Squared differences without gradient against a naive loop in double precision, also where contexts cancel."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from baselines.attention import alignment
from baselines.attention.scratch import Scratch

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


def by_autograd(queries: Tensor, contexts: Tensor, modulation: Tensor | None, temperature: Tensor) -> Tensor:
    """What `squared_differences` computes (K, N, Q, D), in plain operations."""
    wide = queries if modulation is None else queries * modulation
    wide = wide.expand(len(contexts), *wide.shape[-3:])  # (K, N, Q, D)
    products = F.leaky_relu(torch.einsum("knqd,ksd->knqs", wide, contexts), SLOPE)
    norms = products.square().sum(2, keepdim=True).sqrt() + 1e-8
    attended = torch.einsum("knqs,ksd->knqd", (products / norms * temperature).softmax(3), contexts)
    return (attended / (attended.square().sum(3, keepdim=True).sqrt() + 1e-8) - queries).square()


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("modulated", [False, True])
def test_gradients_are_those_of_plain_operations(own: bool, modulated: bool) -> None:
    generator = torch.Generator().manual_seed(0)

    def values(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()

    queries = values(2, 3, 4, 8) if own else values(3, 4, 8)
    contexts, temperature = values(2, 5, 8), values(2, 3, 4, 1)
    modulation = values(2, 3, 4, 8) if modulated else None
    leaves = [one for one in (queries, contexts, temperature, modulation) if one is not None]
    found = alignment.squared_differences(
        queries, contexts, temperature=temperature, slope=SLOPE, modulation=modulation
    )
    expected = by_autograd(queries, contexts, modulation, temperature)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)
    weights = torch.randn(found.shape, generator=generator, dtype=torch.float64)
    ours, theirs = (torch.autograd.grad((one * weights).sum(), leaves) for one in (found, expected))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-10)


def test_a_context_of_zeros_has_finite_gradients() -> None:
    queries = F.normalize(torch.randn(3, 4, 8, dtype=torch.float64), dim=2)
    contexts = torch.zeros(2, 5, 8, dtype=torch.float64, requires_grad=True)
    found = alignment.squared_differences(queries, contexts, temperature=TEMPERATURE, slope=SLOPE)
    torch.testing.assert_close(found, queries.square().expand_as(found))
    (gradient,) = torch.autograd.grad(found.sum(), contexts)
    assert gradient.isfinite().all()


def test_the_same_numbers_are_in_a_scratch_that_held_others() -> None:
    queries, contexts = tokens(0.0)
    modulation = torch.rand(2, 3, 4, 64, generator=torch.Generator().manual_seed(1))
    scratch = Scratch()
    with torch.no_grad():
        for own in (modulation, None, modulation[:1, :2]):
            some = (queries, contexts) if own is None else (queries[: own.shape[1]], contexts[: len(own)])
            found, new = (
                alignment.squared_differences(
                    *some, temperature=TEMPERATURE, slope=SLOPE, modulation=own, scratch=one
                )
                for one in (scratch, None)
            )
            assert torch.equal(found, new)
