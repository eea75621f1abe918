"""How a run comes to have several processes: `torchrun` starts them, and each finds the others."""

from __future__ import annotations

import os
from datetime import timedelta

import torch
import torch.distributed as dist

from benchmark.distributed.processes import Processes, set_processes
from benchmark.errors import UserError

STEP = timedelta(minutes=10)
"""The longest wait for another process in the middle of a step."""
PATIENCE = timedelta(days=7)
"""The longest wait for the first process, which loads data and writes files for all; one that dies is noticed at once."""


def join(rank: int, size: int, device: torch.device, init_method: str | None = None) -> Processes:
    """Find the other processes of the run; tensors go over gloo on a CPU, over NCCL on a GPU.

    `init_method`: where they meet, None for the place that `torchrun` names. Raises UserError where they do not meet.
    """
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    try:
        dist.init_process_group(backend, init_method=init_method, rank=rank, world_size=size, timeout=STEP)
        control = dist.new_group(backend="gloo", timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"process {rank} of {size} (from 0): the processes did not meet: {reason}") from None
    found = Processes(rank, size, control)
    set_processes(found)
    return found


def leave() -> None:
    """Part from the other processes; this one is alone from now on."""
    set_processes(Processes())
    if dist.is_initialized():
        dist.destroy_process_group()


def told(name: str) -> int | None:
    """A number that `torchrun` has put into the environment; raises UserError where it is none."""
    value = os.environ.get(name)
    if value is None:
        return None
    if not value.isdigit():
        raise UserError(f"environment variable {name}: found '{value}', expected a whole number; torchrun sets it")
    return int(value)
