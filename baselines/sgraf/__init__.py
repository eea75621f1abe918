"""SAF, SGR and their ensemble SGRAF (sgraf.md 3); the notes on fidelity are in README.md."""

from baselines.sgraf.checkpoint import read_official
from baselines.sgraf.checks.parity import parity_cases
from baselines.sgraf.checks.speed import scoring_cases, training_cases
from baselines.sgraf.model import SGRAF, SGRAFConfig, inputs
from benchmark.method import Method

METHOD = Method(
    name="sgraf",
    title="SGRAF",
    config=SGRAFConfig,
    inputs=inputs,
    build=SGRAF,
    parity_cases=parity_cases,
    read_official=read_official,
    scoring_cases=scoring_cases,
    training_cases=training_cases,
)
