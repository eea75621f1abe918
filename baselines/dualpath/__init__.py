"""The dual-path CNN with instance loss (docs/papers/dualpath.md 1); notes on fidelity are in README.md."""

from baselines.dualpath.build import build_dualpath, pretrained_parts
from baselines.dualpath.checkpoint import read_official
from baselines.dualpath.checks.parity import parity_cases
from baselines.dualpath.config import DualPathConfig, DualPathLoss, inputs
from baselines.dualpath.split import FLICKR8K
from benchmark.method import Method

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
    splits=(FLICKR8K,),
)
