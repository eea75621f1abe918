"""Semantic enhancement: a vector of the whole image is added to each region, as far as it concerns it (user.md 3.1).

The vector is what the regions attend to together (SGE), or made of an image vector of a pretrained CLIP (CGE).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from baselines.layers.batch_norm import BatchNorm
from baselines.layers.norms import l2_normalize, widen
from baselines.layers.self_attention_pooling import SelfAttentionPooling
from benchmark.strict import Strict


class GuideConfig(Strict):
    """The guide of `cge`, never released (user.md 3.5). Each choice but `dim` is UNCERTAIN; defaults are the likeliest.

    The author's list of layers: BatchNorm1d(512), Linear(512, D), BatchNorm1d(D), Linear(D, D), "activations to be
    added".
    """

    dim: int = Field(default=512, ge=1)
    """Width of a CLIP vector: that of ViT-B/32 and of ViT-B/16."""
    width: Literal["regions", "space"] = "regions"
    """D, and what the guide is added to. `regions`: the raw regions, as the gate of the released code has it, and D
    their width; `space`: the regions in the common space, and D its width, which is what "embed_size", the name in the
    author's list, is elsewhere in the code."""
    activation: Literal["relu", "tanh", "gelu", "none"] = "relu"
    """`relu` is that of the perceptron in the same encoder, whose layers are of the same kinds in the same order
    (linear, batch norm, linear); `tanh` is that of SGE's branches."""
    place: Literal["between", "end", "both"] = "between"
    """After the second batch norm, at the end, or both. At the end of a perceptron is none elsewhere in the model, and
    a guide without negative numbers would lie in one orthant."""
    normalize: bool = True
    """L2, as SGE's guide is: a gate with a sharpness of 1 is made for a guide of length 1."""


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
        return add_guide(regions, guide, self.sharpness), statistics

    def update(self, statistics: dict[str, Tensor]) -> None:
        """Take the statistics of a batch into the running ones."""
        self.attention.update(statistics)


class ProjectedGuide(nn.Module):
    """A CLIP vector of an image as the guide of its regions (user.md 3.5, UNCERTAIN)."""

    def __init__(self, config: GuideConfig, dim: int) -> None:
        super().__init__()
        self.config = config
        self.input_norm = BatchNorm(config.dim)
        self.hidden = nn.Linear(config.dim, dim)
        self.hidden_norm = BatchNorm(dim)
        self.output = nn.Linear(dim, dim)
        kinds = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU, "none": nn.Identity}
        self.activation = kinds[config.activation]()

    def forward(self, vectors: Tensor, *, batch_statistics: bool) -> tuple[Tensor, dict[str, Tensor]]:
        """Guides (B, D) of CLIP vectors (B, dim), and the statistics that `update` wants."""
        place, statistics = self.config.place, {}
        found, statistics["guide_input"] = self.input_norm(vectors, batch_statistics=batch_statistics)
        found, statistics["guide_hidden"] = self.hidden_norm(
            self.hidden(found), batch_statistics=batch_statistics
        )
        found = self.output(self.activation(found) if place != "end" else found)  # (B, D)
        if place != "between":
            found = self.activation(found)
        return l2_normalize(found) if self.config.normalize else found, statistics

    def update(self, statistics: dict[str, Tensor]) -> None:
        """Take the statistics of a batch into the running ones."""
        self.input_norm.update(statistics["guide_input"])
        self.hidden_norm.update(statistics["guide_hidden"])


def add_guide(regions: Tensor, guide: Tensor, sharpness: float) -> Tensor:
    """Regions (B, R, D) with what each takes of the guide (B, D)."""
    return regions + region_gate(regions, guide, sharpness)[..., None] * guide[:, None]


def region_gate(regions: Tensor, guide: Tensor, sharpness: float) -> Tensor:
    """Return the share of the guide (B, D) that each of the regions (B, R, D) takes: a softmax, its L2 norm 1; (B, R).

    sharpness: the published `attention_lamda`. The features are taken as they are, not normalised.
    """
    products = (regions @ guide[..., None]).squeeze(2)  # (B, R)
    return l2_normalize((sharpness * widen(products)).softmax(1))  # differences of large products
