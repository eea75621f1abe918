"""Branches in which SAF and SGR compare whole images with whole captions (sgraf.md 3.3, 3.5).

The published models have `SelfAttentionBranch`. Another method puts a branch of its own in its place; `SGRAF` asks
for no more than `GlobalBranch`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor, nn

from baselines.layers.norms import xavier_linear
from baselines.layers.self_attention_pooling import SelfAttentionPooling
from benchmark.batches import Codes


class GlobalBranch(Protocol):
    """An `nn.Module` with these members. B items, n images, C captions, D the common space, m a node's width."""

    nodes: int
    """The number of global nodes of a pair; they come before those of its words, and SGR scores the first."""

    def encode_images(
        self, regions: Tensor, *, batch_statistics: bool
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Codes of regions (B, R, D), each (B, ...), and the batch statistics that `update` wants."""
        ...

    def encode_captions(self, words: Tensor, padding: Tensor) -> dict[str, Tensor]:
        """Codes of words (B, L, D), zeros where `padding` (B, L), each (B, ...)."""
        ...

    @property
    def pair_floats(self) -> int:
        """Numbers of the largest array that one pair takes in `compare`."""
        ...

    def compare(self, images: Codes, captions: Codes) -> Tensor:
        """The nodes (n, C, nodes, m) of all pairs, not normalised."""
        ...

    def begin_step(self, step: int) -> None:
        """Once before optimiser step `step` (from 0), for what changes as training goes on."""
        ...

    def update(self, statistics: Mapping[str, Tensor]) -> None:
        """Take the statistics of a batch into the running ones, where there are any."""
        ...


class SelfAttentionBranch(nn.Module):
    """The published branch: both sides pooled by self-attention; one node from their squared difference."""

    nodes = 1

    def __init__(self, dim: int, sim_dim: int, *, regions: int, dropout: float, bias: bool) -> None:
        super().__init__()
        self.image_pooling = SelfAttentionPooling(dim, tokens=regions, dropout=dropout, bias=bias)
        self.caption_pooling = SelfAttentionPooling(dim, tokens=None, dropout=dropout, bias=bias)
        self.similarity = xavier_linear(dim, sim_dim, bias=bias)

    def encode_images(
        self, regions: Tensor, *, batch_statistics: bool
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """`global`: (B, D), a unit vector; the statistics of the pooling's batch norms."""
        pooled, statistics = self.image_pooling(regions, batch_statistics=batch_statistics)
        return {"global": pooled}, statistics

    def encode_captions(self, words: Tensor, padding: Tensor) -> dict[str, Tensor]:
        """`global`: (B, D), a unit vector."""
        return {"global": self.caption_pooling(words, padding)[0]}

    @property
    def pair_floats(self) -> int:
        """The numbers in the squared difference of a pair."""
        return self.similarity.in_features

    def begin_step(self, step: int) -> None:
        """Nothing changes but the weights."""

    def compare(self, images: Codes, captions: Codes) -> Tensor:
        """W (image - caption)^2 + b (n, C, 1, m)."""
        squares = (images["global"][:, None] - captions["global"]).square()  # (n, C, D)
        node: Tensor = self.similarity(squares)
        return node[:, :, None]

    def update(self, statistics: Mapping[str, Tensor]) -> None:
        """Update the image pooling by its statistics; captions have no batch norm."""
        self.image_pooling.update({name: statistics[name] for name in ("local", "query")})
