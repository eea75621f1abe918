"""T-EMDE on SAF and SGR, a reconstruction (temde.md 3.1, 3.3); the notes on fidelity are in README.md."""

from baselines.sgraf.model import inputs
from baselines.temde.build import build_temde, refuse_official
from baselines.temde.checks.latency import timing_groups
from baselines.temde.checks.parity import parity_cases
from baselines.temde.checks.speed import scoring_cases, training_cases
from baselines.temde.model import TEMDEConfig
from benchmark.method import Method

METHOD = Method(
    name="temde",
    title="T-EMDE",
    config=TEMDEConfig,
    inputs=inputs,
    build=build_temde,
    parity_cases=parity_cases,
    golden="sgraf",
    reconstruction=True,
    read_official=refuse_official,
    scoring_cases=scoring_cases,
    training_cases=training_cases,
    timing_groups=timing_groups,
)
