"""Losses of the hardest negatives: of B x B pairs, only those that the loss has a gradient in are scored with one.

The loss reads all scores, and has a gradient in at most 3 B of them: the matching pairs, each row's hardest negative
and each column's. So all pairs are scored without gradient first, as in evaluation; then those alone again
(speed.md 6). The loss and all gradients are those of one pass.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from baselines.attention.length_groups import PairScorer, length_group_scores, listed_scores
from benchmark.batches import Codes
from benchmark.distributed import shares
from benchmark.method import TripletLoss


def two_pass_loss(
    loss: TripletLoss, scorer: PairScorer, images: Codes, captions: Codes, budget_bytes: int | None
) -> Tensor:
    """Return the loss of all B x B scores; its gradient goes through pairs that have one, at least through one pair.

    `budget_bytes` is that of `listed_scores`.
    """
    with torch.no_grad():
        scores = _all_scores(scorer, images, captions)
    if not torch.is_grad_enabled():
        return loss(scores)
    value, slopes = value_and_slopes(loss, scores)
    rows, columns = chosen_pairs(slopes)
    chosen = listed_scores(scorer, images, captions, rows, columns, budget_bytes)
    # the difference is zero: it gives the value nothing, and the scores their gradients
    return value + (slopes[rows, columns] * (chosen - chosen.detach())).sum()


def _all_scores(scorer: PairScorer, images: Codes, captions: Codes) -> Tensor:
    """Scores (n, m) without gradient; processes that train together divide the captions."""
    return shares.divide(partial(length_group_scores, scorer, images), captions, dim=1)


def value_and_slopes(loss: TripletLoss, scores: Tensor) -> tuple[Tensor, Tensor]:
    """The loss, and its gradient in each of the scores (B, B), which come without one."""
    leaf = scores.requires_grad_()
    value = loss(leaf)
    (slopes,) = torch.autograd.grad(value, leaf)
    return value.detach(), slopes


def chosen_pairs(slopes: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns (P,) of pairs with a gradient; a pair without, where none has.

    Parameters then have a gradient of zeros, as in one pass: an optimiser's averages go on.
    """
    rows, columns = slopes.nonzero(as_tuple=True)
    if len(rows):
        return rows, columns
    return rows.new_zeros(1), columns.new_zeros(1)
