"""Region features into the common space (sgraf.md 3.1)."""

from __future__ import annotations

from torch import Tensor, nn

from baselines.layers.norms import l2_normalize, xavier_linear


class RegionEncoder(nn.Module):
    """A linear layer and an L2 norm; no activation, no dropout, features as they come."""

    def __init__(self, region_dim: int, dim: int, *, normalize: bool = True, bias: bool = True) -> None:
        super().__init__()
        self.normalize = normalize
        self.projection = xavier_linear(region_dim, dim, bias=bias)

    def forward(self, regions: Tensor) -> Tensor:
        """Unit vectors (B, R, D) of region features (B, R, region_dim)."""
        projected: Tensor = self.projection(regions)
        return l2_normalize(projected) if self.normalize else projected
