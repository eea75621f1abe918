"""The weights of an export: those of the training, or the committed reference of a run that was not trained here."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save as safetensors_bytes

from benchmark.errors import UserError
from benchmark.files import sha256_bytes, sha256_file
from benchmark.places import locate
from benchmark.records.record import RunRecord
from benchmark.records.reference import read_reference, reference_path
from benchmark.training import read_weights
from benchmark.training.checkpoints import NOTES


@dataclass(frozen=True)
class Exported:
    """Weights as they go into the folder."""

    content: bytes
    source: Path
    note: str | None = None
    """What the card says of weights that are not those of the training bit by bit; None: they are."""

    @property
    def sha256(self) -> str:
        return sha256_bytes(self.content)


def find_weights(record: RunRecord, path: Path, weights: Path | None, trained: Path) -> Exported:
    """Return the weights of a run: those that the user names, the training's, else the committed reference's.

    weights: named by the user. trained: where the training leaves them. Raises UserError where there are none, with
    the command that makes them, and for weights of another run.
    """
    source = weights or trained
    if weights is None and not trained.is_file():
        reference = _reference(record)
        if reference is not None:
            return reference
    if not source.is_file():
        made = f"rematch reproduce {record.recipe_path} --seeds {record.seed}"
        raise UserError(
            f"{source.as_posix()}: the weights of {path.as_posix()} are not there; train them again ({made}), or say "
            f"where they are (--weights){_committed_instead(record)}"
        )
    found = sha256_file(source)
    if found != record.weights_sha256:
        expected = (record.weights_sha256 or "none")[:12]
        raise UserError(
            f"{source.as_posix()}: found sha256 {found[:12]}, expected {expected} as {path.as_posix()} says: these are "
            "not the weights of that run"
        )
    return Exported(source.read_bytes(), source)


def _reference(record: RunRecord) -> Exported | None:
    """Return the committed weights of a run, as wide as a model is; None where they are of another seed or recipe."""
    path = reference_path(record.dataset.name, record.run)
    stored = path.with_suffix(".safetensors")
    if not (locate(path).is_file() and locate(stored).is_file()):
        return None
    reference = read_reference(path)
    same = (reference.full.seed, reference.recipe_digest) == (record.seed, record.recipe_digest)
    if not same or reference.rescored is None:
        return None
    found = sha256_file(locate(stored))
    if found != reference.rescored.weights_sha256:
        raise UserError(
            f"{stored.as_posix()}: found sha256 {found[:12]}, expected {reference.rescored.weights_sha256[:12]} as "
            f"{path.as_posix()} says; restore it with git"
        )
    state, notes = read_weights(locate(stored))
    wide = {
        name: value.float() if value.dtype == torch.float16 else value.clone()
        for name, value in state.items()
    }
    content = safetensors_bytes(wide, {NOTES: json.dumps({"notes": notes, "tied": {}}, sort_keys=True)})
    rsum, ours = (
        reference.rescored.metrics.get("rsum"),
        record.results[next(iter(record.results))].metrics.rsum,
    )
    told = "" if rsum is None else f": rsum {rsum:.1f} in place of the record's {ours:.1f}"
    return Exported(
        content, stored, f"the committed reference, stored in half precision and widened again{told}"
    )


def _committed_instead(record: RunRecord) -> str:
    """Say which seed of the run has committed weights, where there is one."""
    path = reference_path(record.dataset.name, record.run)
    if not locate(path).is_file():
        return ""
    seed = read_reference(path).full.seed
    what = f"those of seed {seed}" if seed != record.seed else "the ones of another recipe"
    return f"; committed are {what}"
