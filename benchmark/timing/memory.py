"""The most memory that something takes: allocated on a GPU, resident in RAM (of the process) otherwise."""

from __future__ import annotations

import ctypes
import gc
import resource
import sys
from collections.abc import Callable
from pathlib import Path

import torch


class PeakMemory:
    """The most memory since it was made: allocated on a GPU, resident in RAM (of the process) otherwise."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            self.what = "peak allocated on the GPU"
        elif _reset_resident_peak():
            self.what = "peak resident size of the process during the measurement"
        else:
            self.what = "peak resident size of the process since its start"

    def peak(self) -> int:
        """Bytes."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        if self.what.endswith("measurement"):
            lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
            return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _reset_resident_peak() -> bool:
    """Linux forgets a process's resident peak on request; False where the system does not let it."""
    status = Path("/proc/self/status")
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        return "VmHWM:" in status.read_text(encoding="utf-8")
    except OSError:
        return False


def peak_above(call: Callable[[], object], device: torch.device) -> int | None:
    """Bytes of the peak during `call` above what is there before it; None where the system does not tell."""
    gc.collect()
    if device.type != "cuda":
        _give_back()
    memory = PeakMemory(device)
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
    elif memory.what.endswith("measurement"):
        before = memory.peak()
    else:
        return None
    call()
    return memory.peak() - before


def available(device: torch.device) -> int | None:
    """Bytes that are free to be taken on a GPU, or in RAM; None where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _give_back() -> None:
    """Let glibc give free memory back to the system, which would else count as taken; others have no such call."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
