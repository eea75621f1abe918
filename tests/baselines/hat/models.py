"""Small HATs and batches for the tests."""

from __future__ import annotations

import torch

from baselines.hat.model import HAT, HATConfig
from baselines.hat.swin import SwinConfig
from baselines.layers.bert import BERTConfig
from benchmark.batches import CaptionBatch, ImageBatch, PairBatch
from benchmark.method import DataFacts

VOCABULARY = 60


def tiny_config(direction: str = "i2t", **changes: object) -> HATConfig:
    """A HAT of the scenes recipes' kind: four BERT layers, six Swin blocks, 64 pixels."""
    settings: dict[str, object] = {
        "direction": direction,
        "hidden": 32,
        "image_size": 64,
        "train_transform": "plain",
        "test_transform": "resize",
        "max_text_length": 12,
        "text_layers": (2, 3, 4),
        "swin": SwinConfig(embed_dim=16, depths=(1, 1, 2, 1), num_heads=(1, 2, 4, 8)),
        "bert": BERTConfig(layers=4, hidden=32, heads=2, intermediate=64, max_position=16),
    }
    return HATConfig.model_validate({**settings, **changes})


def tiny_hat(direction: str = "i2t", seed: int = 0, **changes: object) -> HAT:
    """A tiny HAT with random weights, in eval mode."""
    torch.manual_seed(seed)
    return HAT(tiny_config(direction, **changes), DataFacts(vocab_size=VOCABULARY)).eval()


def images(count: int, seed: int = 1, size: int = 64) -> ImageBatch:
    generator = torch.Generator().manual_seed(seed)
    return ImageBatch(torch.randn(count, 3, size, size, generator=generator), torch.arange(count))


def captions(lengths: list[int], seed: int = 2, width: int = 12) -> CaptionBatch:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, VOCABULARY, (len(lengths), width), generator=generator)
    true = torch.tensor(lengths)
    ids[torch.arange(width) >= true[:, None]] = 0
    return CaptionBatch(ids, true, torch.arange(len(lengths)))


def pairs(lengths: list[int]) -> PairBatch:
    return PairBatch(images(len(lengths)), captions(lengths))
