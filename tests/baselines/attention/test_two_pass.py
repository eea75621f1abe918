"""Two passes of a loss of hardest negatives: which pairs get a gradient, ties, inactive hinges, empty selections."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from baselines.attention.length_groups import PairScorer
from baselines.attention.two_pass import two_pass_loss
from benchmark.batches import Codes
from benchmark.method import TripletLoss

LENGTHS = [4, 9, 4, 1, 9, 2]
SCALE = torch.nn.Parameter(torch.tensor(1.5, dtype=torch.float64))


class Scorer:
    """Scale times the product of an image with the sum of a caption's words; counts the pairs with gradient."""

    def __init__(self) -> None:
        self.counted: list[int] = []

    def __call__(self, images: Codes, captions: Codes) -> tuple[Tensor]:
        vectors, words = images["vectors"], captions["words"]
        listed = words.ndim == 4  # (P, 1, L, D)
        scores = (vectors[:, None] * words.sum(2)).sum(2) if listed else vectors @ words.sum(1).T
        if scores.requires_grad:
            self.counted.append(scores.numel())
        return (SCALE * scores,)


def scoring(scorer: Scorer) -> PairScorer:
    return PairScorer(scorer, "t2i", lambda length: length, lambda length: length)


def items(scores: Tensor) -> tuple[Codes, Codes]:
    """Images and captions whose products are `scores`: images are unit vectors."""
    size = len(scores)
    words = torch.zeros(size, 9, size, dtype=torch.float64)
    for column, length in enumerate(LENGTHS[:size]):
        words[column, :length] = scores[:, column] / length
        words[column, length:] = torch.nan  # padding is not read
    images = torch.eye(size, dtype=torch.float64)
    return (
        Codes({"vectors": images.requires_grad_()}),
        Codes({"words": words.requires_grad_(), "lengths": torch.tensor(LENGTHS[:size])}),
    )


def run(scores: Tensor, margin: float, budget: int | None = None) -> tuple[float, Tensor, float, list[int]]:
    """The loss, the gradients of the score matrix and of the scale, and pairs scored with gradient, by part."""
    images, captions = items(scores)
    scorer, loss = Scorer(), TripletLoss(margin=margin)
    found = two_pass_loss(loss, scoring(scorer), images, captions, budget)
    found.backward()  # type: ignore[no-untyped-call]
    of_words, of_scale = captions["words"].grad, SCALE.grad
    assert of_words is not None
    assert of_scale is not None
    SCALE.grad = None
    return found.item(), of_words[:, 0].T / SCALE.detach(), of_scale.item(), scorer.counted


def expected(scores: Tensor, margin: float) -> tuple[float, Tensor, float]:
    """The same in one pass over the matrix."""
    leaf = (SCALE * scores).detach().requires_grad_()
    loss = TripletLoss(margin=margin)(leaf)
    loss.backward()  # type: ignore[no-untyped-call]
    assert leaf.grad is not None
    return loss.item(), leaf.grad, float((leaf.grad * scores).sum())


@pytest.mark.parametrize("budget", [None, 1, 20])
@pytest.mark.parametrize("size", [2, 6])
def test_loss_and_gradients_are_those_of_one_pass(size: int, budget: int | None) -> None:
    scores = torch.randn(size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(size))
    loss, slopes, of_scale, counted = run(scores, 0.2, budget)
    wanted, theirs, of_theirs = expected(scores, 0.2)
    assert loss == pytest.approx(wanted, rel=1e-12)
    torch.testing.assert_close(slopes, theirs, atol=1e-12, rtol=0)
    assert of_scale == pytest.approx(of_theirs, rel=1e-12)
    again = 1 if budget is None else 2  # parts are computed again in the backward pass
    assert sum(counted) == again * int((theirs != 0).sum()) <= again * 3 * size


def test_the_first_of_tied_negatives_takes_the_whole_gradient() -> None:
    scores = torch.full((4, 4), 0.25, dtype=torch.float64)
    loss, slopes, _, counted = run(scores, 0.2)
    assert loss == pytest.approx(8 * 0.2)
    rows = torch.zeros(4, 4, dtype=torch.float64)
    for index in range(4):
        first = 1 if index == 0 else 0
        rows[index, first] += 1  # of an image, the first other caption
        rows[first, index] += 1  # of a caption, the first other image
        rows[index, index] -= 2
    torch.testing.assert_close(slopes, rows)
    assert sum(counted) == int((rows != 0).sum())


def test_where_no_hinge_is_active_gradients_are_zero_and_not_missing() -> None:
    scores = torch.eye(4, dtype=torch.float64)
    loss, slopes, of_scale, counted = run(scores, 0.2)
    assert (loss, of_scale) == (0, 0)
    assert not bool(slopes.any())
    assert counted == [1]


def test_without_gradient_it_is_one_pass() -> None:
    scores = torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    images, captions = items(scores)
    with torch.no_grad():
        found = two_pass_loss(TripletLoss(), scoring(Scorer()), images, captions, None)
    assert found.item() == pytest.approx(expected(scores, 0.2)[0], rel=1e-12)
