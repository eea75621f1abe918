"""Ranking losses on a batch's score matrix: matching pairs on the diagonal, everything else a negative."""

from __future__ import annotations

from torch import Tensor


def triplet_ranking_loss(scores: Tensor, margin: float, *, hardest: bool = True) -> Tensor:
    """Hinge loss of a batch, summed over both retrieval directions: a scalar (hat.md 4, sgraf.md 4, rcar.md 4).

    `scores`: (B, B), row = image, column = caption, S_ii = matching pair. With `hardest`, each image pays
    for its worst caption and each caption for its worst image:

        L = sum_i max_{j != i} [m + S_ij - S_ii]_+  +  sum_j max_{i != j} [m + S_ij - S_jj]_+

    otherwise for all of them (rcar.md 4, user.md A). Another caption of the same image is a negative like any
    other. Where the maximum is tied, the first index takes the whole gradient (CPU).
    """
    size = len(scores)
    positives = scores.diagonal().view(size, 1)
    costs_of_images = (margin + scores - positives).clamp(min=0)  # (B, B), wrong captions of an image
    costs_of_captions = (margin + scores - positives.T).clamp(min=0)  # (B, B), wrong images of a caption
    diagonal = scores.new_ones(size).diag().bool()
    costs_of_images = costs_of_images.masked_fill(diagonal, 0)
    costs_of_captions = costs_of_captions.masked_fill(diagonal, 0)
    if not hardest:
        return costs_of_images.sum() + costs_of_captions.sum()
    return costs_of_images.max(dim=1).values.sum() + costs_of_captions.max(dim=0).values.sum()
