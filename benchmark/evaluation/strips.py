"""Strips: the rows of a similarity matrix that a process has, and the ranks of the whole one, which nobody has.

Ranks are counts, and counts of strips add up: what the processes tell each other is the score of every caption with its
own image, the counts, and the best items of each query. The result is that of the whole matrix, bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from benchmark.errors import UserError
from benchmark.evaluation.ranking import (
    Counts,
    Floats,
    Ints,
    Ranks,
    TieRule,
    TopK,
    captions_of,
    check_finite,
    check_matrix,
    count_rows,
    join_counts,
    known_rule,
    rank,
    top_k,
)

if TYPE_CHECKING:  # it brings torch, which reading a record does without
    from benchmark.distributed.processes import Processes


@dataclass(frozen=True)
class Strip:
    """Consecutive rows of a matrix (n_images, n_captions), from `first` on; the processes have them in order."""

    values: Floats
    """(rows, n_captions); a process may have no row."""
    first: int
    n_images: int
    processes: Processes

    @property
    def shape(self) -> tuple[int, int]:
        """The shape of the whole matrix."""
        return self.n_images, self.values.shape[1]

    def __len__(self) -> int:
        return self.n_images

    def whole(self) -> Floats:
        """The whole matrix in the first process; the others keep their rows."""
        return self.processes.rows_to_first(self.values)

    def block(self, rows: slice, columns: slice | Ints) -> Strip:
        """The same of some rows and columns of the matrix."""
        begin, end = (min(max(at - self.first, 0), len(self.values)) for at in (rows.start, rows.stop))
        first = min(max(self.first - rows.start, 0), rows.stop - rows.start)
        return Strip(self.values[begin:end, columns], first, rows.stop - rows.start, self.processes)

    def _true(self, caption_image: Ints) -> Floats:
        """The score of each caption with its own image, (n_captions,)."""
        mine = np.flatnonzero((caption_image >= self.first) & (caption_image < self.first + len(self.values)))
        found = self.processes.of_all((mine, self.values[caption_image[mine] - self.first, mine]))
        true = np.empty(self.shape[1], self.values.dtype)
        for columns, scores in found:
            true[columns] = scores
        return true

    def rank(self, caption_image: Ints, tie_rule: TieRule) -> Ranks:
        """The ranks of the whole matrix, in all processes; errors as `ranking.rank`, in all of them."""
        known_rule(tie_rule)
        own = captions_of(caption_image, *self.shape)
        true, counts, said = self._true(caption_image), None, None
        try:
            if len(self.values):
                check_matrix(self.values)
                counts = count_rows(self.values, self.first, own, true, tie_rule)
        except UserError as error:
            said = str(error)
        parts: list[Counts] = []
        for part, fault in self.processes.of_all((counts, said)):
            if fault is not None:
                raise UserError(fault)
            parts += [] if part is None else [part]
        return join_counts(parts, tie_rule)

    def top_k(self, k: int) -> TopK:
        """The best items of the whole matrix, in all processes."""
        own: TopK | None = None
        said: str | None = None
        try:
            if len(self.values):
                check_finite(self.values, self.first)
                found = top_k(self.values, k)
                own = TopK(found.i2t, found.i2t_scores, found.t2i + self.first, found.t2i_scores)
        except UserError as error:
            said = str(error)
        parts: list[TopK] = []
        for part, fault in self.processes.of_all((own, said)):
            if fault is not None:
                raise UserError(fault)
            parts += [] if part is None else [part]
        index = np.concatenate([part.t2i for part in parts], axis=1)  # (n_captions, candidates)
        scores = np.concatenate([part.t2i_scores for part in parts], axis=1)
        # candidates of one score come in gallery order, which a stable sort keeps
        order = np.argsort(-scores, axis=1, kind="stable")[:, : min(k, self.n_images)]
        return TopK(
            np.concatenate([part.i2t for part in parts]),
            np.concatenate([part.i2t_scores for part in parts]),
            np.take_along_axis(index, order, 1),
            np.take_along_axis(scores, order, 1),
        )


def rank_any(sims: Floats | Strip, caption_image: Ints, tie_rule: TieRule = "lower_index") -> Ranks:
    """Ranks of a matrix, or of one whose rows the processes have."""
    return (
        sims.rank(caption_image, tie_rule) if isinstance(sims, Strip) else rank(sims, caption_image, tie_rule)
    )


def top_k_any(sims: Floats | Strip, k: int = 10) -> TopK:
    """The best items of a matrix, or of one whose rows the processes have."""
    return sims.top_k(k) if isinstance(sims, Strip) else top_k(sims, k)


def whole_matrix(sims: Floats | Strip) -> Floats:
    """The matrix; where the processes have its rows, it is whole in the first one alone."""
    return sims.whole() if isinstance(sims, Strip) else sims
