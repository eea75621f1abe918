"""GPO pooling beside naive loops: weights of a size, sets of any size, padding that is never read."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from baselines.layers.gpo import GPO, TEMPERATURE, positional_codes


def pooling(width: int = 8) -> GPO:
    torch.manual_seed(3)
    return GPO(width).double()


def naive_weights(gpo: GPO, size: int) -> Tensor:
    """Weights (size,) of one set, step by step."""
    codes = torch.zeros(1, size, gpo.width, dtype=torch.float64)
    for place in range(size):
        for pair in range(gpo.width // 2):
            angle = place * math.exp(2 * pair * -math.log(10_000) / gpo.width)
            codes[0, place, 2 * pair], codes[0, place, 2 * pair + 1] = math.sin(angle), math.cos(angle)
    states = gpo.gru(codes)[0][0]  # (size, 2 W)
    scores = [
        float(gpo.linear((states[place, : gpo.width] + states[place, gpo.width :]) / 2))
        for place in range(size)
    ]
    powers = [math.exp(score / TEMPERATURE) for score in scores]
    return torch.tensor([power / sum(powers) for power in powers], dtype=torch.float64)


def naive_pool(gpo: GPO, vectors: Tensor) -> Tensor:
    """(D,) of one set (size, D)."""
    weights = naive_weights(gpo, len(vectors))
    columns = [sorted(vectors[:, dim].tolist(), reverse=True) for dim in range(vectors.shape[1])]
    pooled = [sum(w * v for w, v in zip(weights.tolist(), column, strict=True)) for column in columns]
    return torch.tensor(pooled, dtype=torch.float64)


@pytest.mark.parametrize("lengths", [[5, 1, 3, 5], [2, 2, 2], [1], [6, 4]])
def test_pooled_sets_are_those_by_hand(lengths: list[int]) -> None:
    gpo, sizes = pooling(), torch.tensor(lengths)
    vectors = torch.randn(len(lengths), 6, 4, dtype=torch.float64)
    with torch.no_grad():
        found, weights = gpo(vectors, sizes), gpo.weights(sizes)
        assert weights.shape == (len(lengths), max(lengths))
        for row, size in enumerate(lengths):
            expected = naive_pool(gpo, vectors[row, :size])
            torch.testing.assert_close(found[row], expected, atol=1e-10, rtol=0)
            torch.testing.assert_close(weights[row, :size], naive_weights(gpo, size), atol=1e-10, rtol=0)
            assert not weights[row, size:].any()


def test_without_lengths_all_count() -> None:
    gpo, vectors = pooling(), torch.randn(3, 5, 4, dtype=torch.float64)
    torch.testing.assert_close(gpo(vectors), gpo(vectors, torch.tensor([5, 5, 5])))


def test_padding_is_not_read_and_has_no_gradient() -> None:
    gpo, sizes = pooling(), torch.tensor([4, 2])
    vectors = torch.randn(2, 4, 3, dtype=torch.float64)
    other = torch.full((2, 9, 3), 1e6, dtype=torch.float64)
    other[:, :4] = vectors
    other[1, 2:] = -1e6
    other.requires_grad_()
    pooled = gpo(other, sizes)
    torch.testing.assert_close(pooled, gpo(vectors, sizes))
    pooled.sum().backward()
    assert other.grad is not None
    assert not other.grad[:, 4:].any()
    assert not other.grad[1, 2:].any()
    assert bool(other.grad[0, :4].any())


def test_one_vector_is_itself_and_the_order_of_a_set_does_not_count() -> None:
    gpo, vectors = pooling(), torch.randn(2, 5, 3, dtype=torch.float64)
    torch.testing.assert_close(gpo(vectors[:, :1]), vectors[:, 0])
    torch.testing.assert_close(gpo(vectors.flip(1)), gpo(vectors))


def test_codes_of_places() -> None:
    codes = positional_codes(3, 4)
    assert codes[0].tolist() == [0, 1, 0, 1]
    assert codes[2].tolist() == pytest.approx([math.sin(2), math.cos(2), math.sin(0.02), math.cos(0.02)])


def test_number_of_parameters() -> None:
    assert sum(parameter.numel() for parameter in GPO().parameters()) == 12_704  # user.md 3.4
