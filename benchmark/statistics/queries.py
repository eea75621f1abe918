"""The contribution of each image to a metric, so that the metric is the mean over images.

Captions of one image rise and fall together, so the unit of every test and interval is the image with all
its captions. An image's value for i2t R@K is 100 or 0; for t2i R@K it is 100 times its captions that hit,
divided by the mean number of captions an image. With five captions each, that is the image's own R@K. With
unequal numbers an image counts by its captions, and the mean over images is still the mean over all captions.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import UserError, nearest
from benchmark.evaluation.metrics import KS
from benchmark.evaluation.ranking import Ints, Ranks

Values = NDArray[np.float64]
RECALL = re.compile(r"(i2t|t2i)_r([1-9]\d*)")


def image_values(ranks: Ranks, caption_image: Ints, metric: str, *, folds: int = 1) -> Values:
    """Each image's share in a metric: (n_images,), in the metric's unit (percent, points of rsum).

    metric: `i2t_r<K>`, `t2i_r<K>`, `rsum` or `mean_r1`. caption_image: (n_captions,) row of each caption's
    image. folds: equal blocks of consecutive images that the metric is averaged over; each is weighted by
    its own captions. Raises UserError for another metric and where ranks, map and folds do not fit.
    """
    _check(ranks, caption_image, folds)
    if metric == "rsum":
        names = [f"{direction}_r{k}" for direction in ("i2t", "t2i") for k in KS]
    else:
        names = ["i2t_r1", "t2i_r1"] if metric == "mean_r1" else [metric]
    recalls = np.stack([_recall(ranks, caption_image, name, folds) for name in names])  # (names, n)
    total: Values = recalls.sum(axis=0)
    return total / 2 if metric == "mean_r1" else total


def _recall(ranks: Ranks, caption_image: Ints, metric: str, folds: int) -> Values:
    found = RECALL.fullmatch(metric)
    if found is None:
        raise UserError(f"metric '{metric}' is not known{nearest(metric, _known())}")
    n, k = len(ranks.i2t), int(found[2])
    if found[1] == "i2t":
        return np.where(ranks.i2t < k, 100.0, 0.0)
    hits = np.bincount(caption_image, weights=ranks.t2i < k, minlength=n)  # (n,)
    counts = np.bincount(caption_image, minlength=n).astype(np.float64)  # (n,)
    mean = counts.reshape(folds, -1).mean(axis=1)  # (folds,) captions an image
    return np.asarray(100.0 * hits / np.repeat(mean, n // folds), np.float64)


def _known() -> list[str]:
    return [*(f"{direction}_r{k}" for direction in ("i2t", "t2i") for k in KS), "rsum", "mean_r1"]


def _check(ranks: Ranks, caption_image: NDArray[Any], folds: int) -> None:
    n = len(ranks.i2t)
    if n == 0 or folds < 1 or n % folds:
        raise UserError(f"ranks: found {n} images, expected a multiple of {folds} (the folds), at least one")
    if caption_image.shape != ranks.t2i.shape:
        raise UserError(
            f"caption-to-image map: found shape {caption_image.shape}, expected {ranks.t2i.shape}, one a caption"
        )
    present = np.bincount(caption_image, minlength=n) if caption_image.min() >= 0 else np.zeros(n)
    if len(present) != n or not present.all():
        raise UserError(f"caption-to-image map: expected rows 0 to {n - 1}, each with a caption")
