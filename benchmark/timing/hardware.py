"""Names of the hardware that a number was measured on."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def device_name(device: torch.device) -> str:
    """Model name of the GPU, or of the processor."""
    if device.type != "cuda":
        return cpu_model()
    import torch  # not at the top: whoever only reads records needs none of it

    return torch.cuda.get_device_name(device)


def cpu_model(info: Path = Path("/proc/cpuinfo")) -> str:
    """Model name of the processor, as the system gives it."""
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name" and value.strip():
                return value.strip()
    return platform.processor() or "unknown"
