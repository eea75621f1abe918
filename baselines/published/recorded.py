"""A golden file of a method: its arrays, which of them have been compared, and how close ours must come."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor, nn

from benchmark.errors import UserError
from benchmark.method import OfficialWeights, ParityCase

Array = np.ndarray[Any, Any]
M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class EachEntry:
    """A tolerance for each entry by itself: an absolute part, and a share of what was recorded there."""

    absolute: float
    share: float


Tolerances = Mapping[str, tuple[float, float] | EachEntry]
"""Quantity -> (absolute tolerance, share of the largest recorded entry), the two added; or for each entry."""


class Recorded:
    """The arrays of a file, which knows what of it has been compared."""

    def __init__(self, arrays: dict[str, Array], tolerances: Tolerances) -> None:
        self.arrays, self.tolerances = arrays, tolerances
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

    def load_weights(
        self, model: M, translate: Callable[[dict[str, Tensor], M, str], OfficialWeights]
    ) -> None:
        """Give a model all the recorded weights, in float64 and evaluation mode; ValueError where they don't fit."""
        official = {key.removeprefix("weights/"): self.tensor(key) for key in self.under("weights/")}
        weights = translate(official, model, "golden weights")
        if weights.missing or weights.unexpected:
            raise ValueError(f"missing weights {weights.missing[:3]}, unexpected {weights.unexpected[:3]}")
        model.load_state_dict(weights.state)
        model.double().eval()

    def case(self, key: str, actual: Tensor | Array, quantity: str) -> ParityCase:
        """Ours beside the array recorded under `key`."""
        self.compared.add(key)
        expected = self.arrays[key]
        ours = actual.detach().numpy() if isinstance(actual, Tensor) else actual
        tolerance = self.tolerances[quantity]
        if isinstance(tolerance, EachEntry):
            return ParityCase(key, expected, ours, tolerance.absolute, share=tolerance.share)
        absolute, share = tolerance
        if share and not absolute:
            return ParityCase(key, expected, ours, share, relative=True)
        return ParityCase(key, expected, ours, absolute + share * float(np.abs(expected).max(initial=0)))

    def not_compared(self) -> list[str]:
        return [key for key in self.under("outputs/") + self.under("grads/") if key not in self.compared]


def read_recorded(path: Path, tolerances: Tolerances) -> Recorded | Any:
    """Arrays of an .npz, the document of a .json, None for anything else; told apart by content."""
    with path.open("rb") as handle:
        head = handle.read(64)
    try:
        if head.startswith(b"PK"):
            with np.load(path, allow_pickle=False) as file:
                return Recorded({key: file[key] for key in file.files}, tolerances)
        if head.lstrip().startswith((b"{", b"[")):
            return json.loads(path.read_text(encoding="utf-8"))
    except (BadZipFile, ValueError, OSError, EOFError) as error:
        raise UserError(f"can't be read as .npz or .json: {error}") from None
    return None


def replayed(
    path: Path,
    tolerances: Tolerances,
    comparison_for: Callable[[Recorded], Callable[[Recorded], Iterable[ParityCase]] | None],
    *,
    name: str,
    what: str,
) -> list[ParityCase]:
    """Every recorded quantity of a golden file beside ours; [] where `comparison_for` knows no comparison for it.

    `name`: of the method, `what`: it replays, both for errors. Raises UserError where the file is damaged or
    records something that isn't compared.
    """
    recorded = read_recorded(path, tolerances)
    compare = comparison_for(recorded) if isinstance(recorded, Recorded) else None
    if compare is None:
        return []
    try:
        cases = list(compare(recorded))
    except (KeyError, ValueError, IndexError, RuntimeError) as error:
        raise UserError(f"the recorded {what} can't be replayed: {error!r}"[:300]) from error
    if left := recorded.not_compared():
        raise UserError(f"recorded '{left[0]}' is unknown to {name}'s parity ({len(left)} such)")
    return cases
