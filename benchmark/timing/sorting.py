"""Ranks by counting beside ranks by sorting, as published evaluations have them (speed.md 2), in turns."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from benchmark.evaluation.ranking import Floats, Ints, rank
from benchmark.method import TimingGroup
from benchmark.timing.clock import CPU
from benchmark.timing.contenders import ratio, time_group


def times_sorted(n_images: int, captions_each: int, *, repeats: int, seed: int = 0) -> float:
    """How many times as fast ranks are by counting as by sorting, the median over the rounds.

    Of random float32 scores, both directions. Raises RuntimeError where the two disagree, which would be a fault here.
    """
    n_captions = n_images * captions_each
    sims = np.random.default_rng(seed).standard_normal((n_images, n_captions), np.float32)
    caption_image = np.arange(n_captions, dtype=np.int64) // captions_each
    found, expected = rank(sims, caption_image), sorted_ranks(sims, captions_each)
    if not (np.array_equal(found.i2t, expected[0]) and np.array_equal(found.t2i, expected[1])):
        raise RuntimeError("ranks by counting are not those by sorting")
    calls: dict[str, Callable[[], object]] = {
        "sorted": partial(sorted_ranks, sims, captions_each),
        "counted": partial(rank, sims, caption_image),
    }
    group = TimingGroup("ranks", None, calls)
    seconds = time_group(group, warm_up=0, rounds=repeats, device=CPU, each=lambda: None)
    return ratio(seconds["sorted"], seconds["counted"])[0]


def sorted_ranks(sims: Floats, captions_each: int) -> tuple[Ints, Ints]:
    """Ranks of images (n,) and captions (m,), from a sort of every row and column, and a search for each caption."""
    n_images, n_captions = sims.shape
    i2t, t2i = np.empty(n_images, np.int64), np.empty(n_captions, np.int64)
    for image in range(n_images):
        order = np.argsort(sims[image])[::-1]
        own = range(captions_each * image, captions_each * (image + 1))
        i2t[image] = min(int(np.where(order == caption)[0][0]) for caption in own)
    for caption in range(n_captions):
        order = np.argsort(sims[:, caption])[::-1]
        t2i[caption] = np.where(order == caption // captions_each)[0][0]
    return i2t, t2i
