"""Similarity -> ranks: exact, by counting, without a sort (speed.md 2), and the best k items of each query.

A rank is the number of gallery items that score higher than the query's true item, plus the tie rule. One
pass over the rows of the matrix gives both directions; nothing is held beyond one block of rows. Scores
are compared in the precision they come in: float64 scores that collide in float32 stay distinct.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import UserError, nearest

TieRule = Literal["lower_index", "pessimistic"]
"""`lower_index`: equal scores stand in gallery order; `pessimistic`: every equal score counts against the query."""

Floats = NDArray[Any]
Ints = NDArray[np.int64]

ROWS = 128  # rows of a block: 12.8 MB of float32 at 25,000 captions; a byte counts up to 255


@dataclass(frozen=True)
class Ranks:
    """Ranks from 0 (best) of every query, and how many queries have a tie that matters."""

    i2t: Ints
    """(n_images,) best rank among the image's own captions in the gallery of all captions."""
    t2i: Ints
    """(n_captions,) rank of the caption's image in the gallery of all images."""
    ties_i2t: float
    """Share of images whose best own caption scores the same as a caption of another image."""
    ties_t2i: float
    """Share of captions whose image scores the same as another image."""
    tie_rule: TieRule = "lower_index"


@dataclass(frozen=True)
class TopK:
    """The best k items of each query, best first, equal scores in gallery order."""

    i2t: Ints
    """(n_images, k) caption rows."""
    i2t_scores: Floats
    t2i: Ints
    """(n_captions, k) image rows."""
    t2i_scores: Floats


def rank(sims: Floats, caption_image: Ints, tie_rule: TieRule = "lower_index") -> Ranks:
    """Ranks in both directions by counting.

    sims: (n_images, n_captions), float32 or float64, higher is better; caption_image: (n_captions,) the row of
    each caption's image; any number of captions an image, in any order. An image's own other captions
    never count against it.

    Raises UserError for wrong shapes and types, for an image without captions, and for the first score
    that is not finite.
    """
    known_rule(tie_rule)
    check_matrix(sims)
    own = captions_of(caption_image, *sims.shape)
    true = _native(sims[caption_image, np.arange(sims.shape[1])])  # (n_captions,)
    return join_counts([count_rows(sims, 0, own, true, tie_rule)], tie_rule)


def known_rule(tie_rule: str) -> None:
    """Raise UserError for a tie rule that is not known."""
    if tie_rule not in get_args(TieRule):
        raise UserError(f"tie rule '{tie_rule}' is not known{nearest(tie_rule, get_args(TieRule))}")


@dataclass(frozen=True)
class Counts:
    """Counts that some rows of a matrix add to ranks; those of all rows add up to the ranks."""

    i2t: Ints
    """(rows,) ranks of their images."""
    t2i: Ints
    """(n_captions,) how many of these images stand before each caption's own."""
    tied: NDArray[np.bool_]
    """(n_captions,) whether one of them scores the same as its own."""
    tied_images: int


def join_counts(parts: Sequence[Counts], tie_rule: TieRule) -> Ranks:
    """The ranks of a matrix from the counts of its rows, in order."""
    i2t = np.concatenate([part.i2t for part in parts])
    t2i, tied = np.sum([part.t2i for part in parts], 0), np.any([part.tied for part in parts], 0)
    tied_images = sum(part.tied_images for part in parts)
    return Ranks(i2t, t2i, tied_images / len(i2t), float(tied.mean()), tie_rule)


def count_rows(sims: Floats, first: int, own: list[Ints], true: Floats, tie_rule: TieRule) -> Counts:
    """Count in the rows `sims` (rows, n_captions) of a matrix, which are those from `first` on.

    own: the captions of every image of the matrix; true: the score (n_captions,) of each caption with its image.
    Raises UserError for the first score that is not finite.
    """
    n_images, n_captions = sims.shape
    # s > the next smaller float is s >= true: ties above the own row count against the caption, those below
    # do not, so lower_index needs no second comparison: a caption's bar goes up when its own row is reached
    with np.errstate(over="ignore"):  # below the lowest number comes minus infinity, which serves
        bar = np.nextafter(true, true.dtype.type(-np.inf))
    if first and tie_rule == "lower_index":
        above = np.concatenate(own[:first])
        bar[above] = true[above]
    higher = np.empty(n_captions, bool)
    equal = np.empty(n_captions, bool)
    tied = np.zeros(n_captions, bool)
    count = np.zeros(n_captions, np.uint8)
    t2i = np.zeros(n_captions, np.int64)
    i2t = np.empty(n_images, np.int64)
    tied_images = 0
    for start, block in _row_blocks(sims):
        for offset, row in enumerate(block):
            image = start + offset
            mine = own[first + image]
            if not np.isfinite(row, out=equal).all():
                column = int(np.argmin(equal))
                raise _not_finite(first + image, column, row[column])
            # captions against this image
            if tie_rule == "lower_index":
                bar[mine] = true[mine]
            np.greater(row, bar, out=higher)
            higher[mine] = False
            np.add(count, higher.view(np.uint8), out=count)
            np.equal(row, true, out=equal)
            equal[mine] = False
            np.logical_or(tied, equal, out=tied)
            # this image against the captions
            i2t[image], is_tied = _image_rank(row, mine, tie_rule, higher, equal)
            tied_images += is_tied
        t2i += count  # a byte holds the count of one block
        count[:] = 0
    return Counts(i2t, t2i, tied, tied_images)


