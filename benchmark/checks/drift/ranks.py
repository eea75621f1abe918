"""The second level: every query's rank under the committed weights, beside the reference as `<run>.npz`.

Scores may differ by rounding, up to the tolerance that the reference states for a similarity, and with them
ranks: two items that score nearly the same change places. Such a move is no drift. A rank has moved only
where no rounding within the tolerance explains it: each score can be off by the tolerance, so a difference of
two scores by twice as much, which bounds the rank from both sides. Hence the rule: not one query may move.
It is no stricter than the tolerance of the similarities, but it looks at all queries where that looks at a
sample of pairs.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark.checks.drift.findings import Finding
from benchmark.data.splits import Split
from benchmark.errors import UserError
from benchmark.evaluation.ranking import Floats, Ints, Ranks, TieRule, rank
from benchmark.files import replacing, sha256_bytes
from benchmark.places import locate
from benchmark.records.sidecar import pack_arrays, small
from benchmark.reporting.diff.queries import Items, QueryChanges, Retrieved, query_changes

NAMED = 5
"""The number of queries that are named for a run."""
Bools = NDArray[np.bool_]


def retrieved(sims: Floats, split: Split, rule: TieRule) -> Retrieved:
    """Ranks and first items of a matrix (n_images, n_captions)."""
    return Retrieved(rank(sims, split.caption_image, rule), sims.argmax(1), sims.argmax(0))


def write_ranks(found: Retrieved, path: Path) -> str:
    """Write ranks and first items beside a reference, the same bytes for the same ranks; returns their sha256."""
    packed = pack_arrays(
        {
            "i2t": small(found.ranks.i2t),
            "t2i": small(found.ranks.t2i),
            "i2t_first": small(found.i2t_first),
            "t2i_first": small(found.t2i_first),
        }
    )
    with replacing(path) as handle:
        handle.write(packed)
    return sha256_bytes(packed)


def read_ranks(path: Path, sha256: str | None) -> Retrieved:
    """Read the ranks beside a reference; raises UserError where they are missing or belong to another one."""
    if sha256 is None:
        raise UserError(
            f"{path.with_suffix('.json').as_posix()}: has no ranks yet; `rematch drift --update-ranks`"
        )
    try:
        packed = locate(path).read_bytes()
    except OSError:
        raise UserError(
            f"{path.as_posix()}: the reference's ranks are missing; get them from the repository"
        ) from None
    if sha256_bytes(packed) != sha256:
        raise UserError(f"{path.as_posix()}: not the ranks of the reference (their sha256 differs)")
    with np.load(io.BytesIO(packed), allow_pickle=False) as arrays:
        i2t, t2i = (arrays[name].astype(np.int64) for name in ("i2t", "t2i"))
        return Retrieved(Ranks(i2t, t2i, 0.0, 0.0), arrays["i2t_first"], arrays["t2i_first"])


@dataclass(frozen=True)
class Bounds:
    """The ranks that scores within a tolerance could have; both ends belong to them."""

    low: Ints
    high: Ints

    def outside(self, ranks: Ints) -> Bools:
        return (ranks < self.low) | (ranks > self.high)


def rank_bounds(sims: Floats, caption_image: Ints, tolerance: float) -> tuple[Bounds, Bounds]:
    """Bounds of i2t (n_images,) and t2i (n_captions,) ranks, each score of `sims` being off by at most `tolerance`.

    At least those items stand before the true one that score higher by more than twice the tolerance, at most
    those that do not score lower by more than that. An image's own other captions count for neither.
    """
    wide = sims.astype(np.float64)
    own = caption_image[None, :] == np.arange(len(wide))[:, None]  # (n, m)
    slack = 2 * tolerance
    best = np.where(own, wide, -np.inf).max(1)[:, None]  # (n, 1)
    true = wide[caption_image, np.arange(wide.shape[1])][None, :]  # (1, m)
    i2t, t2i = (
        Bounds(
            np.count_nonzero((wide > bar + slack) & ~own, axis=axis),
            np.count_nonzero((wide >= bar - slack) & ~own, axis=axis),
        )
        for bar, axis in ((best, 1), (true, 0))
    )
    return i2t, t2i


def compare_ranks(
    run: str, reference: Retrieved, sims: Floats, split: Split, tolerance: float, rule: TieRule
) -> tuple[Finding, QueryChanges]:
    """Count the queries that moved by more than rounding, and name those that moved most.

    sims: (n_images, n_captions) as scored now. Raises UserError where the reference is of another split.
    """
    found = retrieved(sims, split, rule)
    if (found.ranks.i2t.shape, found.ranks.t2i.shape) != (
        reference.ranks.i2t.shape,
        reference.ranks.t2i.shape,
    ):
        raise UserError(f"{run}: the reference's ranks are of another test split; `rematch drift --update`")
    i2t, t2i = rank_bounds(sims, split.caption_image, tolerance)
    beyond = {"i2t": i2t.outside(reference.ranks.i2t), "t2i": t2i.outside(reference.ranks.t2i)}
    items = Items(split.image_ids, split.caption_image)
    changes = query_changes([reference], [found], items, most=NAMED, metrics=("rsum",), only=beyond)
    differ = int(np.count_nonzero(reference.ranks.i2t != found.ranks.i2t))
    differ += int(np.count_nonzero(reference.ranks.t2i != found.ranks.t2i))
    moved = int(beyond["i2t"].sum() + beyond["t2i"].sum())
    parts = [f"of {changes.queries:,}"]
    if differ > moved:
        parts.append(f"{differ - moved} more by rounding")
    if differ:
        parts.append(f"rsum's sign-flip p {changes.tests['rsum'].p_value:.2g}")
    finding = Finding(run, "queries", "ranks that moved", 0, moved, 0, "; ".join(parts))
    return finding, changes
