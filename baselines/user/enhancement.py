"""Semantic enhancement: a vector of the whole image is added to each region, as far as it concerns it (user.md 3.1)."""

from __future__ import annotations

from torch import Tensor, nn

from baselines.layers.norms import l2_normalize
from baselines.layers.self_attention_pooling import SelfAttentionPooling


class SelfGuidedEnhancement(nn.Module):
    """SGE: the whole image is what its regions attend to, their mean being the query.

    The branch of single regions has a batch norm with a channel for each of the `regions` places: their number is
    fixed, and their order counts.
    """

    def __init__(self, regions: int, dim: int, *, dropout: float, sharpness: float) -> None:
        super().__init__()
        self.sharpness = sharpness
        self.attention = SelfAttentionPooling(dim, tokens=regions, dropout=dropout)

    def forward(self, regions: Tensor, *, batch_statistics: bool) -> tuple[Tensor, dict[str, Tensor]]:
        """Enhanced features (B, R, D) of `regions` (B, R, D), and the statistics that `update` wants."""
        guide, statistics = self.attention(regions, batch_statistics=batch_statistics)  # (B, D)
        return regions + region_gate(regions, guide, self.sharpness)[..., None] * guide[:, None], statistics

    def update(self, statistics: dict[str, Tensor]) -> None:
        """Take the statistics of a batch into the running ones."""
        self.attention.update(statistics)


def region_gate(regions: Tensor, guide: Tensor, sharpness: float) -> Tensor:
    """How much of the guide (B, D) each of the regions (B, R, D) takes: a softmax over them, its L2 norm 1; (B, R).

    sharpness: the published `attention_lamda`. The features are taken as they are, not normalised.
    """
    products = (regions @ guide[..., None]).squeeze(2)  # (B, R)
    return l2_normalize((sharpness * products).softmax(1))
