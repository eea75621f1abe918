"""A golden file of HAT: its arrays, which of them have been compared, and how close ours must come."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from benchmark.baseline import ParityCase
from benchmark.errors import UserError

Array = np.ndarray[Any, Any]

TOLERANCES: dict[str, tuple[float, bool]] = {
    "features": (1e-5, False),
    "scores": (1e-5, False),
    "loss": (1e-5, False),
    "gradients": (1e-3, True),
    "step losses": (5e-5, False),
    "stepped weights": (2e-6, False),
    "one level": (1e-6, False),
    "ranking loss": (1e-6, False),
    "percentages": (1e-4, False),
    "exact": (0.0, False),
}
"""Quantity -> (tolerance, relative to the largest entry?), from the golden README."""


class Recorded:
    """The arrays of a file, which knows what of it has been compared."""

    def __init__(self, arrays: dict[str, Array]) -> None:
        self.arrays = arrays
        self.compared: set[str] = set()

    def __contains__(self, key: str) -> bool:
        return key in self.arrays

    def tensor(self, key: str) -> Tensor:
        array = self.arrays[key]
        return torch.from_numpy(array.astype(np.int64 if array.dtype.kind in "iu" else array.dtype))

    def under(self, prefix: str) -> list[str]:
        return [key for key in self.arrays if key.startswith(prefix)]

    def config(self) -> dict[str, Any]:
        config: dict[str, Any] = json.loads(str(self.arrays["config"]))
        return config

    def case(self, key: str, actual: Tensor | Array, quantity: str) -> ParityCase:
        """Ours beside the array recorded under `key`."""
        self.compared.add(key)
        tolerance, relative = TOLERANCES[quantity]
        ours = actual.detach().numpy() if isinstance(actual, Tensor) else actual
        return ParityCase(key, self.arrays[key], ours, tolerance, relative)

    def not_compared(self) -> list[str]:
        return [key for key in self.under("outputs/") + self.under("grads/") if key not in self.compared]


def read_recorded(path: Path) -> Recorded | Any:
    """Arrays of an .npz, the document of a .json, None for anything else; told apart by content."""
    with path.open("rb") as handle:
        head = handle.read(64)
    try:
        if head.startswith(b"PK"):
            with np.load(path, allow_pickle=False) as file:
                return Recorded({key: file[key] for key in file.files})
        if head.lstrip().startswith((b"{", b"[")):
            return json.loads(path.read_text(encoding="utf-8"))
    except (BadZipFile, ValueError, OSError, EOFError) as error:
        raise UserError(f"can't be read as .npz or .json: {error}") from None
    return None
