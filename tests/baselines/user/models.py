"""Small USERs and VSE-infinities, and batches for the tests."""

from __future__ import annotations

import torch

from baselines.user.model import USER, UserConfig, UserLoss
from baselines.vse_infty.model import VSEConfig, VSEInfinity
from benchmark.batches import CaptionBatch, ImageBatch, PairBatch
from benchmark.method import DataFacts, Progress

VOCABULARY = 40
REGIONS, REGION_DIM = 7, 10
BERT = {"layers": 2, "hidden": 16, "heads": 2, "intermediate": 24, "max_position": 16, "dropout": 0.1}
SIZES = {"regions": REGIONS, "region_dim": REGION_DIM, "dim": 12, "pool_width": 8, "bert": BERT}
LENGTHS = [5, 8, 3, 12]


def user_config(**changes: object) -> UserConfig:
    return UserConfig.model_validate({**SIZES, "queue": 8, "momentum": 0.9, **changes})


def tiny_user(seed: int = 0, **changes: object) -> USER:
    """A tiny USER with random weights, in train mode."""
    torch.manual_seed(seed)
    return USER(user_config(**changes), DataFacts(vocab_size=VOCABULARY))


def tiny_vse(seed: int = 0, **changes: object) -> VSEInfinity:
    """A tiny VSE-infinity with random weights, in train mode."""
    torch.manual_seed(seed)
    settings = VSEConfig.model_validate({**SIZES, "word_dim": 6, **changes})
    return VSEInfinity(settings, DataFacts(vocab_size=VOCABULARY))


def images(count: int, seed: int = 1, guide_dim: int | None = None) -> ImageBatch:
    generator = torch.Generator().manual_seed(seed)
    regions = torch.randn(count, REGIONS, REGION_DIM, generator=generator)
    guides = None if guide_dim is None else torch.randn(count, guide_dim, generator=generator)
    return ImageBatch(regions, torch.arange(count), guides=guides)


def captions(lengths: list[int], seed: int = 2, width: int | None = None) -> CaptionBatch:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, VOCABULARY, (len(lengths), max(lengths)), generator=generator)
    ids = torch.nn.functional.pad(ids, (0, (width or max(lengths)) - max(lengths)))
    true = torch.tensor(lengths)
    ids[torch.arange(ids.shape[1]) >= true[:, None]] = 0
    return CaptionBatch(ids, true, torch.arange(len(lengths)))


def pairs(lengths: list[int] = LENGTHS, seed: int = 1, guide_dim: int | None = None) -> PairBatch:
    return PairBatch(images(len(lengths), seed, guide_dim), captions(lengths, seed + 100))


def progress(**loss: float) -> Progress:
    return Progress(epoch=0, step=0, stage=0, loss=UserLoss.model_validate(loss))
