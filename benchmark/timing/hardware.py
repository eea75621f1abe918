"""Names of the hardware that a number was measured on."""

from __future__ import annotations

import platform
from pathlib import Path

import torch


def device_name(device: torch.device) -> str:
    """Model name of the GPU, or of the processor."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_model()


def cpu_model(info: Path = Path("/proc/cpuinfo")) -> str:
    """Model name of the processor, as the system gives it."""
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name" and value.strip():
                return value.strip()
    return platform.processor() or "unknown"
