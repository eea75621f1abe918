"""Momentum copies: a network whose weights follow those of another, slowly and without gradient (user.md 5)."""

from __future__ import annotations

from copy import deepcopy
from typing import TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


def momentum_copy(module: M) -> M:
    """A copy of `module` that no optimiser moves."""
    copied = deepcopy(module)
    copied.requires_grad_(False)
    return copied


@torch.no_grad()
def follow(follower: nn.Module, leader: nn.Module, momentum: float) -> None:
    """Each parameter of the copy becomes m * itself + (1 - m) * the leader's; buffers stay as they are."""
    for kept, latest in zip(follower.parameters(), leader.parameters(), strict=True):
        kept.mul_(momentum).add_(latest, alpha=1 - momentum)
