"""USER: unified semantic enhancement with momentum contrast (user.md 3, 4, 5); notes on fidelity: README.md."""

from baselines.user.checkpoint import read_official
from baselines.user.checks.parity import parity_cases
from baselines.user.checks.speed import training_cases
from baselines.user.model import USER, UserConfig, UserLoss, check_batch, inputs, pretrained_parts
from benchmark.method import Method

METHOD = Method(
    name="user",
    title="USER",
    config=UserConfig,
    loss=UserLoss,
    inputs=inputs,
    build=USER,
    parity_cases=parity_cases,
    read_official=read_official,
    pretrained_parts=pretrained_parts,
    check_batch=check_batch,
    training_cases=training_cases,
)