def _image_rank(
    row: Floats, mine: Ints, tie_rule: TieRule, higher: NDArray[np.bool_], equal: NDArray[np.bool_]
) -> tuple[int, bool]:
    """Rank of the image's best own caption in its row (n_captions,), and whether another image's caption ties."""
    scores = row[mine]
    best = scores.max()
    above = int(np.count_nonzero(np.greater(row, best, out=higher)))
    np.equal(row, best, out=equal)
    others = int(np.count_nonzero(equal)) - int(np.count_nonzero(scores == best))
    if not others:
        return above, False
    if tie_rule == "pessimistic":
        return above + others, True
    first = int(mine[scores == best][0])
    return above + int(np.count_nonzero(equal[:first])), True


def top_k(sims: Floats, k: int = 10) -> TopK:
    """The best min(k, gallery) items of every image and of every caption, equal scores in gallery order.

    sims: (n_images, n_captions). Raises UserError as `rank` does.
    """
    if k < 1:
        raise UserError(f"top k: found {k}, expected at least 1")
    check_matrix(sims)
    check_finite(sims)
    i2t, i2t_scores = _best_of_rows(sims, k)
    t2i, t2i_scores = _best_of_rows(sims.T, k)
    return TopK(i2t, i2t_scores, t2i, t2i_scores)


def _best_of_rows(sims: Floats, k: int) -> tuple[Ints, Floats]:
    n_rows, n_items = sims.shape
    k = min(k, n_items)
    index = np.empty((n_rows, k), np.int64)
    scores = np.empty((n_rows, k), sims.dtype.newbyteorder("="))
    for start, block in _row_blocks(sims):
        cuts = np.partition(block, n_items - k, axis=1)[:, n_items - k]  # (rows,) the k-th best score
        for offset, (row, cut) in enumerate(zip(block, cuts, strict=True)):
            above = np.flatnonzero(row > cut)
            at_cut = np.flatnonzero(row == cut)[: k - len(above)]
            order = above[np.argsort(-row[above], kind="stable")]
            index[start + offset] = np.concatenate([order, at_cut])
            scores[start + offset] = row[index[start + offset]]
    return index, scores


def positions(scores: Floats, positives: Ints, tie_rule: TieRule = "lower_index") -> Ints:
    """Places (R,) of the positives in the ranking of scores (n,), from 0, ascending.

    positives: ascending rows. Equal scores stand in gallery order, or (`pessimistic`) what is not positive first.
    """
    true = scores[positives]  # (R,)
    places = np.empty(len(positives), np.int64)
    for k, (item, score) in enumerate(
        zip(positives, true, strict=True)
    ):  # whole rows are what counts fastest
        places[k] = np.count_nonzero(scores > score)
        equal = scores == score
        tied = np.count_nonzero(equal)
        if tied > 1 and tie_rule == "lower_index":
            places[k] += np.count_nonzero(equal[:item])
        elif tied > 1:
            among = true == score
            places[k] += tied - np.count_nonzero(among) + np.count_nonzero(among[:k])
    return np.sort(places)


# ---------------------------------------------------------------------------------------- checks


def check_matrix(sims: Floats) -> None:
    """Raise UserError unless `sims` is a non-empty two-dimensional array of float32 or float64."""
    if not isinstance(sims, np.ndarray):
        raise UserError(f"scores: found {type(sims).__name__}, expected a numpy array (n_images, n_captions)")
    if sims.ndim != 2 or 0 in sims.shape:
        raise UserError(
            f"scores: found shape {sims.shape}, expected (n_images, n_captions), neither of them 0"
        )
    if sims.dtype.newbyteorder("=") not in (np.dtype(np.float32), np.dtype(np.float64)):
        ties = "; what half precision made equal stays a tie" if sims.dtype == np.float16 else ""
        advice = f"; save scores.astype('float32'){ties}" if sims.dtype.kind in "fiub" else ""
        raise UserError(f"scores: found type {sims.dtype}, expected float32 or float64{advice}")


def check_finite(sims: Floats, first: int = 0) -> None:
    """Raise UserError that names the first score (in row order) that is NaN or infinite; `first`: the first row."""
    for start, block in _row_blocks(sims):
        bad = ~np.isfinite(block)
        if bad.any():
            row, column = np.argwhere(bad)[0]
            raise _not_finite(first + start + int(row), int(column), block[row, column])


def captions_of(caption_image: Ints, n_images: int, n_captions: int) -> list[Ints]:
    """The caption rows of every image, ascending; raises UserError where the map does not fit the matrix."""
    where = "caption-to-image map"
    if not isinstance(caption_image, np.ndarray) or caption_image.dtype.kind not in "iu":
        found = getattr(caption_image, "dtype", type(caption_image).__name__)
        raise UserError(f"{where}: found {found}, expected an array of integers")
    if caption_image.shape != (n_captions,):
        raise UserError(
            f"{where}: found shape {caption_image.shape}, expected ({n_captions},), one a caption"
        )
    outside = np.flatnonzero((caption_image < 0) | (caption_image >= n_images))
    if len(outside):
        first = int(outside[0])
        raise UserError(
            f"{where}: caption {first} has image {caption_image[first]}, expected 0 to {n_images - 1}"
        )
    counts = np.bincount(caption_image, minlength=n_images)
    if not counts.all():
        raise UserError(f"{where}: image {int(np.argmin(counts))} has no caption, expected at least one")
    order = np.argsort(caption_image, kind="stable")
    return np.split(order, np.cumsum(counts)[:-1])


def _not_finite(image: int, caption: int, value: Any) -> UserError:
    return UserError(f"scores: found {value} at image {image}, caption {caption}, expected finite numbers")


def _native(values: Floats) -> Floats:
    """The same values in the machine's byte order."""
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _row_blocks(sims: Floats) -> Iterator[tuple[int, Floats]]:
    """Blocks of whole rows, contiguous in memory whatever the layout of `sims`, with their first row."""
    for start in range(0, len(sims), ROWS):
        yield start, np.ascontiguousarray(_native(sims[start : start + ROWS]))
