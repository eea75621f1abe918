"""Builds SAF and SGR with fresh weights; nothing of them is pretrained, the region features are (sgraf.md 3.8)."""

from __future__ import annotations

from baselines.sgraf.model import SGRAF, SGRAFConfig
from benchmark.method import DataFacts


def build_sgraf(config: SGRAFConfig, facts: DataFacts) -> SGRAF:
    """Build the model that `config` names for a vocabulary of `facts.vocab_size` words."""
    return SGRAF(config, facts.vocab_size)
