"""The protocol's maths over again, with loops and sorts, for the tests to compare with."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def order_of(scores: Array) -> list[int]:
    """Items from best to worst, equal scores in gallery order."""
    return sorted(range(len(scores)), key=lambda item: (-float(scores[item]), item))


def naive_ranks(sims: Array, caption_image: Array, tie_rule: str) -> tuple[list[int], list[int]]:
    """Ranks i2t and t2i by sorting every row and column in Python."""
    i2t, t2i = [], []
    for image in range(sims.shape[0]):
        own = {j for j in range(sims.shape[1]) if caption_image[j] == image}
        i2t.append(_rank(sims[image], own, tie_rule))
    for caption in range(sims.shape[1]):
        t2i.append(_rank(sims[:, caption], {int(caption_image[caption])}, tie_rule))
    return i2t, t2i


def _rank(scores: Array, own: set[int], tie_rule: str) -> int:
    if tie_rule == "lower_index":
        return min(place for place, item in enumerate(order_of(scores)) if item in own)
    best = max(float(scores[item]) for item in own)
    return sum(1 for item, value in enumerate(scores) if item not in own and float(value) >= best)


def naive_ties(sims: Array, caption_image: Array) -> tuple[float, float]:
    """Shares of images and of captions whose true item has the same score as another image's."""
    n_images, n_captions = sims.shape
    images = 0
    for image in range(n_images):
        best = max(sims[image, j] for j in range(n_captions) if caption_image[j] == image)
        images += any(sims[image, j] == best for j in range(n_captions) if caption_image[j] != image)
    captions = 0
    for j in range(n_captions):
        own = caption_image[j]
        captions += any(sims[i, j] == sims[own, j] for i in range(n_images) if i != own)
    return images / n_images, captions / n_captions


def naive_recall(ranks: list[int], k: int) -> float:
    return 100 * sum(1 for rank in ranks if rank < k) / len(ranks)


def scattered_map(rng: np.random.Generator, n_images: int, n_captions: int) -> Array:
    """A caption-to-image map with every image at least once, in no order."""
    rest = rng.integers(0, n_images, n_captions - n_images)
    return rng.permutation(np.concatenate([np.arange(n_images), rest]))
