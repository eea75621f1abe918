"""The one clock of all timings: seconds of a call, from an idle device to an idle device."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import torch

Result = TypeVar("Result")
CPU = torch.device("cpu")


def time_call(call: Callable[[], Result], device: torch.device = CPU) -> tuple[float, Result]:
    """Return the seconds that one call takes, with its result; on a GPU all work is waited for, before and after."""
    wait_for(device)
    start = time.perf_counter()
    result = call()
    wait_for(device)
    return time.perf_counter() - start, result


def wait_for(device: torch.device) -> None:
    """Wait until a GPU has nothing left to do; a CPU never has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
