"""Per-image values: their mean is the metric, whatever the number of captions; each by a naive loop."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from benchmark.errors import UserError
from benchmark.evaluation.bootstrap import bootstrap
from benchmark.evaluation.metrics import mean_metrics, retrieval_metrics
from benchmark.evaluation.ranking import Ranks
from benchmark.statistics.queries import image_values
from tests.evaluation.naive import scattered_map

METRICS = ("i2t_r1", "i2t_r5", "i2t_r10", "t2i_r1", "t2i_r5", "t2i_r10", "rsum", "mean_r1")


def make(caption_image: np.ndarray, seed: int = 0) -> Ranks:
    rng = np.random.default_rng(seed)
    n = int(caption_image.max()) + 1
    return Ranks(rng.integers(0, 15, n), rng.integers(0, 15, len(caption_image)), 0.0, 0.0)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", ["five", "scattered"])
def test_the_metric_is_the_mean_over_images(metric: str, kind: str) -> None:
    images = np.repeat(np.arange(40), 5)
    caption_image = images if kind == "five" else scattered_map(np.random.default_rng(1), 40, 170)
    ranks = make(caption_image)
    values = image_values(ranks, caption_image, metric)
    assert values.shape == (40,)
    assert values.mean() == pytest.approx(retrieval_metrics(ranks).values()[metric], abs=1e-10)


@pytest.mark.parametrize("metric", METRICS)
def test_folds_are_averaged_as_the_protocol_does(metric: str) -> None:
    """Two folds of 20 images with 3 and 6 captions each: not the mean over all captions."""
    caption_image = np.concatenate([np.repeat(np.arange(20), 3), np.repeat(np.arange(20, 40), 6)])
    ranks = make(caption_image)
    parts = [Ranks(ranks.i2t[:20], ranks.t2i[:60], 0, 0), Ranks(ranks.i2t[20:], ranks.t2i[60:], 0, 0)]
    expected = mean_metrics([retrieval_metrics(part) for part in parts]).values()[metric]
    assert image_values(ranks, caption_image, metric, folds=2).mean() == pytest.approx(expected, abs=1e-10)


def test_each_image_by_hand() -> None:
    caption_image = np.array([0, 1, 1, 1, 0])
    ranks = Ranks(np.array([0, 3]), np.array([0, 0, 4, 0, 7]), 0.0, 0.0)
    assert image_values(ranks, caption_image, "i2t_r1").tolist() == [100, 0]
    # 5 captions of 2 images, 2.5 an image: one of image 0's hits, two of image 1's
    assert image_values(ranks, caption_image, "t2i_r1").tolist() == [40, 80]
    assert image_values(ranks, caption_image, "mean_r1").tolist() == [70, 40]
    assert image_values(ranks, caption_image, "t2i_r5").tolist() == [40, 120]
    rsum = 100 * np.array([3, 2]) + np.array([40 + 40 + 80, 80 + 120 + 120])
    assert image_values(ranks, caption_image, "rsum").tolist() == rsum.tolist()


@pytest.mark.parametrize("metric", ["i2t_r1", "t2i_r10", "rsum"])
def test_the_records_bootstrap_is_scipys_over_these_values(metric: str) -> None:
    """With five captions an image a draw of images has the mean of their values for metric."""
    caption_image = np.repeat(np.arange(300), 5)
    ranks = make(caption_image, 4)
    found = bootstrap([(ranks, caption_image)], resamples=10_000).bounds[metric]
    theirs = stats.bootstrap(
        (image_values(ranks, caption_image, metric),),
        np.mean,
        method="percentile",
        n_resamples=10_000,
        rng=np.random.default_rng(1),
    ).confidence_interval
    width = theirs.high - theirs.low
    assert found == pytest.approx((theirs.low, theirs.high), abs=0.04 * width)


def test_the_records_bootstrap_covers_the_truth() -> None:
    """400 test sets of 100 images whose captions hit together, at chances of mean 60 %: 95 % (± 3 sd: 3.3)."""
    rng, held = np.random.default_rng(0), 0
    caption_image = np.repeat(np.arange(100), 5)
    for _ in range(400):
        chance = rng.beta(3, 2, 100)
        t2i = np.where(rng.random(500) < np.repeat(chance, 5), 0, 20)
        low, high = bootstrap([(Ranks(t2i[::5], t2i, 0.0, 0.0), caption_image)], resamples=200).bounds[
            "t2i_r1"
        ]
        held += low <= 60 <= high
    assert held / 400 == pytest.approx(0.945, abs=0.035)


def test_what_does_not_fit_is_said() -> None:
    caption_image = np.repeat(np.arange(4), 5)
    ranks = make(caption_image)
    with pytest.raises(UserError, match=r"metric 'i2t_r' is not known; did you mean 'i2t_r"):
        image_values(ranks, caption_image, "i2t_r")
    with pytest.raises(UserError, match="found 4 images, expected a multiple of 3"):
        image_values(ranks, caption_image, "rsum", folds=3)
    with pytest.raises(UserError, match=r"found shape \(19,\), expected \(20,\)"):
        image_values(ranks, caption_image[1:], "rsum")
    for other in (caption_image + 1, caption_image - 1, caption_image * 0):
        with pytest.raises(UserError, match="expected rows 0 to 3, each with a caption"):
            image_values(ranks, other, "rsum")
