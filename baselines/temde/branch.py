"""T-EMDE's place in the host: sketches where SAF and SGR have self-attention (temde.md 3.1, 3.3, 3.4)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.layers.norms import xavier_linear
from baselines.sgraf.global_branch import SelfAttentionBranch
from baselines.temde.sketch import Sketch, SketchConfig
from benchmark.batches import Codes


class SketchBranch(nn.Module):
    """A `GlobalBranch` whose vectors are sketches; parts of the host's that it keeps have the host's names.

    By default those are the linear layer of the global node, where it fits: `similarity`. A side without a sketch
    keeps its pooling. With `placement: in_addition` the host's branch is whole, and the sketch has a linear layer of
    its own, `sketch_similarity`.
    """

    def __init__(self, config: SketchConfig, host: SelfAttentionBranch, *, bias: bool) -> None:
        super().__init__()
        self.config = config
        dim, sim_dim = host.similarity.in_features, host.similarity.out_features
        added = config.placement == "in_addition"
        self.nodes = 2 if added else 1
        self.image_pooling = host.image_pooling if added or config.scope == "text" else None
        self.caption_pooling = host.caption_pooling if added or config.scope == "image" else None
        self.sketch = Sketch(config, dim, bias=bias)
        self.caption_sketch = Sketch(config, dim, bias=bias) if config.sharing == "per_modality" else None
        width = self.sketch.out_dim * (2 if config.comparison == "concatenation" else 1)
        if added or width == dim:
            self.similarity = host.similarity
        else:
            self.similarity = xavier_linear(width, sim_dim, bias=bias)
        self.sketch_similarity = xavier_linear(width, sim_dim, bias=bias) if added else None

    @property
    def pair_floats(self) -> int:
        """Numbers of the largest array that one pair takes here."""
        return self.nodes * self.sketch.out_dim

    def begin_step(self, step: int) -> None:
        """Set the temperatures of optimiser step `step`, where they are annealed."""
        for sketch in (self.sketch, self.caption_sketch):
            if sketch is not None:
                sketch.anneal(step)

    def encode_images(
        self, regions: Tensor, *, batch_statistics: bool
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """`global` (B, V): the sketch; the host's vector where that is kept, and then `sketch` beside it."""
        codes, statistics = dict[str, Tensor](), dict[str, Tensor]()
        if self.image_pooling is not None:
            codes["global"], statistics = self.image_pooling(regions, batch_statistics=batch_statistics)
        if self.config.scope != "text":
            codes["sketch" if codes else "global"] = self.sketch(regions)
        return codes, statistics

    def encode_captions(self, words: Tensor, padding: Tensor) -> dict[str, Tensor]:
        """Return the same codes as `encode_images`, from words."""
        codes = dict[str, Tensor]()
        if self.caption_pooling is not None:
            codes["global"], _ = self.caption_pooling(words, padding)
        if self.config.scope != "image":
            codes["sketch" if codes else "global"] = (self.caption_sketch or self.sketch)(words, padding)
        return codes

    def compare(self, images: Codes, captions: Codes) -> Tensor:
        """Return the nodes (n, C, 1 or 2, m): the host's first, where it is kept."""
        layer = self.sketch_similarity or self.similarity
        sides = [codes["sketch" if "sketch" in codes.tensors else "global"] for codes in (images, captions)]
        nodes = [self._compare(layer, *sides)]
        if self.sketch_similarity is not None:
            nodes.insert(0, self.similarity((images["global"][:, None] - captions["global"]).square()))
        return torch.stack(nodes, dim=2)

    def _compare(self, layer: nn.Linear, image: Tensor, caption: Tensor) -> Tensor:
        """Nodes that `layer` makes of all pairs (n, C, m) of vectors (n, V) and (C, V)."""
        comparison, rows = self.config.comparison, image[:, None]  # (n, 1, V)
        if comparison == "concatenation":  # W [image; caption] is a sum, and needs no array of pairs
            of_image, of_caption = layer.weight.chunk(2, dim=1)
            return F.linear(rows, of_image) + F.linear(caption, of_caption, layer.bias)
        if comparison == "product":
            pairs = rows * caption  # (n, C, V)
        elif comparison == "absolute_difference":
            pairs = (rows - caption).abs()
        else:
            pairs = (rows - caption).square()
        node: Tensor = layer(pairs)
        return node

    def update(self, statistics: Mapping[str, Tensor]) -> None:
        """Update the host's image pooling by its statistics, where it is kept; a sketch has none."""
        if self.image_pooling is not None:
            self.image_pooling.update({name: statistics[name] for name in ("local", "query")})
