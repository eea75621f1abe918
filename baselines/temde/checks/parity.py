"""T-EMDE has no recordings, since no authors' code is known; with self-attention selected it must be its host."""

from __future__ import annotations

from baselines.sgraf.checks.parity import make_golden
from baselines.sgraf.model import SGRAF, SGRAFConfig
from baselines.temde.build import build_temde
from baselines.temde.model import TEMDEConfig
from benchmark.method import DataFacts


def build_host(config: SGRAFConfig, facts: DataFacts) -> SGRAF:
    """Build the model of this package that must be the host."""
    settings = {**config.model_dump(), "global_branch": "self_attention"}
    return build_temde(TEMDEConfig.model_validate(settings), facts)


parity_cases = make_golden(build_host)
