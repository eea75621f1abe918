"""The losses: sums over a batch (dualpath.md 4)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from baselines.layers.norms import widen

IGNORED = -1
"""The class of a sample that the instance loss passes over; 0 in the published code, which counts from 1."""


def instance_loss(logits: Tensor, classes: Tensor) -> Tensor:
    """Cross-entropy of logits (B, n_classes), summed over the samples that have a class.

    In float32: of tens of thousands of classes, the share of one is lost in eight bits.
    """
    return F.cross_entropy(widen(logits), classes, ignore_index=IGNORED, reduction="sum")


def ranking_loss(images: Tensor, captions: Tensor, margin: float) -> Tensor:
    """Unit rows (B, D), B even: the first half are pairs, the second half holds each pair's negatives; summed.

    One negative caption and one negative image a pair. A hinge that is exactly zero has no gradient.
    """
    half = len(images) // 2
    image, caption = images[:half], captions[:half]
    positive = (image * caption).sum(1)  # (B / 2,)
    wrong_caption = (image * captions[half:]).sum(1)
    wrong_image = (caption * images[half:]).sum(1)
    return ((margin - positive + wrong_caption).relu() + (margin - positive + wrong_image).relu()).sum()


def ranking_features(features: Tensor) -> Tensor:
    """Features (B, D) after their ReLU, scaled to unit length (dualpath.md 3.5).

    In float32: the margin is held against differences of their products.
    """
    positive = widen(features).relu()
    return positive * (positive.square().sum(1, keepdim=True) + 1e-8).rsqrt()


def hardest(images: Tensor, candidates: Tensor) -> Tensor:
    """For each of (h, D) the row of the candidate (K, D) with the highest product, the first of equal ones; (h,)."""
    return torch.argmax(images @ candidates.T, dim=1)
