"""Golden files of a method: arrays that the published code computed, which file is which, and how close ours must come.

A `Golden` is a method's `parity_cases`. A file is recognised by what it holds, never by its name, and every array of
it that is no input and no weight must be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from zipfile import BadZipFile

import numpy as np
import torch
from pydantic import BaseModel
from torch import Tensor, nn

from benchmark.batches import CaptionBatch, ImageBatch, TrainingCodes
from benchmark.errors import UserError
from benchmark.guarded import parse_json, read_json
from benchmark.method import Baseline, OfficialWeights, ParityCase, Progress, TripletLoss

Array = np.ndarray[Any, Any]
M = TypeVar("M", bound=nn.Module)

GIVEN = ("config", "inputs", "weights")
"""Beginnings of the keys that are given; all other arrays of a file were computed."""


@dataclass(frozen=True)
class EachEntry:
    """A tolerance for each entry by itself: an absolute part, and a share of what was recorded there."""

    absolute: float
    share: float


Tolerances = Mapping[str, tuple[float, float] | EachEntry]
"""Quantity -> (absolute tolerance, share of the largest recorded entry), the two added; or for each entry."""


class Recorded:
    """The arrays of a file; it keeps account of what has been compared."""

    def __init__(self, arrays: dict[str, Array], tolerances: Tolerances) -> None:
        self.arrays, self.tolerances = arrays, tolerances
        self.compared: set[str] = set()

    def __contains__(self, key: str) -> bool:
        return key in self.arrays

    def tensor(self, key: str) -> Tensor:
        """Return an array as a tensor; integers become int64."""
        array = self.arrays[key]
        return torch.from_numpy(array.astype(np.int64 if array.dtype.kind in "iu" else array.dtype))

    def under(self, prefix: str) -> list[str]:
        """List the keys that begin with `prefix`."""
        return [key for key in self.arrays if key.startswith(prefix)]

    def config(self) -> Any:
        """Return the settings that the file was recorded with, a dict unless a file says otherwise."""
        return parse_json(str(self.arrays["config"]))

    def batches(
        self, prefix: str, *, ids: str = "captions", images: str = "images"
    ) -> tuple[ImageBatch, CaptionBatch]:
        """Return the recorded images, in float64, and captions whose keys begin with `prefix`."""
        pixels = self.tensor(f"{prefix}{images}").double()
        words, lengths = self.tensor(f"{prefix}{ids}"), self.tensor(f"{prefix}lengths").long()
        captions = CaptionBatch(words, lengths, torch.arange(len(words)))
        return ImageBatch(pixels, torch.arange(len(pixels))), captions

    def load_weights(
        self, model: M, translate: Callable[[dict[str, Tensor], M, str], OfficialWeights]
    ) -> None:
        """Give a model all the recorded weights, in float64 and evaluation mode; ValueError where they do not fit."""
        official = {key.removeprefix("weights/"): self.tensor(key) for key in self.under("weights/")}
        load_exactly(model, translate(official, model, "golden weights"))
        model.double().eval()

    def case(self, key: str, actual: Tensor | Array, quantity: str) -> ParityCase:
        """Put ours, as it is now, beside the array recorded under `key`."""
        self.compared.add(key)
        expected = self.arrays[key]
        ours = actual.detach().clone().numpy() if isinstance(actual, Tensor) else actual
        tolerance = self.tolerances[quantity]
        if isinstance(tolerance, EachEntry):
            return ParityCase(key, expected, ours, tolerance.absolute, share=tolerance.share)
        absolute, share = tolerance
        if share and not absolute:
            return ParityCase(key, expected, ours, share, relative=True)
        return ParityCase(key, expected, ours, absolute + share * float(np.abs(expected).max(initial=0)))

    def not_compared(self) -> list[str]:
        """List the computed arrays that no case has named."""
        computed = (key for key in self.arrays if "/" in key and key.split("/")[0] not in GIVEN)
        return [key for key in computed if key not in self.compared]


Replay = Callable[[Recorded], Iterable[ParityCase]]


@dataclass(frozen=True)
class Golden:
    """The golden files of a method; called with a path it replays the file, as `Method.parity_cases` must."""

    method: str
    tolerances: Tolerances
    replays: Callable[[Recorded], Replay | None]
    """Chooses what replays a file of arrays; None where the file is not the method's."""
    documents: Callable[[dict[str, Any]], Iterable[ParityCase]] = lambda _document: ()
    """Compares a JSON object; empty where it does not belong to the method."""
    others: Callable[[Path], Iterable[ParityCase]] = lambda _path: ()
    """Compares a file that is neither .npz nor .json."""

    def __call__(self, path: Path) -> list[ParityCase]:
        """Put every recorded quantity of one file beside ours; [] where the file is not the method's.

        Raises UserError where the file is damaged or records something that is not compared.
        """
        content = read_arrays(path, self.tolerances)
        try:
            if not isinstance(content, Recorded):
                found = self.documents(content) if isinstance(content, dict) else ()
                return list(self.others(path) if content is None else found)
            replay = self.replays(content)
            cases = [] if replay is None else list(replay(content))
        except (KeyError, ValueError, IndexError, RuntimeError) as error:
            raise UserError(
                f"the recorded {self.method} model cannot be replayed: {error!r}"[:300]
            ) from error
        if cases and (left := content.not_compared()):
            raise UserError(f"recorded '{left[0]}' is unknown to {self.method}'s parity ({len(left)} such)")
        return cases


