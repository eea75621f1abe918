"""Steps that go block by block: values and gradients are, bit for bit, those of plain operations."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from baselines.attention import blockwise
from baselines.layers.norms import EPS

Shape = tuple[int, int, int, int]
SHAPES: list[Shape] = [(7, 5, 3, 24), (5, 1, 9, 37), (1, 2, 1, 8)]


def plain_differences(attended: Tensor, queries: Tensor) -> Tensor:
    norms = torch.linalg.vector_norm(attended, dim=-1, keepdim=True)
    return torch.addcmul(queries, attended, (norms + EPS).reciprocal(), value=-1).square()


def plain_sum(step: Tensor, previous: Tensor | None) -> Tensor:
    return ((1.0 if previous is None else previous) + step).clamp(-1, 1)


def assert_same(one: Callable[..., Tensor], other: Callable[..., Tensor], *values: Tensor | None) -> None:
    """Results, and gradients for every tensor, of any gradient of the result."""
    results = []
    for function in (one, other):
        leaves = [None if value is None else value.clone().requires_grad_() for value in values]
        found = function(*leaves)
        found.backward(torch.randn(found.shape, generator=torch.Generator().manual_seed(1)))  # type: ignore[no-untyped-call]
        results.append([found.detach(), *(leaf.grad for leaf in leaves if leaf is not None)])
    for a, b in zip(*results, strict=True):
        assert a is not None and b is not None  # noqa: PT018
        assert torch.equal(a.view(torch.int32), b.view(torch.int32))


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of two contexts of the first shape, so that the last block is smaller; of one of the others."""
    monkeypatch.setattr(blockwise, "BLOCK", {"cpu": 800, "cuda": 800})


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_differences_are_those_of_plain_operations(shape: Shape, own: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    attended = torch.randn(shape, generator=generator)
    attended[0, 0, 0] = 0  # a vector of zeros has no direction, and no gradient through its length
    queries = torch.randn(shape if own else shape[1:], generator=generator)
    assert_same(plain_differences, blockwise.squared_unit_differences, attended, queries)


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_clamped_sums_are_those_of_plain_operations(shape: Shape, first: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    step = torch.randn(shape, generator=generator).tanh()
    step[0, 0, 0] = 0  # the sum with ones is at the bound
    previous = None if first else torch.randn(shape, generator=generator).clamp(-1, 1)
    assert_same(plain_sum, blockwise.clamped_sum, step, previous)


def test_blocks_cover_all_rows() -> None:
    for rows in (1, 2, 7):
        wide = torch.empty(rows, 5, 3, 24)
        covered = [row for part in blockwise._blocks(wide) for row in range(rows)[part]]
        assert covered == list(range(rows))
