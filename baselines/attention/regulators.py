"""RCAR's regulators, to be plugged into a network that attends from one side to the other (rcar.md 3.4 to 3.7).

What a host must offer:

- a query-context attention that takes a modulation of the queries and a temperature, each of every pair and query
  token (`alignment.squared_differences`): RCR changes both from one pass to the next;
- a vector that stands for the pair, and is scored: RAR renews it, by reading alignment vectors once more.

Arrays have any leading dimensions of pairs (*), then Q query tokens, then a width: D of the common space, Z of an
alignment vector.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from baselines.attention.alignment import squared_differences
from baselines.attention.blockwise import clamped_sum
from baselines.attention.scratch import Scratch
from baselines.attention.tiles import wide_type
from baselines.layers.dense import dense_rows
from baselines.layers.norms import l2_normalize, xavier_linear


@dataclass(frozen=True)
class Focus:
    """The two things that RCR regulates, and what is never attended to; `squared_differences` takes all."""

    modulation: Tensor | None
    """(*, Q, D), a factor of the queries; None: all ones."""
    temperature: float | Tensor
    """Temperature of the softmax; one number at first, then (*, Q, 1)."""
    padding: Tensor | None = None
    """(K, S), true for padding of contexts; None: there is none."""
    scratch: Scratch | None = None
    """Where the wide arrays of a tile are without gradient; None: in new memory."""


class AlignmentVector(nn.Module):
    """W (context - query)^2 + b, normalised; both are unit vectors, the query without its modulation (rcar.md 3.4)."""

    def __init__(self, dim: int, sim_dim: int) -> None:
        super().__init__()
        self.projection = xavier_linear(dim, sim_dim)

    def forward(self, differences: Tensor) -> Tensor:
        """Vectors (*, Q, Z) of the squared differences (*, Q, D)."""
        vectors = dense_rows(differences, self.projection.weight, self.projection.bias)
        return l2_normalize(vectors.to(wide_type(vectors)))


class CorrespondenceRegulator(nn.Module):
    """RCR: how each query token should attend next, given how it aligns now (rcar.md 3.5)."""

    def __init__(self, dim: int, sim_dim: int) -> None:
        super().__init__()
        self.modulation_hidden = xavier_linear(sim_dim, 2 * sim_dim)
        self.modulation_step = xavier_linear(2 * sim_dim, dim)
        self.temperature_hidden = xavier_linear(sim_dim, sim_dim // 2)
        self.temperature_step = xavier_linear(sim_dim // 2, 1)

    def forward(self, alignment: Tensor, focus: Focus) -> Focus:
        """The next focus, from alignment vectors (*, Q, Z) and the last one; both of its parts accumulate."""
        hidden = self._hidden(self.temperature_hidden, alignment)
        temperature = (focus.temperature + self.temperature_step(hidden).to(alignment.dtype)).relu_()
        hidden = self._hidden(self.modulation_hidden, alignment)
        modulation = self._modulation(hidden, focus, alignment)
        return replace(focus, modulation=modulation, temperature=temperature)

    def _modulation(self, hidden: Tensor, focus: Focus, alignment: Tensor) -> Tensor:
        """The next modulation (*, Q, D) of hidden numbers (*, Q, 2 Z)."""
        weight, bias = self.modulation_step.weight, self.modulation_step.bias
        previous = focus.modulation
        if torch.is_grad_enabled():
            step = dense_rows(hidden, weight, bias, "tanh", dtype=alignment.dtype)  # (*, Q, D)
            return clamped_sum(step, previous)
        out = None
        if previous is None and focus.scratch is not None and hidden.dtype == alignment.dtype:
            out = focus.scratch.take("modulation", (*hidden.shape[:-1], len(weight)), hidden)
        # 1 + tanh(x) = 2 sigmoid(2 x) is never negative: a few passes less over a wide array
        step = dense_rows(hidden, weight, bias, "sigmoid", scale=2, dtype=alignment.dtype, out=out).mul_(2)
        return step.clamp_max_(1) if previous is None else step.add_(previous).sub_(1).clamp_(-1, 1)

    def _hidden(self, layer: nn.Linear, alignment: Tensor) -> Tensor:
        return dense_rows(alignment, layer.weight, layer.bias, "tanh")


def mean_of_queries(values: Tensor, padding: Tensor | None) -> Tensor:
    """Means over the query tokens, the third axis of `values`: (K, N, Q) or (K, N, Q, Z).

    `padding`, broadcast to (K, N, Q), is left out.
    """
    if padding is None:
        return values.mean(2)
    kept = (~padding).to(values.dtype)  # (N, Q), or (K, N, Q)
    shares = kept / kept.sum(-1, keepdim=True)
    return (values * (shares if values.ndim == 3 else shares.unsqueeze(-1))).sum(2)


Dropout = Callable[[Tensor], Tensor]
Kind = Literal["rcr", "rar", "rcar"]


class AggregationRegulator(nn.Module):
    """RAR: the alignment vectors of a pair, weighed by what has been gathered so far (rcar.md 3.6)."""

    def __init__(self, sim_dim: int) -> None:
        super().__init__()
        self.query = xavier_linear(sim_dim, sim_dim)
        self.key = xavier_linear(sim_dim, sim_dim)
        self.score = xavier_linear(sim_dim, 1)

    def forward(
        self, alignment: Tensor, vector: Tensor, dropout: Dropout | None, padding: Tensor | None = None
    ) -> Tensor:
        """The next vector (*, Z), from alignment vectors (*, Q, Z) and the last one; `dropout` of both branches.

        `padding`, (*, Q) or broadcast to it: true for query tokens that are not gathered.
        """
        keys = dense_rows(alignment, self.key.weight, self.key.bias, "tanh")
        query = dense_rows(vector, self.query.weight, self.query.bias, "tanh")
        if dropout is not None:
            keys, query = dropout(keys), dropout(query)
        logits = self._logits(keys, query)
        if padding is not None:
            logits = logits.masked_fill(padding, -torch.inf)
        return l2_normalize((logits.softmax(-1).unsqueeze(-2) @ alignment).squeeze(-2))

    def _logits(self, keys: Tensor, query: Tensor) -> Tensor:
        """score(keys * query) (*, Q); the product with the query goes to the one row of weights, not to all keys."""
        weights = query * self.score.weight  # (*, Z)
        return (keys @ weights.unsqueeze(-1)).squeeze(-1) + self.score.bias


class Regulators(nn.Module):
    """Regulators in a network that has an attention, alignment vectors and an aggregation of its own.

    RCR(N) goes before them: N passes, each with an alignment vector, adjust the focus of the host's attention.
    RAR(N) comes after: from the vector that the host would score, it reads the host's alignment vectors N times.
    RCAR(K) does both: K - 1 passes before, and K times RAR after, each on the alignment vectors of its pass, the
    last on the host's. A host that aggregates by the mean is RCAR's own network (rcar.md 3.7) but for the pass of
    which the mean is taken.
    """

    def __init__(self, kind: Kind, steps: int, dim: int, sim_dim: int) -> None:
        super().__init__()
        before = {"rcr": steps, "rar": 0, "rcar": steps - 1}[kind]
        after = {"rcr": 0, "rar": steps, "rcar": steps}[kind]
        self.sizes = dim, sim_dim
        self.alignments = nn.ModuleList(AlignmentVector(dim, sim_dim) for _ in range(before))
        self.correspondences = nn.ModuleList(CorrespondenceRegulator(dim, sim_dim) for _ in range(before))
        self.aggregations = nn.ModuleList(AggregationRegulator(sim_dim) for _ in range(after))

    def regulate(
        self, queries: Tensor, contexts: Tensor, *, temperature: float, slope: float
    ) -> tuple[Focus, list[Tensor]]:
        """The focus for the host's attention, and the alignment vectors (K, N, Q, Z) of each pass before it.

        `queries` (N, Q, D), `contexts` (K, S, D), `temperature` and `slope` are those of the host's attention.
        """
        focus, passed = Focus(None, temperature), []
        for align, correspond in zip(self.alignments, self.correspondences, strict=True):
            passed.append(align(squared_differences(queries, contexts, **vars(focus), slope=slope)))
            focus = correspond(passed[-1], focus)
        return focus, passed

    def gather(
        self,
        passed: list[Tensor],
        own: Tensor,
        vector: Tensor,
        dropout: Dropout | None,
        padding: Tensor | None,
    ) -> Tensor:
        """The vector to score instead of the host's `vector` (K, N, Z); `own`: its alignment vectors (K, N, Q, Z).

        `padding`, broadcast to (K, N, Q): true for query tokens that are padding.
        """
        for step, aggregate in enumerate(self.aggregations):
            vector = aggregate(passed[step] if step < len(passed) else own, vector, dropout, padding)
        return vector

    def training_bytes(self, queries: int, contexts: int) -> int:
        """Bytes of a pair with so many tokens, until its gradients are there."""
        before = len(self.correspondences)
        return training_bytes(
            passes=before,
            alignments=before,
            correspondences=before,
            aggregations=len(self.aggregations),
            tokens=(queries, contexts),
            sizes=self.sizes,
        )


def training_bytes(
    *,
    passes: int,
    alignments: int,
    correspondences: int,
    aggregations: int,
    tokens: tuple[int, int],
    sizes: tuple[int, int],
) -> int:
    """Upper estimate of what autograd keeps of a pair: `tokens` of query and context, `sizes` D and Z."""
    wide, narrow = tokens[0] * sizes[0], tokens[0] * sizes[1]
    floats = passes * (4 * wide + 8 * tokens[0] * tokens[1])
    floats += alignments * 4 * narrow
    floats += correspondences * (5 * wide + 6 * narrow)
    floats += aggregations * 8 * narrow
    return 4 * floats
