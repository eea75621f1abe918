"""Encoders that end in GPO pooling: an image or a caption -> one unit vector (user.md 3.1, 3.2, A)."""

from __future__ import annotations

from torch import Tensor, nn
from transformers import BertModel

from baselines.layers.gpo import GPO
from baselines.layers.gru_encoder import GRUEncoder
from baselines.layers.norms import l2_normalize
from baselines.layers.region_perceptron import RegionPerceptron
from benchmark.distributed import shares
from benchmark.errors import UserError


class PooledRegions(nn.Module):
    """Regions through a linear map and a perceptron, added, pooled and normalised."""

    def __init__(self, region_dim: int, dim: int, pool_width: int) -> None:
        super().__init__()
        self.perceptron = RegionPerceptron(region_dim, dim, normalize=False)
        self.pooling = GPO(pool_width)

    def forward(
        self, regions: Tensor, lengths: Tensor | None = None, *, batch_statistics: bool
    ) -> tuple[Tensor, Tensor]:
        """Unit vectors (B, D) of features (B, R, region_dim), and the statistics that `update` wants.

        `lengths` (B,): how many regions of each image there are; None: all. Those after them, zeros, count in the
        perceptron's batch norm, as in the published code, and nowhere else.
        """
        encoded, statistics = self.encode(regions, batch_statistics=batch_statistics)
        return self.pool(encoded, lengths), statistics

    def encode(self, regions: Tensor, *, batch_statistics: bool) -> tuple[Tensor, Tensor]:
        """Regions in the common space, (B, R, D), and the statistics that `update` wants."""
        encoded: tuple[Tensor, Tensor] = self.perceptron(regions, batch_statistics=batch_statistics)
        return encoded

    def pool(self, encoded: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Unit vectors (B, D) of regions in the common space, (B, R, D)."""
        return l2_normalize(self.pooling(encoded, lengths))

    def update(self, statistics: Tensor) -> None:
        """Take the statistics of a batch into the running ones."""
        self.perceptron.update(statistics)


class PooledBERT(nn.Module):
    """Word pieces through BERT and a linear map, pooled, [CLS] and [SEP] included, and normalised."""

    def __init__(self, bert: BertModel, dim: int, pool_width: int) -> None:
        super().__init__()
        self.bert = bert
        self.projection = nn.Linear(bert.config.hidden_size, dim)
        self.pooling = GPO(pool_width)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Unit vectors (B, D) of `ids` (B, L), 0 after `lengths` (B,).

        Raises UserError for a caption of more word pieces than BERT has positions.
        """
        return l2_normalize(self.pooling(self.words(ids, lengths), lengths))

    def words(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Vectors of the word pieces in the common space, (B, longest, D)."""
        longest, places = shares.longest(lengths), self.bert.config.max_position_embeddings
        if longest > places:
            raise UserError(
                f"field 'model.bert.max_position': found {places}, a caption has {longest} word pieces"
            )
        ids = ids[:, :longest]
        # by id and not by length: a word that was replaced with [PAD] (user.md 6) is hidden, as published (user.md 3.2)
        output = self.bert(input_ids=ids, attention_mask=ids.ne(self.bert.config.pad_token_id).long())
        words: Tensor = self.projection(output.last_hidden_state)
        return words


class PooledGRU(nn.Module):
    """Words through a bidirectional GRU, pooled, start and end included, and normalised."""

    def __init__(self, vocab_size: int, word_dim: int, dim: int, pool_width: int) -> None:
        super().__init__()
        self.words = GRUEncoder(vocab_size, word_dim, dim, normalize=False)
        self.pooling = GPO(pool_width)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Unit vectors (B, D) of `ids` (B, L), 0 after `lengths` (B,)."""
        return l2_normalize(self.pooling(self.words(ids, lengths), lengths))
