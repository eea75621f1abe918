"""The scores of a ranking in random order: the level to hold recalls of small or uneven test sets against."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmark.evaluation.metrics import KS
from benchmark.evaluation.ranking import Ints


def chance_level(caption_image: Ints, n_images: int, ks: Sequence[int] = KS) -> dict[str, float]:
    r"""Return the expected recalls of both directions in percent, `i2t_r1` and so on, and their rsum over KS.

    A caption looks for one of $N$ images: $100 \min(K, N) / N$. An image with $m$ of the $M$ captions finds one of its
    own among the first $K$ but for the orders that begin with $K$ others:
    $$ 100 \left( 1 - \prod_{j=0}^{K-1} \frac{M - m - j}{M - j} \right), \text{ the mean over the images.} $$

    caption_image: (n_captions,) the row of each caption's image; every image has one at least.
    """
    total = len(caption_image)
    own = np.bincount(caption_image, minlength=n_images).astype(np.float64)  # (n_images,)
    found = {}
    for k in sorted({*ks, *KS}):
        missed = np.ones(n_images)  # (n_images,)
        for drawn in range(min(k, total)):
            missed *= np.maximum(total - own - drawn, 0.0) / (total - drawn)
        found[f"i2t_r{k}"] = float(100.0 * (1.0 - missed).mean())
        found[f"t2i_r{k}"] = 100.0 * min(k, n_images) / n_images
    found["rsum"] = sum(found[f"{way}_r{k}"] for way in ("i2t", "t2i") for k in KS)
    return found
