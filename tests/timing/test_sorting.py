"""Ranks by sorting, which ranks by counting are timed against: the same numbers, and a ratio."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark.evaluation.ranking import Ranks
from benchmark.timing import sorting
from benchmark.timing.sorting import sorted_ranks, times_sorted


def test_ranks_by_hand() -> None:
    sims = np.array([[0.9, 0.1, 0.8, 0.2], [0.3, 0.7, 0.6, 0.5]], np.float32)
    i2t, t2i = sorted_ranks(sims, 2)
    assert i2t.tolist() == [0, 1]  # the second image's best own caption stands behind caption 1
    assert t2i.tolist() == [0, 1, 1, 0]


def test_the_ratio_is_of_equal_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert times_sorted(20, 5, repeats=2) > 0

    def wrong(*_: object) -> Ranks:
        return Ranks(np.zeros(20, np.int64), np.zeros(100, np.int64), 0.0, 0.0)

    monkeypatch.setattr(sorting, "rank", wrong)
    with pytest.raises(RuntimeError, match="not those by sorting"):
        times_sorted(20, 5, repeats=1)
