"""The ways of numpy and torch with NaN and equal scores that docs/pitfalls.md tells of, beside Rematch's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmark.errors import UserError
from benchmark.evaluation.ranking import rank


def test_a_score_that_is_nan_comes_first_elsewhere_and_is_refused_here() -> None:
    scores = np.array(
        [[0.9, np.nan], [0.8, 0.1]]
    )  # caption 1 belongs to image 1; image 0 has no score for it
    assert np.argsort(scores[0])[::-1][0] == 1
    row = torch.from_numpy(scores[0])
    assert torch.topk(row, 1).indices.item() == torch.argsort(row, descending=True)[0].item() == 1
    with pytest.raises(UserError, match=r"nan"):
        rank(scores, np.array([0, 1]))


def test_the_last_of_a_few_equal_scores_comes_first_in_a_reversed_argsort() -> None:
    scores = np.zeros((1, 4))
    assert np.argsort(scores[0])[::-1].tolist() == [3, 2, 1, 0]
    lower, pessimistic = (
        rank(np.zeros((4, 4)), np.arange(4), rule).t2i for rule in ("lower_index", "pessimistic")
    )
    assert (lower.tolist(), pessimistic.tolist()) == ([0, 1, 2, 3], [3, 3, 3, 3])
