"""Words through a recurrent network: embedding, dropout, GRU (sgraf.md 3.2, rcar.md 3.2, user.md A)."""

from __future__ import annotations

from torch import Tensor, nn

from baselines.layers.gru import gru_states
from baselines.layers.norms import l2_normalize
from baselines.layers.packing import pack, unpack
from benchmark.batches import numbers_of


class GRUEncoder(nn.Module):
    """Word vectors of captions; the two directions of a bidirectional GRU are averaged position by position."""

    def __init__(
        self,
        vocab_size: int,
        word_dim: int,
        dim: int,
        *,
        layers: int = 1,
        bidirectional: bool = True,
        dropout: float = 0.0,
        normalize: bool = True,
    ) -> None:
        super().__init__()
        self.normalize = normalize
        # no padding index: the row of <pad> is as random as any other, and padding never enters the GRU
        self.embedding = nn.Embedding(vocab_size, word_dim)
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        self.dropout = nn.Dropout(dropout)
        self.gru = nn.GRU(word_dim, dim, layers, batch_first=True, bidirectional=bidirectional)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Unit vectors (B, L, D) of `ids` (B, L), zeros after `lengths` (B,), which are 1 or more."""
        embedded = self.dropout(self.embedding(ids))  # (B, L, word_dim)
        words = unpack(gru_states(self.gru, pack(embedded, numbers_of(lengths))), ids.shape[1])
        if self.gru.bidirectional:
            forward, backward = words.chunk(2, dim=2)
            words = (forward + backward) / 2  # (B, L, D)
        return l2_normalize(words) if self.normalize else words
