"""Small dual-path models for tests, and their pieces."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from baselines.dualpath.build import build_dualpath
from baselines.dualpath.config import DualPathConfig, DualPathLoss
from baselines.dualpath.model import DualPath
from benchmark.batches import CaptionBatch, ImageBatch, PairBatch
from benchmark.method import DataFacts, Progress

TINY: dict[str, Any] = {
    "trunk": {"name": "small", "widths": [4], "out": 6, "moment_rate": 0.1},
    "text": {"positions": 8, "word_dim": 5, "widths": [3, 4, 5, 6, 7, 8], "units": [2, 1, 1, 1]},
    "dropout": 0.5,
    "image_size": 8,
    "stored_size": 8,
    "stored_quality": None,
    "train_transform": "plain",
    "vectors": "random",
    "candidates": 5,
}
WORDS, CLASSES = 9, 12


def model_of(seed: int = 0, **changes: Any) -> DualPath:
    """A tiny model in float64, with moments as after some training."""
    torch.manual_seed(seed)
    config = DualPathConfig.model_validate({**TINY, **changes})
    model = build_dualpath(config, DataFacts(vocab_size=WORDS, n_train_images=CLASSES)).double()
    for name, buffer in model.named_buffers():
        assert name.endswith(".moments")
        buffer.copy_(torch.rand_like(buffer) + torch.tensor([0.0, 0.5]))
    return model


def pairs(count: int = 6, seed: int = 1, candidates: int = 0) -> PairBatch:
    """Random pairs; captions of 0 to 8 words, at the left."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randn(count, 3, 8, 8, generator=generator).double() * 60
    extra: dict[str, Tensor] = {}
    if candidates:
        ids, _ = captions(candidates, generator)
        extra = {
            "candidates": ids,
            "candidate_captions": torch.arange(candidates) + 100,
            "candidate_images": torch.arange(candidates) % CLASSES,
        }
    ids, lengths = captions(count, generator)
    index = torch.arange(count)
    return PairBatch(ImageBatch(pixels, index), CaptionBatch(ids, lengths, index), extra)


def captions(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    lengths = torch.randint(0, 9, (count,), generator=generator)
    ids = torch.randint(1, WORDS + 1, (count, 8), generator=generator)
    return ids * (torch.arange(8) < lengths[:, None]), lengths


def progress(**loss: Any) -> Progress:
    return Progress(0, 0, 0, DualPathLoss.model_validate(loss))
