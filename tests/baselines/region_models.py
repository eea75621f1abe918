"""Batches of regions and words for small RCARs and SGRAFs, and weights that are not at their initial values."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from benchmark.batches import CaptionBatch, ImageBatch, PairBatch
from benchmark.method import Progress, TripletLoss

VOCABULARY = 40
REGIONS, REGION_DIM = 6, 14
SIZES = {"regions": REGIONS, "region_dim": REGION_DIM, "dim": 16, "sim_dim": 8, "word_dim": 10}


def unsettle(model: nn.Module) -> None:
    """Move biases and statistics away from their initial values."""
    for name, tensor in model.state_dict().items():
        if name.endswith(("bias", "running_mean")):
            tensor.add_(0.2 * torch.randn_like(tensor))
        elif name.endswith(("norm.weight", "running_var")):
            tensor.mul_(0.5 + torch.rand_like(tensor))


def images(count: int, seed: int = 1) -> ImageBatch:
    generator = torch.Generator().manual_seed(seed)
    return ImageBatch(torch.randn(count, REGIONS, REGION_DIM, generator=generator), torch.arange(count))


def captions(lengths: list[int], seed: int = 2, width: int = 12) -> CaptionBatch:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, VOCABULARY, (len(lengths), width), generator=generator)
    true = torch.tensor(lengths)
    ids[torch.arange(width) >= true[:, None]] = 0
    return CaptionBatch(ids, true, torch.arange(len(lengths)))


def pairs(lengths: list[int]) -> PairBatch:
    return PairBatch(images(len(lengths)), captions(lengths))


def progress(**loss: Any) -> Progress:
    return Progress(epoch=0, step=0, stage=0, loss=TripletLoss.model_validate(loss))
