"""Builds RCAR with fresh weights; nothing of it is pretrained, the region features are (rcar.md 3.8)."""

from __future__ import annotations

from baselines.rcar.model import RCAR, RCARConfig
from benchmark.method import DataFacts


def build_rcar(config: RCARConfig, facts: DataFacts) -> RCAR:
    """Build the model that `config` names for a vocabulary of `facts.vocab_size` words, `<mask>` included."""
    return RCAR(config, facts.vocab_size)
