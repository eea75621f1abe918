"""Checkpoints and weights on disk: written atomically, read without running code, refused where they don't fit.

`checkpoint.pt` holds everything a training needs to go on (a torch file that is read with
`weights_only=True`); `best.safetensors` holds the chosen weights alone.
"""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes
from torch import Tensor

from benchmark.errors import UserError
from benchmark.files import replacing
from benchmark.method import Baseline

FORMAT = "rematch-training-1"
_NOTES = "rematch"  # one metadata key only: safetensors doesn't keep the order of several


@dataclass(frozen=True)
class WorkFolder:
    """The files of one training."""

    root: Path

    @property
    def checkpoint(self) -> Path:
        return self.root / "checkpoint.pt"

    @property
    def best(self) -> Path:
        return self.root / "best.safetensors"

    @property
    def log(self) -> Path:
        return self.root / "log.jsonl"

    def prepare(self, resume: bool) -> None:
        """Make the folder; sweep half-written files; without `resume` move an earlier run to `previous/`."""
        self.root.mkdir(parents=True, exist_ok=True)
        owned = [self.checkpoint, self.best, self.log]
        for leftover in [item for file in owned for item in self.root.glob(f".{file.name}.*")]:
            leftover.unlink()
        if not (resume and self.checkpoint.is_file()):
            for file in [file for file in owned if file.is_file()]:
                (self.root / "previous").mkdir(exist_ok=True)
                file.replace(self.root / "previous" / file.name)


@dataclass(frozen=True)
class Checkpoint:
    """A training after some whole epochs."""

    model: dict[str, Any]
    optimizer: dict[str, Any]
    scaler: dict[str, Any]
    epochs_done: int
    step: int
    best_epoch: int | None
    best_value: float | None
    log_bytes: int
    recipe_digest: str
    recipe: dict[str, Any]
    """The recipe as resolved (JSON), to name the fields that differ; {} where the caller gave none."""


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint; `path` holds the former one until the new one is complete on disk."""
    # not dataclasses.asdict, which would copy every tensor
    values = {field.name: getattr(checkpoint, field.name) for field in fields(checkpoint)}
    values["recipe"] = json.dumps(checkpoint.recipe, sort_keys=True)
    with replacing(path) as handle:
        torch.save({"format": FORMAT, **values}, handle)


def load_checkpoint(path: Path, recipe_digest: str, recipe: Mapping[str, Any]) -> Checkpoint:
    """Read a checkpoint onto the CPU and check that it belongs to this recipe.

    Raises UserError where it is truncated or no checkpoint, or of another method or recipe.
    """
    anew = "; train anew without --resume"
    try:
        values = _read_whole(path)
    except (
        RuntimeError,
        OSError,
        EOFError,
        ValueError,
        KeyError,
        pickle.UnpicklingError,
        zipfile.BadZipFile,
    ):
        size = path.stat().st_size if path.is_file() else 0
        found = f"{size} bytes: truncated or damaged"
        raise UserError(f"{path.as_posix()}: not a readable checkpoint ({found}){anew}") from None
    names = {field.name for field in fields(Checkpoint)}
    if not isinstance(values, dict) or values.get("format") != FORMAT or not names <= values.keys():
        raise UserError(f"{path.as_posix()}: not a training checkpoint of Rematch{anew}")
    stored = json.loads(values["recipe"])
    if stored.get("method") != recipe.get("method"):
        raise UserError(
            f"{path.as_posix()}: found a checkpoint of method '{stored.get('method')}', "
            f"expected '{recipe.get('method')}'{anew}"
        )
    if values["recipe_digest"] != recipe_digest:
        differing = differing_fields(stored, recipe)
        named = f" ({'; '.join(differing[:3])}{'; ...' if len(differing) > 3 else ''})" if differing else ""
        raise UserError(f"{path.as_posix()}: the checkpoint was made with another recipe{named}{anew}")
    return Checkpoint(**{**{name: values[name] for name in names}, "recipe": stored})


def _read_whole(path: Path) -> Any:
    """Read a torch file; its checksums are compared first, which `torch.load` doesn't do."""
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(damaged)
    return torch.load(path, map_location="cpu", weights_only=True)


