"""Cases of `rematch time training user`: full-size steps of random pairs; what is published scores pairs as simply."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch

from baselines.published.random_pairs import WORD_PIECES, random_pairs
from baselines.user.model import USER, UserConfig, UserLoss
from benchmark.method import DataFacts, TrainingCase


def training_cases(device: torch.device) -> Iterator[TrainingCase]:
    """Yield USER with self-guided enhancement, its momentum encoders and its queues."""
    yield TrainingCase(
        name="USER (SGE)",
        build=partial(USER, UserConfig(), DataFacts(vocab_size=WORD_PIECES)),
        batch=partial(random_pairs, device=device, vocabulary=WORD_PIECES),
        loss=UserLoss(),
    )
