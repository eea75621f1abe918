"""Ranks as official code has them: an ascending sort, turned round. For parity only.

Source: tests/golden/evaluation/README.md.

Where scores are equal (or NaN, which sorts to the top) the order is whatever NumPy's default sort leaves;
`scalar_argsort` is that sort as it runs without vector instructions. Everywhere else the production ranks stand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.evaluation.metrics import RetrievalMetrics, retrieval_metrics
from benchmark.evaluation.ranking import Floats, Ints, Ranks, captions_of, rank, top_k


@dataclass(frozen=True)
class OfficialRanks:
    """Ranks and best items as official code has them: an ascending sort, turned round."""

    by_direction: dict[str, tuple[Ints, Ints, Ints, Ints]]
    """Rank, best item, and the ranks when ties count for and against the query, by direction (`i2t`, `t2i`)."""
    caption_image: Ints
    has_ties: bool
    """True where the sort decided the order of tied items."""

    @staticmethod
    def of(sims: Floats, caption_image: Ints) -> OfficialRanks:
        """Rank `sims` (n_images, n_captions); NaN and infinities may be in it, and sort as in NumPy."""
        keys = sims
        if not np.isfinite(sims).all():  # only their order counts: places from 0 instead, NaN highest
            keys = np.unique(sims, return_inverse=True)[1].reshape(sims.shape).astype(np.float64)
        own = captions_of(caption_image, *sims.shape)
        lower, upper = bounds_of(keys, caption_image)
        ours, best = rank(keys, caption_image), top_k(keys, 1)
        true = {"i2t": own, "t2i": [caption_image[j : j + 1] for j in range(len(caption_image))]}
        rows = {"i2t": sims, "t2i": sims.T}
        counted = {"i2t": (ours.i2t, best.i2t[:, 0]), "t2i": (ours.t2i, best.t2i[:, 0])}
        result, has_ties = {}, False
        for direction, (ranks, top) in counted.items():
            low, high = lower[direction], upper[direction]
            ordered = keys if direction == "i2t" else keys.T
            shared_best = (ordered == ordered.max(axis=1, keepdims=True)).sum(axis=1) > 1
            ranks, top = ranks.copy(), top.copy()
            for query in np.flatnonzero((low != high) | shared_best):
                order = scalar_argsort(rows[direction][query])[::-1]
                ranks[query] = np.flatnonzero(np.isin(order, true[direction][query]))[0]
                top[query] = order[0]
                has_ties = True
            result[direction] = (ranks, top, low, high)
        return OfficialRanks(result, caption_image, has_ties)

    def ranks(self, direction: str) -> Ints:
        return self.by_direction[direction][0]

    def top1(self, direction: str) -> Ints:
        return self.by_direction[direction][1]

    def bounds(self, direction: str) -> tuple[Ints, Ints]:
        """Smallest and largest rank that an order of equal scores can give."""
        return self.by_direction[direction][2:]

    def metrics(self) -> RetrievalMetrics:
        return retrieval_metrics(Ranks(self.ranks("i2t"), self.ranks("t2i"), 0.0, 0.0))

    def recorded_bounds(self, sims: Floats, direction: str, side: str) -> Ints:
        """Bounds as recorded: plain comparisons of the scores, in which NaN is never higher nor equal."""
        if side == "pessimistic" and np.isfinite(sims).all():
            ranks = rank(sims, self.caption_image, "pessimistic")
            return ranks.i2t if direction == "i2t" else ranks.t2i
        return bounds_of(sims, self.caption_image)[side == "pessimistic"][direction]


def bounds_of(sims: Floats, caption_image: Ints) -> tuple[dict[str, Ints], dict[str, Ints]]:
    """Ranks by direction when ties count for the query, and when those with other images' items count against it."""
    n_captions = sims.shape[1]
    owner = caption_image == np.arange(len(sims))[:, None]  # (n_images, n_captions)
    best = np.array([row[mine].max() for row, mine in zip(sims, owner, strict=True)])[:, None]
    true = sims[caption_image, np.arange(n_captions)]
    low = {"i2t": (sims > best).sum(axis=1), "t2i": (sims > true).sum(axis=0)}
    high = {"i2t": ((sims >= best) & ~owner).sum(axis=1), "t2i": (sims >= true).sum(axis=0) - 1}
    return low, high


def scalar_argsort(values: NDArray[Any]) -> Ints:
    """NumPy's default argsort (n,) as it is without vector instructions, the same on every CPU.

    Quicksort: median of first, middle and last as pivot, the larger part left for later, insertion sort for
    16 items and fewer; NaN counts as larger than any number. NumPy's change to heapsort after
    2 log2(n) partitions in a row is left out: it is for adversarial input.
    """
    keys = values.tolist()
    order = list(range(len(keys)))

    def less(a: int, b: int) -> bool:
        x, y = keys[a], keys[b]
        return bool(x < y or (y != y and x == x))

    def swap(i: int, j: int) -> None:
        order[i], order[j] = order[j], order[i]

    waiting = [(0, len(keys) - 1)]
    while waiting:
        left, right = waiting.pop()
        while right - left > 15:
            middle = (left + right) // 2
            for i, j in ((left, middle), (middle, right), (left, middle)):
                if less(order[j], order[i]):
                    swap(i, j)
            pivot = order[middle]
            swap(middle, right - 1)
            i, j = left, right - 1
            while True:
                i, j = i + 1, j - 1
                while less(order[i], pivot):
                    i += 1
                while less(pivot, order[j]):
                    j -= 1
                if i >= j:
                    break
                swap(i, j)
            swap(i, right - 1)
            larger = (i + 1, right) if i - left < right - i else (left, i - 1)
            left, right = (left, i - 1) if i - left < right - i else (i + 1, right)
            waiting.append(larger)
        for i in range(left + 1, right + 1):
            item, j = order[i], i
            while j > left and less(item, order[j - 1]):
                order[j] = order[j - 1]
                j -= 1
            order[j] = item
    return np.array(order, np.int64)
