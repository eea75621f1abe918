"""Memory in which a scorer's tiles take turns, without gradient.

The arrays of a tile are wide, and one made anew can come from the system page by page, each page at a price
(speed.md 4).
"""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor


class Scratch:
    """Arrays by name; what a name held is lost when it is taken again."""

    def __init__(self) -> None:
        self._flat: dict[str, Tensor] = {}

    def take(self, name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """An array of this shape with any values, of the type and on the device of `like`."""
        size, flat = prod(shape), self._flat.get(name)
        if flat is None or len(flat) < size or (flat.dtype, flat.device) != (like.dtype, like.device):
            flat = self._flat[name] = torch.empty(size, dtype=like.dtype, device=like.device)
        return flat[:size].view(shape)
