"""Devices: whether one computes, and what it is called, for errors and for records.

torch is imported inside the functions: whoever only reads records needs none of it.
"""

from __future__ import annotations

import platform
import re
import subprocess
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.errors import UserError

if TYPE_CHECKING:
    import torch


def missing_gpu() -> str | None:
    """Say why torch finds no CUDA device: no driver, one that is too old, a build for CPUs; None: it finds one."""
    import torch

    with warnings.catch_warnings():  # torch warns of an old driver, in five lines
        warnings.simplefilter("ignore")
        if torch.cuda.is_available():
            return None
        if torch.version.cuda is None:
            return "torch is a build for CPUs"
        try:
            torch.cuda.init()  # type: ignore[no-untyped-call]
        except (RuntimeError, AssertionError) as error:
            return _first_sentence(error)
    return "torch finds no CUDA device"


def check_device(device: torch.device) -> None:
    """Multiply two matrices on a device; raises UserError, in one line, where it is not there or cannot compute.

    A device that is there need not compute: torch's kernels are built for some compute capabilities only.
    """
    import torch

    advice = "see `rematch doctor`; `--device cpu` takes the processor"
    if device.type == "cuda":
        reason, count = missing_gpu(), torch.cuda.device_count()
        if reason is None and (device.index or 0) >= count:
            names = ", ".join(f"cuda:{number}" for number in range(count)) or "none"
            reason = f"CUDA devices here: {names}"
        if reason is not None:
            raise UserError(f"device '{device}' is not to be had: {reason}; {advice}")
    try:
        ones = torch.ones(64, 64, device=device)
        right = bool((ones @ ones == 64).all())
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"device '{device}' does not compute: {_first_sentence(error)}{_built_for(device)}; {advice}"
        ) from None
    if not right:
        raise UserError(f"device '{device}' does not compute: a product of matrices is wrong on it; {advice}")


def _built_for(device: torch.device) -> str:
    """The capability of a GPU beside those that torch has kernels for."""
    if device.type != "cuda":
        return ""
    import torch

    kernels = " ".join(torch.cuda.get_arch_list()) or "none"
    return (
        f" ({device_name(device)} has compute capability {compute_capability(device)}, "
        f"torch {torch.__version__} has kernels for {kernels})"
    )


def _first_sentence(error: BaseException) -> str:
    """The part of an error that says what is wrong; the rest of CUDA's are links and advice."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return re.split(r"(?<=[\w)])\.(?:\s|$)", lines[0])[0]


# ------------------------------------------------------------------------------------------ names


def device_name(device: torch.device) -> str:
    """Model name of the GPU, or of the processor."""
    if device.type != "cuda":
        return cpu_model()
    import torch

    return torch.cuda.get_device_name(device)


def named_device(device: torch.device) -> str:
    """Kind and model of a device: `cuda: NVIDIA H200`."""
    return f"{device.type}: {device_name(device)}"


def cpu_model(info: Path = Path("/proc/cpuinfo")) -> str:
    """Model name of the processor, as the system gives it."""
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name" and value.strip():
                return value.strip()
    return platform.processor() or "unknown"


def compute_capability(device: torch.device) -> str | None:
    """`9.0` of an H100, say; None where the device is no CUDA device."""
    if device.type != "cuda":
        return None
    import torch

    return ".".join(map(str, torch.cuda.get_device_capability(device)))


def driver_version() -> str | None:
    """Version of NVIDIA's driver, such as `580.65.06`; None where its own tool does not tell."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = done.stdout.split()
    return found[0] if done.returncode == 0 and found else None