def differing_fields(stored: Any, current: Any, where: str = "") -> list[str]:
    """`field: stored value, now current value` for every leaf in which two JSON documents differ."""
    if isinstance(stored, Mapping) and isinstance(current, Mapping):
        found: list[str] = []
        for key in sorted(stored.keys() | current.keys()):
            path = f"{where}.{key}" if where else str(key)
            found += differing_fields(stored.get(key), current.get(key), path)
        return found
    if isinstance(stored, list) and isinstance(current, list) and len(stored) == len(current):
        pairs = enumerate(zip(stored, current, strict=True))
        return [line for i, (old, new) in pairs for line in differing_fields(old, new, f"{where}.{i}")]
    return [] if stored == current else [f"{where}: {json.dumps(stored)}, now {json.dumps(current)}"]


def check_state(path: Path, state: Mapping[str, Tensor], model: Baseline) -> None:
    """Raise UserError (missing, unexpected, shape, type) unless `state` fits the model's state exactly."""
    expected = model.state_dict()
    missing = [name for name in expected if name not in state]
    unexpected = [name for name in state if name not in expected]
    if missing or unexpected:
        parts = [
            f"{len(names)} {kind} (first '{names[0]}')"
            for kind, names in (("missing", missing), ("unexpected", unexpected))
            if names
        ]
        raise UserError(
            f"{path.as_posix()}: weights of another model: {', '.join(parts)} of {len(expected)} tensors"
        )
    for name, tensor in expected.items():
        found = state[name]
        if found.shape != tensor.shape or found.dtype != tensor.dtype:
            raise UserError(
                f"{path.as_posix()}: tensor '{name}': found {_describe(found)}, expected {_describe(tensor)}"
            )


def save_weights(path: Path, model: Baseline, notes: Mapping[str, Any] | None = None) -> None:
    """Write the model's whole state as safetensors, tied tensors once; `notes` (JSON) go into the header."""
    tensors: dict[str, Tensor] = {}
    first_name: dict[tuple[Any, ...], str] = {}
    tied: dict[str, str] = {}
    for name, tensor in sorted(model.state_dict().items()):
        place = (tensor.device, tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
        if tensor.numel() and place in first_name:
            tied[name] = first_name[place]
            continue
        first_name[place] = name
        kept = tensor.detach().cpu().contiguous()
        # a view into a larger storage must not bring (or share) the rest of it
        tensors[name] = kept if kept.untyped_storage().nbytes() == kept.nbytes else kept.clone()
    metadata = {_NOTES: json.dumps({"notes": dict(notes or {}), "tied": tied}, sort_keys=True)}
    with replacing(path) as handle:
        handle.write(safetensors_bytes(tensors, metadata))


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """All tensors of a safetensors file (tied ones under each of their names), and its notes.

    Raises UserError where the file is missing, truncated or not safetensors.
    """
    with _opened(path) as handle:
        header = json.loads((handle.metadata() or {}).get(_NOTES, "{}"))
        state = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
        state |= {name: state[kept] for name, kept in header.get("tied", {}).items()}
        return state, header.get("notes", {})


def read_notes(path: Path) -> dict[str, Any]:
    """The notes of a weights file alone; errors as `read_weights`."""
    with _opened(path) as handle:
        notes: dict[str, Any] = json.loads((handle.metadata() or {}).get(_NOTES, "{}")).get("notes", {})
        return notes


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt", device="cpu") as handle:
            yield handle
    except FileNotFoundError:
        raise UserError(f"{path.as_posix()}: no such weights file") from None
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path.as_posix()}: not a complete safetensors file ({reason})") from None


def load_weights(path: Path, model: Baseline) -> dict[str, Any]:
    """Put the weights of a safetensors file into the model and return the file's notes.

    Raises UserError, and leaves the model as it is, unless the file is whole and fits exactly.
    """
    state, notes = read_weights(path)
    check_state(path, state, model)
    model.load_state_dict(state)
    return notes


def _describe(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
