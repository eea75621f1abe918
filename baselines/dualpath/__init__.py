"""The dual-path CNN with instance loss (docs/papers/dualpath.md 1); notes on fidelity are in README.md."""

from baselines.dualpath.build import build_dualpath, pretrained_parts
from baselines.dualpath.config import DualPathConfig, DualPathLoss, inputs
from baselines.dualpath.official import read_official
from baselines.dualpath.parity import parity_cases
from benchmark.baseline import Method

METHOD = Method(
    name="dualpath",
    title="Dual-Path",
    config=DualPathConfig,
    loss=DualPathLoss,
    inputs=inputs,
    build=build_dualpath,
    parity_cases=parity_cases,
    read_official=read_official,
    pretrained_parts=pretrained_parts,
)
