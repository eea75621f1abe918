"""The optimiser of a recipe: its kind, and groups of parameters with a learning rate of their own.

One optimiser holds all parameters from the start; those without a gradient are passed over, also by weight decay.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.optim import Optimizer

from benchmark.method import Baseline
from benchmark.recipe.training import Optimizer as Settings
from benchmark.training.stages import matching

FACTOR = "lr_factor"
"""The entry of a group of torch's optimiser that is the factor of the schedule's rate."""


def make_optimizer(model: Baseline, settings: Settings) -> Optimizer:
    """A fresh optimiser over all parameters, trained or not; raises UserError for a glob that matches none.

    On a CPU it is PyTorch's fused one, which passes over the memory once (speed.md 6); a checkpoint of another goes on
    as it began, since the choice is part of an optimiser's state.
    """
    groups, lr = parameter_groups(model, settings), settings.lr
    fused = all(parameter.device.type == "cpu" for parameter in model.parameters()) or None
    if settings.name == "sgd":
        momentum, nesterov = settings.momentum or 0.0, bool(settings.nesterov)
        return torch.optim.SGD(groups, lr=lr, momentum=momentum, nesterov=nesterov, fused=fused)
    if settings.name == "adamw":
        return torch.optim.AdamW(groups, lr=lr, betas=settings.betas, eps=settings.eps, fused=fused)
    return torch.optim.Adam(groups, lr=lr, betas=settings.betas, eps=settings.eps, fused=fused)


def parameter_groups(model: Baseline, settings: Settings) -> list[dict[str, Any]]:
    """The groups in the recipe's order, after the one that holds the rest; none is empty."""
    left = dict(model.named_parameters())
    known = list(left)
    groups = []
    for number, group in enumerate(settings.groups or []):
        where = f"training.optimizer.groups.{number}.parameters"
        own = matching(group.parameters, known, where)
        parameters = [left.pop(name) for name in known if name in own and name in left]
        decay = settings.weight_decay if group.weight_decay is None else group.weight_decay
        groups.append({"params": parameters, FACTOR: group.lr_factor, "weight_decay": decay})
    rest = {"params": list(left.values()), FACTOR: 1.0, "weight_decay": settings.weight_decay}
    return [group for group in (rest, *groups) if group["params"]]


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """Give each group its share of the schedule's rate."""
    for group in optimizer.param_groups:
        factor = group.get(FACTOR, 1.0)  # checkpoints from before there were groups have none
        group["lr"] = rate * factor