def read_arrays(path: Path, tolerances: Tolerances) -> Recorded | Any:
    """Read the arrays of an .npz or the document of a .json, told apart by content; None for anything else."""
    with path.open("rb") as handle:
        head = handle.read(64)
    try:
        if head.startswith(b"PK"):
            with np.load(path, allow_pickle=False) as file:
                return Recorded({key: file[key] for key in file.files}, tolerances)
        if head.lstrip().startswith((b"{", b"[")):
            return read_json(path)
    except (BadZipFile, ValueError, OSError, EOFError) as error:
        raise UserError(f"neither a readable .npz nor .json: {error}") from None
    return None


# ------------------------------------------------------------------------------- what replays share


def load_exactly(model: nn.Module, weights: OfficialWeights) -> None:
    """Load translated weights; ValueError where some are missing or left over."""
    if weights.missing or weights.unexpected:
        raise ValueError(f"missing weights {weights.missing[:3]}, unexpected {weights.unexpected[:3]}")
    model.load_state_dict(weights.state)


def our_name(official: str, our_key: Callable[[str], str | None], names: Iterable[str]) -> str:
    """Return our name of a recorded weight; ValueError where we have none."""
    name = our_key(official)
    if name is None or name not in names:
        raise ValueError(f"unknown weight '{official}'")
    return name


def compute_gradients(loss: Tensor, *inputs: Tensor) -> list[Tensor]:
    """Return the gradients of `loss` in tensors; ValueError where one has none."""
    loss.backward()  # type: ignore[no-untyped-call]
    gradients = [tensor.grad for tensor in inputs]
    if any(gradient is None for gradient in gradients):
        raise ValueError("an input has no gradient")
    return [gradient for gradient in gradients if gradient is not None]


def compute_objective(model: Baseline, codes: TrainingCodes, loss: BaseModel, step: int = 0) -> Tensor:
    """Return the loss of whole batches, as a training without stages has it."""
    return model.objective(codes, Progress(epoch=0, step=step, stage=0, loss=loss), None)


def triplet_cases(
    recorded: Recorded, scores: Tensor, loss: TripletLoss, keys: tuple[str, str], quantities: tuple[str, str]
) -> Iterator[ParityCase]:
    """Compare the ranking loss of a score matrix and its gradient, recorded under `keys`."""
    matrix = scores.requires_grad_()
    value = loss(matrix)
    for key, ours, quantity in zip(keys, (value, *compute_gradients(value, matrix)), quantities, strict=True):
        yield recorded.case(key, ours, quantity)


def sum_and_max_cases(recorded: Recorded) -> Iterator[ParityCase]:
    """Compare the ranking loss in both phases: all negatives, and the hardest."""
    for number, case in enumerate(recorded.config()):
        for name in ("sum", "max"):
            scores = recorded.tensor(f"inputs/{number}/scores").double()
            loss = TripletLoss(margin=case["margin"], hardest=name == "max")
            keys = f"outputs/{number}/loss_{name}", f"outputs/{number}/grad_{name}"
            yield from triplet_cases(recorded, scores, loss, keys, ("loss", "gradients"))
