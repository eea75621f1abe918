"""Cases of `rematch time training vse_infty`: full-size steps of random pairs, scored as simply where published."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch

from baselines.published.random_pairs import VOCABULARY, WORD_PIECES, random_pairs
from baselines.vse_infty.model import VSEConfig, VSEInfinity
from benchmark.method import DataFacts, TrainingCase


def training_cases(device: torch.device) -> Iterator[TrainingCase]:
    """Yield both encoders of captions."""
    for text, vocabulary in (("bigru", VOCABULARY), ("bert", WORD_PIECES)):
        config = VSEConfig.model_validate({"text": text})
        yield TrainingCase(
            name=f"VSE-infinity ({text})",
            build=partial(VSEInfinity, config, DataFacts(vocab_size=vocabulary)),
            batch=partial(random_pairs, device=device, vocabulary=vocabulary),
        )
