"""A set of vectors -> one: attention with the set's own mean as the query (sgraf.md 3.3, user.md 3.1)."""

from __future__ import annotations

from torch import Tensor, nn

from baselines.layers.batch_norm import BatchNorm
from baselines.layers.norms import l2_normalize, widen, xavier_linear


class SelfAttentionPooling(nn.Module):
    """The weighted sum of N vectors, normalised; weights from each vector beside the mean of all.

    tokens: N where it is fixed; both branches then have a batch norm, the local one with a channel for each of
    the N places. None: any N, no batch norm.
    """

    def __init__(self, dim: int, *, tokens: int | None, dropout: float, bias: bool = True) -> None:
        super().__init__()
        self.local = xavier_linear(dim, dim, bias=bias)
        self.query = xavier_linear(dim, dim, bias=bias)
        self.score = xavier_linear(dim, 1, bias=bias)
        self.local_norm = BatchNorm(tokens) if tokens else None
        self.query_norm = BatchNorm(dim) if tokens else None
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, vectors: Tensor, padding: Tensor | None = None, *, batch_statistics: bool = False
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Pooled vectors (B, D) of `vectors` (B, N, D), and the statistics that `update` wants.

        `padding` (B, N): true for places that do not count; their vectors are zeros.
        """
        count = vectors.shape[1] if padding is None else (~padding).sum(1, keepdim=True)  # (B, 1)
        local, query = self.local(vectors), self.query(vectors.sum(1) / count)  # (B, N, D), (B, D)
        statistics = {}
        if self.local_norm is not None and self.query_norm is not None:
            local, statistics["local"] = self.local_norm(local, batch_statistics=batch_statistics)
            query, statistics["query"] = self.query_norm(query, batch_statistics=batch_statistics)
        local, query = self.dropout(local.tanh()), self.dropout(query.tanh())
        scores = self.score(local * query[:, None]).squeeze(2)  # (B, N)
        if padding is not None:
            scores = scores.masked_fill(padding, -float("inf"))
        weights = widen(scores).softmax(1)  # shares that add up to 1 in eight bits would not
        return l2_normalize((weights[:, None] @ vectors).squeeze(1)), statistics

    def update(self, statistics: dict[str, Tensor]) -> None:
        """Take the statistics of a batch into the running ones."""
        for name, norm in (("local", self.local_norm), ("query", self.query_norm)):
            if norm is not None:
                norm.update(statistics[name])
