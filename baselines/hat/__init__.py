"""HAT: hierarchical alignment transformers (docs/papers/hat.md 1); the notes on fidelity are in README.md."""

from baselines.hat.build import build_hat, pretrained_parts
from baselines.hat.checkpoint import read_official
from baselines.hat.checks.parity import parity_cases
from baselines.hat.checks.speed import scoring_cases
from baselines.hat.model import HATConfig, HATLoss, inputs
from benchmark.method import Method

METHOD = Method(
    name="hat",
    title="HAT",
    config=HATConfig,
    loss=HATLoss,
    inputs=inputs,
    build=build_hat,
    parity_cases=parity_cases,
    read_official=read_official,
    pretrained_parts=pretrained_parts,
    scoring_cases=scoring_cases,
)
