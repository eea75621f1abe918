"""RCAR: plug-and-play regulators of cross-attention (rcar.md 3); the notes on fidelity are in README.md."""

from baselines.rcar.checkpoint import read_official
from baselines.rcar.checks.parity import parity_cases
from baselines.rcar.checks.speed import scoring_cases, training_cases
from baselines.rcar.model import RCAR, RCARConfig, inputs
from benchmark.method import Method

METHOD = Method(
    name="rcar",
    title="RCAR",
    config=RCARConfig,
    inputs=inputs,
    build=RCAR,
    parity_cases=parity_cases,
    read_official=read_official,
    scoring_cases=scoring_cases,
    training_cases=training_cases,
)
