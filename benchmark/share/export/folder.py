"""`rematch export`: a run as a folder for the Hugging Face Hub, and nothing that leaves this machine.

`model.safetensors`, `recipe.yaml` (as resolved, so that `rematch evaluate` takes the two), the vocabulary where one
was kept, `record.json` with its sidecar `record.npz`, and `README.md`, a model card (export_card.py). The same run
gives the same bytes. Nothing is uploaded here (push.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from benchmark.data.text.word_codec import KEPT
from benchmark.errors import UserError
from benchmark.files import replacing
from benchmark.places import WORK
from benchmark.recipe.faults import validated
from benchmark.recipe.schema import Recipe
from benchmark.records.record import RunRecord, read_record
from benchmark.records.sidecar import checked
from benchmark.share.export.card import model_card
from benchmark.share.export.weights import find_weights

MODEL, RECIPE, RECORD, SIDECAR, CARD = (
    "model.safetensors",
    "recipe.yaml",
    "record.json",
    "record.npz",
    "README.md",
)
NEEDED = (MODEL, RECIPE, RECORD, SIDECAR, CARD)
"""The files of every export; a folder without them is not one."""

HEADER = """\
# The recipe of {run}, seed {seed}, as it was resolved: every default spelled out. Made by `rematch export`.
# rematch evaluate --recipe recipe.yaml --checkpoint model.safetensors
"""


@dataclass(frozen=True)
class Export:
    """A folder that was written."""

    folder: Path
    run: str
    files: list[str]
    note: str | None = None
    """What is to be said of the weights; None: they are the training's."""

    @property
    def upload(self) -> str:
        """The command with which a user shares it."""
        return f"hf upload YOUR-NAME/{self.run} {self.folder.as_posix()} ."


def export_run(
    path: Path,
    folder: Path,
    *,
    weights: Path | None = None,
    licence: str | None = None,
    work: Path = WORK,
    force: bool = False,
) -> Export:
    """Write the run of the record at `path` to `folder`.

    weights: where the run's weights lie, if not in the work folder. licence: of the weights, an id of the Hub's.
    force: write to a folder that holds other things; they stay. Raises UserError for an ensemble and for an authors'
    checkpoint, which have no weights of ours, for weights that are missing or others, and for a folder that is not one.
    """
    record = read_record(path)
    _check_single(record)
    _check_folder(folder, force)
    sidecar = path.with_suffix(".npz")
    if not sidecar.is_file():
        raise UserError(f"{sidecar.as_posix()}: the sidecar of {path.as_posix()} is missing; run again")
    packed = sidecar.read_bytes()
    checked(packed, record, sidecar.as_posix())
    trained = work / record.dataset.name / record.run / str(record.seed) / "best.safetensors"
    found = find_weights(record, path, weights, trained)
    contents = {
        MODEL: found.content,
        RECIPE: _recipe_text(record, path).encode(),
        RECORD: path.read_bytes(),
        SIDECAR: packed,
    }
    if (found.source.parent / KEPT).is_file():
        contents[KEPT] = (found.source.parent / KEPT).read_bytes()
    kept = KEPT in contents
    contents[CARD] = model_card(
        record, licence, has_vocabulary=kept, weights_sha256=found.sha256, weights_note=found.note
    ).encode()
    for name, content in contents.items():
        with replacing(folder / name) as handle:
            handle.write(content)
    if KEPT not in contents:
        (folder / KEPT).unlink(missing_ok=True)  # of an earlier export: an evaluation would take it
    return Export(folder, record.run, sorted(contents), found.note)


def _check_single(record: RunRecord) -> None:
    if record.weights == "members":
        members = ", ".join(f"{record.dataset.name}/{member.run}/{member.seed}" for member in record.members)
        raise UserError(
            f"run '{record.run}': an ensemble has no weights of its own; export its members: {members}"
        )
    if record.weights == "elsewhere":
        raise UserError(f"run '{record.run}': its scores are from elsewhere; there are no weights to export")
    if record.weights == "pretrained":
        raise UserError(
            f"run '{record.run}': its weights are of the Hub as they are; share their name and revision, which "
            f"{record.recipe_path} has"
        )
    if record.weights == "official":
        raise UserError(
            f"run '{record.run}': its weights are the authors'; what may be done with them is theirs to say"
        )


def _check_folder(folder: Path, force: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder.as_posix()}: found a file, expected a folder to write to")
    there = {item.name for item in folder.iterdir()} if folder.is_dir() else set()
    if there and not set(NEEDED) <= there and not force:
        raise UserError(
            f"{folder.as_posix()}: found {len(there)} files that are no export of a run; name another folder, or "
            "--force to write among them"
        )


def _recipe_text(record: RunRecord, path: Path) -> str:
    """The resolved recipe as a file that `rematch evaluate` reads; a profile's changes are in it already."""
    document = {name: value for name, value in record.recipe.items() if name != "profile"}
    validated(Recipe, document, path)
    body = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=110)
    return HEADER.format(run=record.run, seed=record.seed) + body
