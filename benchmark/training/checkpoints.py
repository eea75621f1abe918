"""Checkpoints and weights on disk: written atomically, read without running code, refused where they do not fit.

`checkpoint.pt` holds everything a training needs to go on (a torch file that is read with
`weights_only=True`), and the sha256 of the files beside it; `best.safetensors` holds the chosen weights alone.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

import torch
from pydantic import ConfigDict, Field, ValidationError, model_validator
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes
from torch import Tensor

from benchmark.errors import UserError
from benchmark.files import replacing, write_bytes
from benchmark.guarded import DocumentError, check_safetensors, next_pickle, open_archive, parse_json
from benchmark.method import Baseline
from benchmark.recipe.faults import explain
from benchmark.strict import Strict
from benchmark.training.log import ANEW

FORMAT = "rematch-training-2"
EARLIER = "rematch-training-1"
"""The format without the checksums of the files beside the checkpoint."""
NOTES = "rematch"  # one metadata key only: safetensors does not keep the order of several

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class CheckpointFacts(Strict):
    """The words and numbers of a checkpoint: the progress of the training, and the files that belong to it."""

    model_config = ConfigDict(strict=True)

    epochs: int = Field(ge=1)
    """The number of epochs of the whole training."""
    epochs_done: int = Field(ge=1)
    step: int = Field(ge=1)
    best_epoch: int | None = Field(ge=0)
    best_value: float | None = Field(allow_inf_nan=False)
    best_sha256: Sha256 | None
    """The sha256 of the best weights, which are written after the checkpoint."""
    best_before_sha256: Sha256 | None
    """The sha256 of the best weights found before this checkpoint; they still lie there if a kill came in between."""
    log_bytes: int = Field(ge=1)
    log_sha256: Sha256
    """The sha256 of the first `log_bytes` bytes."""
    vocabulary_sha256: Sha256 | None
    """The sha256 of the vocabulary beside the checkpoint; None: the method needs none."""
    devices: list[str] = Field(default=["unknown"], min_length=1)
    """The devices of the training so far, one after the other; older checkpoints do not name them."""
    recipe_digest: str
    recipe: dict[str, Any]
    """The recipe as resolved, to name the fields that differ; {} where the caller gave none."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.epochs_done > self.epochs:
            raise ValueError(f"field 'epochs_done': found {self.epochs_done}, expected at most {self.epochs}")
        if (self.best_epoch is None) != (self.best_sha256 is None):
            raise ValueError("field 'best_sha256': expected one where there is a best epoch, and only there")
        if self.best_epoch is not None and self.best_epoch >= self.epochs_done:
            raise ValueError(f"field 'best_epoch': found {self.best_epoch} after {self.epochs_done} epochs")
        return self

    @property
    def best_is_last(self) -> bool:
        """True where the best weights are those of the checkpoint."""
        return self.best_epoch == self.epochs_done - 1


