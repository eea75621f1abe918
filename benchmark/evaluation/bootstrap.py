"""Bootstrap intervals of the recalls: what another draw of test images might have given.

Images are drawn, and every image brings all its captions with it, since captions of one image rise and
fall together. Ranks are not computed anew: the gallery stays as it is, so an interval says how much the
queries vary, no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import UserError
from benchmark.evaluation.metrics import KS
from benchmark.evaluation.ranking import Ints, Ranks

CHUNK = 64  # resamples drawn at a time: a (64, 5000) table of counts is 2.5 MB


@dataclass(frozen=True)
class Intervals:
    """Percentile intervals by metric name (i2t_r1 ... t2i_r10, rsum), in percent; rsum in points."""

    level: float
    resamples: int
    seed: int
    bounds: dict[str, tuple[float, float]]


def bootstrap(
    folds: Sequence[tuple[Ranks, Ints]],
    *,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    ks: Sequence[int] = KS,
) -> Intervals:
    """Percentile bootstrap over images of every R@K in both directions and of rsum.

    folds: ranks of every fold with its caption-to-image map (n_captions,), counted within the fold; without
    folds, one entry. Images are drawn within their fold, and the folds are averaged as the metric is.
    Same seed, same intervals. Raises UserError for fewer than 2 resamples or a level outside (0, 1).
    """
    if resamples < 2 or not 0 < level < 1:
        raise UserError(
            f"bootstrap: found {resamples} resamples at level {level}, expected 2 or more in (0, 1)"
        )
    ks = sorted({*ks, *KS})
    draws = np.zeros((resamples, 2 * len(ks)))
    rng = np.random.default_rng(seed)
    for ranks, caption_image in folds:
        draws += _fold_draws(ranks, caption_image, ks, resamples, rng) / len(folds)
    names = [f"{direction}_r{k}" for direction in ("i2t", "t2i") for k in ks]
    series = dict(zip(names, draws.T, strict=True))
    in_sum = [f"{direction}_r{k}" for direction in ("i2t", "t2i") for k in KS]
    series["rsum"] = np.sum([series[name] for name in in_sum], axis=0)
    tail = 50 * (1 - level)
    bounds = {
        name: (float(np.percentile(values, tail)), float(np.percentile(values, 100 - tail)))
        for name, values in series.items()
    }
    return Intervals(level, resamples, seed, bounds)


def _fold_draws(
    ranks: Ranks, caption_image: Ints, ks: Sequence[int], resamples: int, rng: np.random.Generator
) -> NDArray[Any]:
    """Recalls of `resamples` draws of the fold's images: (resamples, 2 * len(ks)), i2t first."""
    n = len(ranks.i2t)
    hits = image_hits(ranks, caption_image, ks)  # (n, 2 * len(ks))
    captions = np.bincount(caption_image, minlength=n).astype(float)  # (n,)
    recalls = np.empty((resamples, hits.shape[1]))
    for start in range(0, resamples, CHUNK):
        size = min(CHUNK, resamples - start)
        drawn = rng.integers(0, n, (size, n)) + n * np.arange(size)[:, None]
        times = np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n).astype(float)
        sums = times @ hits  # (size, 2 * len(ks))
        sums[:, : len(ks)] *= 100.0 / n
        sums[:, len(ks) :] *= 100.0 / (times @ captions)[:, None]
        recalls[start : start + size] = sums
    return recalls


def image_hits(ranks: Ranks, caption_image: Ints, ks: Sequence[int]) -> NDArray[Any]:
    """Count each image's queries that are hits: (n_images, 2 * len(ks)), i2t (0 or 1) first, then t2i."""
    n = len(ranks.i2t)
    i2t = [(ranks.i2t < k).astype(float) for k in ks]
    t2i = [np.bincount(caption_image, weights=ranks.t2i < k, minlength=n) for k in ks]
    return np.stack([*i2t, *t2i], axis=1)
