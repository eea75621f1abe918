"""Bootstrap intervals: images are what is drawn, captions follow; known spread, known seed, known extremes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmark.errors import UserError
from benchmark.evaluation.bootstrap import bootstrap, image_hits
from benchmark.evaluation.metrics import retrieval_metrics
from benchmark.evaluation.ranking import Ranks
from tests.evaluation.naive import scattered_map


def make(seed: int, n_images: int = 60, n_captions: int = 200) -> tuple[Ranks, np.ndarray]:
    rng = np.random.default_rng(seed)
    caption_image = scattered_map(rng, n_images, n_captions)
    return Ranks(rng.integers(0, 20, n_images), rng.integers(0, 20, n_captions), 0.0, 0.0), caption_image


def test_hits_are_counted_by_image() -> None:
    ranks, caption_image = make(0)
    hits = image_hits(ranks, caption_image, (1, 5))
    for image in range(60):
        own = [ranks.t2i[j] for j in range(200) if caption_image[j] == image]
        expected = [ranks.i2t[image] < 1, ranks.i2t[image] < 5]
        expected += [sum(r < 1 for r in own), sum(r < 5 for r in own)]
        assert hits[image].tolist() == expected


def test_bounds_equal_those_of_a_loop_over_the_same_draws() -> None:
    ranks, caption_image = make(1, 12, 31)
    resamples, seed = 150, 4
    rng = np.random.default_rng(seed)
    rows: list[dict[str, float]] = []
    for start in range(0, resamples, 64):
        for drawn in rng.integers(0, 12, (min(64, resamples - start), 12)):
            captions = [j for image in drawn for j in range(31) if caption_image[j] == image]
            taken = Ranks(ranks.i2t[drawn], ranks.t2i[captions], 0.0, 0.0)
            rows.append(retrieval_metrics(taken).values())
    found = bootstrap([(ranks, caption_image)], resamples=resamples, seed=seed).bounds
    assert set(found) == {f"{d}_r{k}" for d in ("i2t", "t2i") for k in (1, 5, 10)} | {"rsum"}
    for name, bounds in found.items():
        expected = np.percentile([row[name] for row in rows], [2.5, 97.5])
        assert bounds == pytest.approx(tuple(expected))


def test_width_is_that_of_a_proportion() -> None:
    """R@1 of 400 independent images at 50 %: a 95 % interval is 2 x 1.96 x 50 / 20 = 9.8 points wide."""
    i2t = np.arange(400) % 2
    ranks = Ranks(i2t, np.repeat(i2t, 5), 0.0, 0.0)  # captions of an image all hit or all miss
    bounds = bootstrap([(ranks, np.arange(2000) // 5)], resamples=2000).bounds
    for name in ("i2t_r1", "t2i_r1"):  # clustered captions are worth one image, not five
        assert bounds[name][1] - bounds[name][0] == pytest.approx(9.8, abs=0.8)
        assert bounds[name][0] < 50 < bounds[name][1]


def test_folds_are_drawn_apart_and_averaged() -> None:
    good, bad = np.zeros(50, int), np.full(50, 99)
    folds = [(Ranks(r, np.repeat(r, 5), 0.0, 0.0), np.arange(250) // 5) for r in (good, bad)]
    assert bootstrap(folds, resamples=50).bounds["i2t_r1"] == (50, 50)


def test_same_seed_same_intervals_and_another_seed_others() -> None:
    fold = [make(2)]
    first = bootstrap(fold, seed=1)
    assert first == bootstrap(fold, seed=1)
    assert first.bounds != bootstrap(fold, seed=2).bounds


def test_a_thousand_resamples_at_95_percent_unless_asked_for_others() -> None:
    fold = [make(2)]
    asked = bootstrap(fold, resamples=1000, seed=0, level=0.95, ks=(1, 5, 10))
    assert bootstrap(fold) == asked
    assert (asked.resamples, asked.seed, asked.level) == (1000, 0, 0.95)
    assert bootstrap(fold, resamples=2).resamples == 2


@pytest.mark.parametrize("options", [{"resamples": 1}, {"level": 0.0}, {"level": 1.0}])
def test_senseless_settings_are_refused(options: Any) -> None:
    with pytest.raises(UserError, match="bootstrap: found"):
        bootstrap([make(3)], **options)
