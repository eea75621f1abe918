"""HAT: hierarchical alignment transformers (docs/papers/hat.md 1); the notes on fidelity are in README.md."""

from baselines.hat.checkpoint import read_official
from baselines.hat.checks.parity import parity_cases
from baselines.hat.checks.speed import scoring_cases, training_cases
from baselines.hat.model import HAT, HATConfig, inputs, pretrained_parts
from benchmark.method import Method

METHOD = Method(
    name="hat",
    title="HAT",
    config=HATConfig,
    inputs=inputs,
    build=HAT,
    parity_cases=parity_cases,
    read_official=read_official,
    pretrained_parts=pretrained_parts,
    half_precision="float16",
    scoring_cases=scoring_cases,
    training_cases=training_cases,
)
