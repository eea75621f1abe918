"""T-EMDE has no recordings, since no authors' code is known; with self-attention selected it must be its host."""

from __future__ import annotations

from pathlib import Path

from baselines.sgraf.checks import parity
from baselines.sgraf.model import SGRAF, SGRAFConfig
from baselines.temde.build import build_temde
from baselines.temde.model import TEMDEConfig
from benchmark.method import DataFacts, ParityCase


def parity_cases(path: Path) -> list[ParityCase]:
    """Every recorded quantity of the host beside T-EMDE's without its sketch, as SGRAF's `parity_cases`."""
    return parity.parity_cases(path, build_host)


def build_host(config: SGRAFConfig, facts: DataFacts) -> SGRAF:
    """The model of this package that must be the host."""
    settings = {**config.model_dump(), "global_branch": "self_attention"}
    return build_temde(TEMDEConfig.model_validate(settings), facts)
