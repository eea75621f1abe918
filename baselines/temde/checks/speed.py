"""Cases of `rematch time scoring temde` and `time training temde`: the host's, with sketches of the same width.

Sketches are made once an item, in encoding (temde.md 7); scoring pairs of them is what the host does (temde.md 3.3).
What the exchange saves is timed by `rematch study temde-latency`.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from baselines.sgraf.checks.speed import make_cases, make_training_cases
from baselines.sgraf.model import SGRAF
from baselines.temde.build import build_temde
from baselines.temde.model import TEMDEConfig
from benchmark.method import DataFacts, ScoringCase, TrainingCase


def scoring_cases(device: torch.device) -> Iterator[ScoringCase]:
    """Yield the cases of both hosts."""
    return make_cases(full_size, device)


def training_cases(device: torch.device) -> Iterator[TrainingCase]:
    """Yield the cases of both hosts; pairs are scored as the host's authors do."""
    return make_training_cases(full_size, device)


def full_size(module: str, vocabulary: int) -> SGRAF:
    """Build T-EMDE on a host, with the default sketch."""
    return build_temde(TEMDEConfig.model_validate({"module": module}), DataFacts(vocab_size=vocabulary))
