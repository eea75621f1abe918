"""The contrastive losses of dual encoders: CLIP's softmax over rows and columns, SigLIP's sigmoid of every pair."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy, logsigmoid

from benchmark.strict import Strict


class ContrastiveLoss(Strict):
    """The loss of a batch's cosines (B, B), with the model's own temperature, which is learnt."""

    kind: Literal["softmax", "sigmoid"] = "softmax"
    """`softmax`: each image chooses among the captions and each caption among the images; `sigmoid`: every pair on its
    own, with the model's bias."""
    largest_scale: float | None = Field(default=100.0, gt=0)
    """The largest factor of the cosines in `softmax`, as CLIP's training has it; None: no limit."""

    def __call__(self, cosines: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
        """Return the loss of `cosines` (B, B), row = image, column = caption, S_ii matches.

        softmax, with z = scale * S:   L = (sum_i -log softmax(z_i.)_i + sum_j -log softmax(z_.j)_j) / 2B
        sigmoid, with z = scale * S + bias:   L = -sum_ij log sigmoid(y_ij z_ij) / B,   y_ij = 1 where i = j, else -1

        Another caption of the same image is a negative like any other.
        """
        if self.kind == "sigmoid":
            logits = cosines * scale if bias is None else cosines * scale + bias
            signs = 2 * torch.eye(len(cosines), device=cosines.device, dtype=cosines.dtype) - 1
            return -logsigmoid(signs * logits).sum() / len(cosines)
        limited = scale if self.largest_scale is None else scale.clamp(max=self.largest_scale)
        logits, own = cosines * limited, torch.arange(len(cosines), device=cosines.device)
        return (cross_entropy(logits, own) + cross_entropy(logits.T, own)) / 2
