"""Linear layers with what follows them in one pass, where that pays: without gradient, in float32, by AVX-512.

There, oneDNN multiplies narrow layers faster than the library behind PyTorch's own product, and applies an activation
while the products are in the cache (speed.md 6). Elsewhere, on processors with AVX2 too, where oneDNN takes up to 90 %
more time, it is PyTorch's linear layer, then the activation in place (speed.md 4).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Activation = Literal["none", "relu", "sigmoid", "tanh"]

WORTH = 2**23
"""Multiplications from which on a call of oneDNN is worth its own time, about 13 microseconds."""

WIDE_VECTORS = "AVX512" in torch.backends.cpu.get_cpu_capability()
"""Whether the processor has vectors of 512 bits; with 256, the library behind PyTorch's own product is the faster."""

_WINS = WIDE_VECTORS and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
_FUSED = getattr(torch.ops.mkldnn, "_linear_pointwise", None) if _WINS else None


def dense(
    inputs: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    activation: Activation = "none",
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Return the activation of inputs W' + b (*, m), for inputs (*, k), weight (m, k) and bias (m,).

    `dtype`: the type of the result, in which the activation is taken; None: that of the product.
    """
    if _FUSED is not None and inputs.numel() * len(weight) >= WORTH and _is_plain(inputs, weight):
        fused: Tensor = _FUSED(inputs, weight, bias, activation, [], "")
        return fused
    values = F.linear(inputs, weight, bias).to(dtype)
    if activation == "none":
        return values
    return {"relu": torch.relu_, "sigmoid": torch.sigmoid_, "tanh": tanh_}[activation](values)


def dense_rows(
    inputs: Tensor,
    weight: Tensor,
    bias: Tensor,
    activation: Activation = "none",
    *,
    scale: float = 1.0,
    dtype: torch.dtype | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """Return the activation of scale (inputs W' + b), as `dense` does, where there are many rows of inputs.

    `out` (*, m), contiguous, takes the result where nothing else would; it may be left as it is.
    """
    if WIDE_VECTORS or not _is_plain(inputs, weight):
        if scale != 1:
            weight, bias = scale * weight, scale * bias
        return dense(inputs, weight, bias, activation, dtype)
    scale *= 2 if activation == "tanh" else 1
    flat = inputs.reshape(-1, inputs.shape[-1])
    into = None if out is None else out.view(len(flat), len(weight))
    values = torch.addmm(bias, flat, weight.mT, beta=scale, alpha=scale, out=into)
    if activation == "tanh":  # 2 sigmoid(2 x) - 1, which takes half the time on a CPU
        torch.add(values.new_tensor(-1.0), values.sigmoid_(), alpha=2, out=values)
    elif activation != "none":
        {"relu": torch.relu_, "sigmoid": torch.sigmoid_}[activation](values)
    return values.view(*inputs.shape[:-1], len(weight))


def _is_plain(inputs: Tensor, weight: Tensor) -> bool:
    """Return True in float32 on a CPU, without gradient and autocast."""
    float32 = inputs.dtype == weight.dtype == torch.float32
    plain = float32 and inputs.device.type == "cpu"
    return plain and not torch.is_grad_enabled() and not torch.is_autocast_enabled("cpu")


def tanh_(values: Tensor) -> Tensor:
    """Take tanh in place; without gradient as 2 sigmoid(2 x) - 1, which takes half the time on a CPU."""
    if torch.is_grad_enabled():
        return values.tanh_()
    return values.mul_(2).sigmoid_().mul_(2).sub_(1)
