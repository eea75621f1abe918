"""VSE-infinity: generalised pooling (user.md A); the notes on fidelity are in README.md."""

from baselines.vse_infty.checkpoint import read_official
from baselines.vse_infty.checks.parity import parity_cases
from baselines.vse_infty.checks.speed import training_cases
from baselines.vse_infty.model import VSEConfig, VSEInfinity, inputs, pretrained_parts
from benchmark.method import Method

METHOD = Method(
    name="vse_infty",
    title="VSE-infinity",
    config=VSEConfig,
    inputs=inputs,
    build=VSEInfinity,
    parity_cases=parity_cases,
    read_official=read_official,
    pretrained_parts=pretrained_parts,
    training_cases=training_cases,
)
