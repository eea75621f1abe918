"""Memory: how much the host has left, whether an error says that there was too little, and what would have fitted."""

from __future__ import annotations

import gc
import resource
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch

MEGABYTE, GIGABYTE = 2**20, 2**30
WORDS = ("DefaultCPUAllocator", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")


def free_on_host(info: Path = Path("/proc/meminfo")) -> int | None:
    """Bytes that programs can still take without swapping; None where the system does not tell."""
    if not info.is_file():
        return None
    lines = info.read_text(encoding="utf-8").splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def ran_out(error: BaseException) -> bool:
    """Return True where memory was too little, on a GPU or on the host; its libraries have words of their own."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(word in str(error) for word in WORDS)
    )


def fits(attempt: Callable[[], object]) -> bool:
    """Return True where `attempt` does not run out of memory; what it left over is given back in either case."""
    try:
        attempt()
    except (RuntimeError, MemoryError) as error:
        if not ran_out(error):
            raise
        return False
    finally:
        give_back()
    return True


def give_back() -> None:
    """Return to a GPU what nothing holds any more: what circles of references do, and cached blocks."""
    if torch.cuda.is_available():
        gc.collect()
        torch.cuda.empty_cache()


def first_fitting(values: Iterable[int], attempt: Callable[[int], object]) -> int | None:
    """Return the first value with which `attempt` does not run out of memory; None: it does with all of them."""
    give_back()
    return next((value for value in values if fits(lambda value=value: attempt(value))), None)  # type: ignore[misc]


def halves(count: int) -> Iterator[int]:
    """The half of a number, its half, and so on down to 1."""
    while count > 1:
        count //= 2
        yield count


def peak_on(device: torch.device) -> str:
    """The most memory that was taken on a GPU, of how much, in words; empty of another device."""
    if device.type != "cuda":
        return ""
    peak, total = torch.cuda.max_memory_allocated(device), torch.cuda.mem_get_info(device)[1]
    return f", {peak / GIGABYTE:.1f} of {total / GIGABYTE:.1f} GiB at the peak"


def peak_bytes(device: torch.device) -> int:
    """Return the most bytes that this process has held: of a GPU by torch, else of the host's memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
