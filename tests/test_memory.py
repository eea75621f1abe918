"""Memory: what the system says is free, which errors mean that it is not, and what fits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmark.memory import first_fitting, fits, free_on_host, halves, peak_on, ran_out


def test_free_memory_is_the_systems(tmp_path: Path) -> None:
    info = tmp_path / "meminfo"
    info.write_text("MemTotal:       16384 kB\nMemFree:  1 kB\nMemAvailable:    8192 kB\n")
    assert free_on_host(info) == 8192 * 1024
    info.write_text("MemTotal:       16384 kB\n")
    assert free_on_host(info) is None
    assert free_on_host(tmp_path / "missing") is None


def test_a_real_allocation_that_is_too_large_is_known() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert ran_out(caught.value)
    assert ran_out(MemoryError())
    assert ran_out(torch.OutOfMemoryError("CUDA out of memory."))
    assert ran_out(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"))
    assert not ran_out(RuntimeError("shapes do not fit"))
    assert not ran_out(ValueError("DefaultCPUAllocator"))


def test_the_first_value_that_fits() -> None:
    tried: list[int] = []

    def attempt(size: int) -> None:
        tried.append(size)
        if size > 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    assert list(halves(13)) == [6, 3, 1]
    assert first_fitting(halves(13), attempt) == 3
    assert tried == [6, 3]
    assert first_fitting([9, 8], attempt) is None
    assert fits(lambda: attempt(1))


def test_another_error_is_no_lack_of_memory() -> None:
    def attempt() -> None:
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes"):
        fits(attempt)


def test_a_processor_has_no_peak_to_speak_of() -> None:
    assert peak_on(torch.device("cpu")) == ""
