"""Norms (sgraf.md 3, rcar.md 3) and initial weights (sgraf.md 3.8, rcar.md 3.8); a norm's eps comes after its root."""

from __future__ import annotations

import torch
from torch import Tensor, nn

EPS = 1e-8


def l2_normalize(vectors: Tensor, dim: int = -1) -> Tensor:
    """Return vectors / (sqrt(sum of squares along `dim`) + 1e-8); a vector of zeros stays, with a finite gradient.

    Half precision comes back as float32: rounded to eight bits, a vector's length is off by as much as scores differ.
    """
    vectors = widen(vectors)
    norms: Tensor = torch.linalg.vector_norm(vectors, dim=dim, keepdim=True)
    return vectors * (norms + EPS).reciprocal()


def widen(values: Tensor) -> Tensor:
    """Return half precision as float32, and anything wider as it is."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def l1_normalize(weights: Tensor, dim: int = -1) -> Tensor:
    """Return weights / (sum of absolutes along `dim` + 1e-8)."""
    return weights / (weights.abs().sum(dim, keepdim=True) + EPS)


def xavier_linear(inputs: int, outputs: int, *, bias: bool = True) -> nn.Linear:
    """A linear layer with weights from U(-r, r), r = sqrt(6 / (inputs + outputs)), and a bias of 0."""
    layer = nn.Linear(inputs, outputs, bias=bias)
    nn.init.xavier_uniform_(layer.weight)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer
