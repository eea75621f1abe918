"""The level of chance is what shuffled rankings score, for any number of captions an image."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from benchmark.evaluation.chance import chance_level
from benchmark.evaluation.metrics import retrieval_metrics
from benchmark.evaluation.protocol import Protocol, evaluate
from benchmark.evaluation.ranking import rank


def enumerated(caption_image: np.ndarray, n_images: int, k: int) -> tuple[float, float]:
    """Mean recall at k of both directions over all orders of a small gallery."""
    captions, images = len(caption_image), range(n_images)
    found = [
        np.mean([any(caption_image[c] == image for c in order[:k]) for image in images])
        for order in permutations(range(captions))
    ]
    other = [np.mean([image in order[:k] for image in caption_image]) for order in permutations(images)]
    return 100 * float(np.mean(found)), 100 * float(np.mean(other))


@pytest.mark.parametrize("owners", [[0, 1, 2], [0, 0, 0, 1, 2, 2], [0, 1, 1, 1, 1, 1, 1]])
@pytest.mark.parametrize("k", [1, 2, 5])
def test_the_formula_is_the_mean_over_all_orders(owners: list[int], k: int) -> None:
    caption_image = np.array(owners)
    images = max(owners) + 1
    level = chance_level(caption_image, images, [k])
    i2t, t2i = enumerated(caption_image, images, k)
    assert level[f"i2t_r{k}"] == pytest.approx(i2t)
    assert level[f"t2i_r{k}"] == pytest.approx(t2i)


def test_random_scores_are_at_chance() -> None:
    draws = np.random.default_rng(3)
    caption_image = np.repeat(np.arange(60), draws.integers(1, 8, 60))
    level = chance_level(caption_image, 60)
    found = [
        retrieval_metrics(rank(draws.random((60, len(caption_image))), caption_image)).values()
        for _ in range(200)
    ]
    for name in level:
        values = [item[name] for item in found]
        assert np.mean(values) == pytest.approx(level[name], abs=4 * np.std(values) / 200**0.5)
    names = [f"{way}_r{k}" for way in ("i2t", "t2i") for k in (1, 5, 10)]
    assert level["rsum"] == pytest.approx(sum(level[name] for name in names))


def test_a_protocol_has_the_level_beside_its_recalls_where_it_says_so() -> None:
    sims, owners = np.random.default_rng(0).random((3, 6)), np.array([0, 0, 0, 1, 2, 2])
    plain = Protocol("x", "x", None, 1, "any")
    assert evaluate(sims, owners, plain).chance is None
    with_chance = evaluate(sims, owners, Protocol("x", "x", None, 1, "any", chance=True))
    assert with_chance.chance == chance_level(owners, 3)
