"""Region features into the common space, by a linear map and a perceptron (rcar.md 3.1, user.md 3.1)."""

from __future__ import annotations

from torch import Tensor, nn

from baselines.layers.batch_norm import BatchNorm
from baselines.layers.norms import l2_normalize, xavier_linear


class RegionPerceptron(nn.Module):
    """Regions into the common space: a linear map and a two-layer perceptron, added and normalised."""

    def __init__(self, region_dim: int, dim: int, *, normalize: bool) -> None:
        super().__init__()
        self.normalize = normalize
        self.projection = xavier_linear(region_dim, dim)
        self.hidden = nn.Linear(region_dim, dim // 2)
        self.hidden_norm = BatchNorm(dim // 2)
        self.output = nn.Linear(dim // 2, dim)
        self.output_norm = BatchNorm(dim)  # published models have it and never apply it

    def forward(self, regions: Tensor, *, batch_statistics: bool) -> tuple[Tensor, Tensor]:
        """Unit vectors (B, R, D) of features (B, R, region_dim), and the statistics that `update` wants."""
        hidden = self.hidden(regions)  # (B, R, D / 2)
        flat, statistics = self.hidden_norm(hidden.flatten(0, 1), batch_statistics=batch_statistics)
        encoded: Tensor = self.projection(regions) + self.output(flat.relu().view(hidden.shape))
        return l2_normalize(encoded) if self.normalize else encoded, statistics

    def update(self, statistics: Tensor) -> None:
        """Take the statistics of a batch into the running ones."""
        self.hidden_norm.update(statistics)
