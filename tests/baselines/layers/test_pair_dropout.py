"""Dropout of pairs: a pair's draws are the same in whatever part it comes, and as often as it comes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from baselines.layers.pair_dropout import PairDropout, draw_seeds

IMAGES, RATE = 5, 0.4
SEEDS = torch.tensor([11, 12, 13])


def naive(seed: int) -> list[Tensor]:
    """Both calls of a caption: (images, 4, 3), then (images, 3), from its stream."""
    stream = torch.Generator().manual_seed(seed)
    return [
        (torch.rand(shape, generator=stream) >= RATE) / (1 - RATE) for shape in ((IMAGES, 4, 3), (IMAGES, 3))
    ]


def ones(*leading: int) -> list[Tensor]:
    return [torch.ones(*leading, 4, 3), torch.ones(*leading, 3)]


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_parts_of_any_shape_and_order_draw_alike(order: list[int]) -> None:
    dropout, expected = PairDropout(RATE, IMAGES), [naive(seed) for seed in SEEDS.tolist()]
    rows = torch.tensor([0, 3, 4])

    def block() -> None:
        tile = dropout.of_pairs(rows, SEEDS, caption_axis=1)
        turned = dropout.of_pairs(rows, SEEDS, caption_axis=0)
        for call, (values, others) in enumerate(zip(ones(3, 3), ones(3, 3), strict=True)):
            wanted = torch.stack([columns[call][rows] for columns in expected], 1)  # (n, C, ...)
            torch.testing.assert_close(tile(values), wanted)
            torch.testing.assert_close(turned(others), wanted.transpose(0, 1))

    def listed() -> None:
        images, captions = [4, 4, 0, 2], [0, 2, 2, 1]
        part = dropout.of_pairs(torch.tensor(images), SEEDS[captions][:, None], caption_axis=1)
        for call, values in enumerate(ones(4, 1)):
            wanted = torch.stack([expected[c][call][i] for i, c in zip(images, captions, strict=True)])
            torch.testing.assert_close(part(values), wanted[:, None])

    for number in order:
        (block, listed)[number]()


def test_a_padded_caption_draws_as_one_that_is_not() -> None:
    """Captions of 4 and 2 words, both padded to 5: what is drawn is that of their own words."""
    seeds, lengths, rows = SEEDS[:2], torch.tensor([4, 2]), torch.arange(IMAGES)
    dropout, alone = PairDropout(RATE, IMAGES), PairDropout(RATE, IMAGES)
    part = dropout.of_pairs(rows, seeds, caption_axis=1, lengths=lengths)
    words, vectors = part(torch.ones(IMAGES, 2, 5, 3)), part(torch.ones(IMAGES, 2, 3))
    for column, length in enumerate(lengths.tolist()):
        own = alone.of_pairs(rows, seeds[column : column + 1], caption_axis=1)
        torch.testing.assert_close(words[:, column, :length], own(torch.ones(IMAGES, 1, length, 3))[:, 0])
        torch.testing.assert_close(vectors[:, column], own(torch.ones(IMAGES, 1, 3))[:, 0])
        assert not bool(words[:, column, length:].any())


def test_gradients_go_through_what_stays_alone() -> None:
    values = torch.ones(IMAGES, 1, 3).requires_grad_()
    dropped = PairDropout(RATE, IMAGES).of_pairs(torch.arange(IMAGES), SEEDS[:1], caption_axis=1)(values)
    dropped.sum().backward()  # type: ignore[no-untyped-call]
    assert torch.equal(values, torch.ones(IMAGES, 1, 3))
    torch.testing.assert_close(values.grad, dropped.detach())


def test_a_share_of_the_rate_is_dropped_and_the_mean_stays() -> None:
    dropped = PairDropout(RATE, 200).of_pairs(torch.arange(200), SEEDS, caption_axis=1)(
        torch.ones(200, 3, 50)
    )
    assert float((dropped == 0).float().mean()) == pytest.approx(RATE, abs=0.01)
    assert float(dropped.mean()) == pytest.approx(1, abs=0.02)


def test_seeds_come_from_pytorchs_own_stream() -> None:
    torch.manual_seed(5)
    first = draw_seeds(4, torch.device("cpu"))
    torch.manual_seed(5)
    assert torch.equal(draw_seeds(4, torch.device("cpu")), first)
    assert len(set(first.tolist())) == 4
