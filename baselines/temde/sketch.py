"""The sketch of a set of vectors: how many of them lie in which part of the space, made soft (temde.md 3.3).

N partitions of the space into K parts each; every vector is shared out over the K parts of each partition, and the
shares of all vectors are added up. The cost is linear in the number of vectors. No authors' code is known: what
temde.md 3.3 assumes is the default, what temde.md 3.4 calls uncertain is a field of `SketchConfig`.
"""

from __future__ import annotations

import math
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.attention.tiles import wide_type
from baselines.layers.norms import l2_normalize, xavier_linear
from benchmark.errors import UserError
from benchmark.strict import Strict

ROW_EPS = 1e-6
"""Added to the 2-norm of a row, as EMDE does where a sketch is a network's input (temde.md 3.2)."""


class SketchConfig(Strict):
    """The sketch, and its place in the host; the defaults are the reconstruction (temde.md 3.3, 3.4)."""

    depth: int = Field(default=8, ge=1)
    """N, partitions of the space."""
    width: int = Field(default=128, ge=2)
    """K, parts of a partition; with `hyperplane` a power of two."""
    assignment: Literal["softmax", "hyperplane", "hard"] = "softmax"
    """The rule that shares a vector out over K parts. `softmax`: by its logits with K codewords. `hyperplane`: by the
    sides of log2 K hyperplanes that it lies on. `hard`: all to the largest logit, with the gradient of the softmax."""
    logit: Literal["dot", "distance"] = "dot"
    """The logit with a codeword: product, or negative squared distance; with a hyperplane always the product."""
    temperature: float = Field(default=1.0, gt=0)
    """tau, the divisor of the logits; its initial value where it is not fixed."""
    temperature_rule: Literal["fixed", "learned", "annealed"] = "fixed"
    """`learned`: as the exponential of a parameter. `annealed`: geometrically to `final_temperature`."""
    final_temperature: float | None = Field(default=None, gt=0)
    """Temperature at the end of annealing."""
    anneal_steps: int | None = Field(default=None, ge=1)
    """Optimiser steps until then."""
    sharing: Literal["one", "per_modality"] = "one"
    """One codebook for images and captions, or one for each; then the same cell means another thing in each."""
    rows: Literal["mean", "l2", "sum"] = "mean"
    """The rule that makes sets of different sizes comparable. `mean`: shares over the number of vectors, so that a row
    sums to 1. `l2`: each row over its 2-norm. `sum`: nothing."""
    final_l2: bool = True
    """L2 norm of the flattened sketch, with which the block that it replaces also ends."""
    comparison: Literal["squared_difference", "product", "absolute_difference", "concatenation"] = (
        "squared_difference"
    )
    """Comparison of two sketches that a linear layer turns into a pair's global node."""
    output_projection: bool = False
    """A linear layer from N K to the common space, after the final norm."""
    input_transform: bool = False
    """Linear layer, tanh and dropout before the codebook, as in the blocks that it replaces."""
    transform_dropout: float = Field(default=0.4, ge=0, lt=1)
    """Dropout rate of `input_transform`."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout rate of the cells, before the final norm."""
    scope: Literal["both", "image", "text"] = "both"
    """The side that has a sketch; the other keeps its self-attention, so both vectors must have one width."""
    placement: Literal["replace", "in_addition"] = "replace"
    """The sketch's place: instead of the self-attention, or beside it, as a second global node."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.assignment == "hyperplane":
            if self.width & (self.width - 1):
                below = 2 ** (self.width.bit_length() - 1)
                raise UserError(
                    f"field 'model.sketch.width': found {self.width}, expected a power of two with assignment "
                    f"'hyperplane'; the nearest are {below} and {2 * below}"
                )
            if self.logit == "distance":
                raise UserError(
                    "field 'model.sketch.logit': found 'distance', expected 'dot' with assignment 'hyperplane'"
                )
        if self.sharing == "per_modality" and self.scope != "both":
            raise UserError(
                f"field 'model.sketch.sharing': found 'per_modality', expected 'one' with scope '{self.scope}'"
            )
        for name in ("final_temperature", "anneal_steps"):
            if (getattr(self, name) is not None) != (self.temperature_rule == "annealed"):
                raise UserError(
                    f"field 'model.sketch.{name}': found {getattr(self, name)!r} with temperature_rule "
                    f"'{self.temperature_rule}'; 'annealed' needs it, the others have none"
                )
        return self

    @property
    def cells(self) -> int:
        """N K."""
        return self.depth * self.width

    @property
    def planes(self) -> int:
        """H, hyperplanes of a partition: log2 K."""
        return self.width.bit_length() - 1


class Sketch(nn.Module):
    """Vectors (B, T, D) -> the sketch of each set as one vector.

    `weight` (N K, D) and `bias` (N K): codeword k of partition n in row n K + k. With hyperplanes (N H, D) and
    (N H): hyperplane h of partition n in row n H + h, and `bias` is the threshold with its sign changed.
    """

    log_temperature: Tensor
    """Present if the temperature is not fixed."""
    bits: Tensor
    """With hyperplanes (K, H): the side of each on which part k lies; the first one is the most significant bit."""

    def __init__(self, config: SketchConfig, dim: int, *, bias: bool = True) -> None:
        """`bias`: of the layers of `input_transform` and `output_projection`; a codebook always has one."""
        super().__init__()
        self.config = config
        rows = config.depth * (config.planes if config.assignment == "hyperplane" else config.width)
        # standard normal: with unit vectors every logit then starts with variance 1. The usual Xavier start leaves
        # all sketches all but uniform, and the signal about 2,000 times weaker than the host's (temde.md 3.3)
        self.weight = nn.Parameter(torch.randn(rows, dim))
        self.bias = nn.Parameter(torch.zeros(rows))
        if config.logit == "distance":  # else the codeword nearest to the origin would take every vector
            self.bias.data.copy_(self.weight.detach().square().sum(1))
        self.transform = xavier_linear(dim, dim, bias=bias) if config.input_transform else None
        self.projection = xavier_linear(config.cells, dim, bias=bias) if config.output_projection else None
        self._init_temperature()
        if config.assignment == "hyperplane":
            parts, planes = torch.arange(config.width)[:, None], torch.arange(config.planes - 1, -1, -1)
            self.register_buffer("bits", (parts >> planes & 1).float(), persistent=False)

    def _init_temperature(self) -> None:
        start = torch.tensor(math.log(self.config.temperature))
        if self.config.temperature_rule == "learned":
            self.log_temperature = nn.Parameter(start)
        elif self.config.temperature_rule == "annealed":
            self.register_buffer("log_temperature", start)

    @property
    def out_dim(self) -> int:
        """Width of a set's vector."""
        return self.config.cells if self.projection is None else self.projection.out_features

    @torch.no_grad()
    def anneal(self, step: int) -> None:
        """Set the temperature for optimiser step `step` (from 0), where it is annealed."""
        config = self.config
        if config.final_temperature is None or config.anneal_steps is None:
            return
        share = min(step / config.anneal_steps, 1.0)
        start, end = math.log(config.temperature), math.log(config.final_temperature)
        self.log_temperature.fill_((1 - share) * start + share * end)

    def forward(self, vectors: Tensor, padding: Tensor | None = None) -> Tensor:
        """The vector (B, N K), or (B, D) with a projection, of each set (B, T, D).

        `padding` (B, T): true for places that do not count.
        """
        cells = self.histogram(vectors, padding).flatten(1)  # (B, N K), row n before row n + 1
        cells = F.dropout(cells, self.config.dropout, self.training)
        if self.config.final_l2:
            cells = l2_normalize(cells)
        if self.projection is not None:
            cells = self.projection(cells)
        return cells

    def histogram(self, vectors: Tensor, padding: Tensor | None = None) -> Tensor:
        """S (B, N, K) of sets (B, T, D): the shares of the vectors that count, added up and made comparable."""
        shares = self.shares(vectors)  # (B, T, N, K)
        if padding is not None:
            shares = shares.masked_fill(padding[:, :, None, None], 0)
        sums = shares.sum(1)  # (B, N, K)
        if self.config.rows == "mean":
            sums = sums / (vectors.shape[1] if padding is None else (~padding).sum(1)[:, None, None])
        elif self.config.rows == "l2":
            sums = sums / (torch.linalg.vector_norm(sums, dim=2, keepdim=True) + ROW_EPS)
        return sums

    def shares(self, vectors: Tensor) -> Tensor:
        """The shares a (B, T, N, K) of vectors (B, T, D): how each is shared out over the parts of each partition."""
        logits = self.logits(vectors)
        soft = logits.softmax(3)
        if self.config.assignment != "hard":
            return soft
        hard = F.one_hot(logits.argmax(3), self.config.width).to(soft.dtype)
        return hard + (soft - soft.detach())  # the difference is 0, and has the gradient

    def logits(self, vectors: Tensor) -> Tensor:
        """The logits z (B, T, N, K) of vectors (B, T, D), divided by the temperature."""
        config = self.config
        if self.transform is not None:
            vectors = F.dropout(self.transform(vectors).tanh(), config.transform_dropout, self.training)
        if config.logit == "distance":
            # -|x - c|^2 + b but for -|x|^2, which is constant along k
            products = F.linear(vectors, 2 * self.weight, self.bias - self.weight.square().sum(1))
        else:
            products = F.linear(vectors, self.weight, self.bias)
        products = products.to(wide_type(products)) / self._temperature()
        products = products.view(*products.shape[:2], config.depth, -1)  # (B, T, N, K or H)
        if config.assignment == "hyperplane":
            # the product over h of p_h or 1 - p_h is a softmax over k: log p_h - log (1 - p_h) is the logit of p_h
            with torch.autocast(products.device.type, enabled=False):
                products = products @ self.bits.to(products.dtype).mT  # (B, T, N, K)
        return products

    def _temperature(self) -> Tensor | float:
        if self.config.temperature_rule == "fixed":
            return self.config.temperature
        return self.log_temperature.exp()