@dataclass(frozen=True)
class Checkpoint:
    """A training after some whole epochs."""

    model: dict[str, Any]
    optimizer: dict[str, Any]
    scaler: dict[str, Any]
    facts: CheckpointFacts


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint; `path` holds the former one until the new one is complete on disk."""
    facts = dict(checkpoint.facts)
    values = {
        "format": FORMAT,
        **facts,
        "recipe": json.dumps(checkpoint.facts.recipe, sort_keys=True),
        "model": checkpoint.model,
        "optimizer": checkpoint.optimizer,
        "scaler": checkpoint.scaler,
    }
    with replacing(path) as handle:
        torch.save(values, handle)


def load_checkpoint(path: Path, recipe_digest: str, recipe: Mapping[str, Any]) -> Checkpoint:
    """Read a checkpoint onto the CPU and check that it belongs to this recipe.

    Raises UserError where it is truncated or no checkpoint, at odds with itself, or of another method or recipe.
    """
    values = _read_torch(path, whole=True)
    facts = _facts_of(path, values)
    if facts.recipe.get("method") != recipe.get("method"):
        raise UserError(
            f"{path.as_posix()}: found a checkpoint of method '{facts.recipe.get('method')}', "
            f"expected '{recipe.get('method')}'; {ANEW}"
        )
    differing = differing_fields(facts.recipe, json.loads(json.dumps(recipe)))
    if facts.recipe_digest != recipe_digest or differing:
        named = f" ({'; '.join(differing[:3])}{'; ...' if len(differing) > 3 else ''})" if differing else ""
        raise UserError(f"{path.as_posix()}: the checkpoint was made with another recipe{named}; {ANEW}")
    parts = {name: values.get(name) for name in ("model", "optimizer", "scaler")}
    for name, value in parts.items():
        if not isinstance(value, dict):
            found = f"found {type(value).__name__}, expected a mapping"
            raise UserError(f"{path.as_posix()}: field '{name}': {found}; {ANEW}")
    return Checkpoint(**parts, facts=facts)


def read_facts(path: Path) -> CheckpointFacts:
    """The facts of a checkpoint, without its tensors; errors as `load_checkpoint`."""
    return _facts_of(path, _read_torch(path, whole=False))


def _facts_of(path: Path, values: Any) -> CheckpointFacts:
    if isinstance(values, dict) and values.get("format") == EARLIER:
        raise UserError(
            f"{path.as_posix()}: field 'format': found {EARLIER}, which has no checksums, expected {FORMAT}; {ANEW}"
        )
    known = isinstance(values, dict) and values.get("format") == FORMAT
    fields = CheckpointFacts.model_fields
    if not known or not {name for name, field in fields.items() if field.is_required()} <= values.keys():
        raise UserError(f"{path.as_posix()}: not a training checkpoint of Rematch; {ANEW}")
    named = {name: values[name] for name in fields if name in values}
    try:
        return CheckpointFacts.model_validate({**named, "recipe": parse_json(values["recipe"])})
    except ValidationError as error:
        fault = error.errors()[0]
        own = fault["type"] == "value_error"
        said = str(fault["ctx"]["error"]) if own else explain(error, CheckpointFacts)
        raise UserError(f"{path.as_posix()}: {said}; {ANEW}") from None
    except (TypeError, ValueError):
        raise UserError(f"{path.as_posix()}: field 'recipe': found no JSON document; {ANEW}") from None


def _read_torch(path: Path, *, whole: bool) -> Any:
    """A torch file, its checksums compared first, which `torch.load` does not do.

    whole: of the tensors too; else they must not be looked at. Raises UserError where they differ.
    """
    try:
        with open_archive(path) as archive:
            if whole and archive.testzip() is not None:
                raise zipfile.BadZipFile
            for name in archive.namelist():
                if name.endswith("/data.pkl"):
                    with archive.open(name) as handle:
                        next_pickle(handle)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=not whole)
    except Exception as error:  # a damaged file makes zipfile and torch raise nearly anything
        size = path.stat().st_size if path.is_file() else 0
        found = str(error) if isinstance(error, DocumentError) else f"{size} bytes: truncated or damaged"
        raise UserError(f"{path.as_posix()}: not a readable checkpoint ({found}); {ANEW}") from None


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


def weight_bytes(model: Baseline, notes: Mapping[str, Any] | None = None) -> bytes:
    """The model's whole state as a safetensors file, tied tensors once; `notes` (JSON) go into the header.

    The same state and notes give the same bytes.
    """
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
    metadata = {NOTES: json.dumps({"notes": dict(notes or {}), "tied": tied}, sort_keys=True)}
    return safetensors_bytes(tensors, metadata)


def save_weights(path: Path, model: Baseline, notes: Mapping[str, Any] | None = None) -> None:
    """Write `weight_bytes` to `path`."""
    write_bytes(path, weight_bytes(model, notes))


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """All tensors of a safetensors file (tied ones under each of their names), and its notes.

    Raises UserError where the file is missing, truncated or not safetensors.
    """
    with _opened(path) as handle:
        header = parse_json((handle.metadata() or {}).get(NOTES, "{}"))
        state = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
        state |= {name: state[kept] for name, kept in header.get("tied", {}).items()}
        return state, header.get("notes", {})


def read_notes(path: Path) -> dict[str, Any]:
    """The notes of a weights file alone; errors as `read_weights`."""
    with _opened(path) as handle:
        notes: dict[str, Any] = parse_json((handle.metadata() or {}).get(NOTES, "{}")).get("notes", {})
        return notes


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        check_safetensors(path)
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
