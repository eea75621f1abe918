"""The regulators of RCAR, to be plugged into a network that attends from one side to the other (rcar.md 3.4 - 3.7).

What a host must offer:

- a query-context attention that takes a modulation of the queries and a temperature, each of every pair and query
  token (`alignment.attended_contexts`): RCR changes both from one pass to the next;
- a vector that stands for the pair, and is scored: RAR renews it, by reading alignment vectors once more.

Arrays have any leading dimensions of pairs (*), then Q query tokens, then a width: D of the common space, Z of an
alignment vector.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from baselines.layers.alignment import squared_differences
from baselines.layers.attention_tiles import wide_type
from baselines.layers.norms import l2_normalize, xavier_linear


@dataclass(frozen=True)
class Focus:
    """What RCR regulates; `attended_contexts` takes both."""

    modulation: Tensor | None
    """(*, Q, D), a factor of the queries; None: all ones."""
    temperature: float | Tensor
    """Of the softmax; one number at first, then (*, Q, 1)."""


class AlignmentVector(nn.Module):
    """W (context - query)^2 + b, normalised; both are unit vectors, the query without its modulation (rcar.md 3.4)."""

    def __init__(self, dim: int, sim_dim: int) -> None:
        super().__init__()
        self.projection = xavier_linear(dim, sim_dim)

    def forward(self, contexts: Tensor, queries: Tensor) -> Tensor:
        """Vectors (*, Q, Z) of contexts (*, Q, D), not normalised, and queries (Q, D) or (N, Q, D).

        Without gradient `contexts` are overwritten.
        """
        vectors = self.projection(squared_differences(contexts, queries))
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
        hidden = tanh_(self.temperature_hidden(alignment))
        temperature = (focus.temperature + self.temperature_step(hidden).to(alignment.dtype)).relu_()
        hidden = tanh_(self.modulation_hidden(alignment))
        step = tanh_(self.modulation_step(hidden).to(alignment.dtype))  # (*, Q, D)
        previous = 1.0 if focus.modulation is None else focus.modulation
        if torch.is_grad_enabled():
            return Focus((previous + step).clamp(-1, 1), temperature)
        return Focus(step.add_(previous).clamp_(-1, 1), temperature)


Dropout = Callable[[Tensor], Tensor]


class AggregationRegulator(nn.Module):
    """RAR: the alignment vectors of a pair, weighed by what has been gathered so far (rcar.md 3.6)."""

    def __init__(self, sim_dim: int) -> None:
        super().__init__()
        self.query = xavier_linear(sim_dim, sim_dim)
        self.key = xavier_linear(sim_dim, sim_dim)
        self.score = xavier_linear(sim_dim, 1)

    def forward(self, alignment: Tensor, vector: Tensor, dropout: Dropout | None) -> Tensor:
        """The next vector (*, Z), from alignment vectors (*, Q, Z) and the last one; `dropout` of both branches."""
        keys, query = tanh_(self.key(alignment)), tanh_(self.query(vector))
        if dropout is not None:
            keys, query = dropout(keys), dropout(query)
        logits = self._logits(keys, query)
        return l2_normalize((logits.softmax(-1).unsqueeze(-2) @ alignment).squeeze(-2))

    def _logits(self, keys: Tensor, query: Tensor) -> Tensor:
        """score(keys * query) (*, Q); the product with the query goes to the one row of weights, not to all keys."""
        weights = query * self.score.weight  # (*, Z)
        return (keys @ weights.unsqueeze(-1)).squeeze(-1) + self.score.bias


def tanh_(values: Tensor) -> Tensor:
    """tanh in place; without gradient as 2 sigmoid(2 x) - 1, which takes half the time on a CPU."""
    if torch.is_grad_enabled():
        return values.tanh_()
    return values.mul_(2).sigmoid_().mul_(2).sub_(1)
