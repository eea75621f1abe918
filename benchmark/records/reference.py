"""References: what `rematch drift` compares with, results/reference/<dataset>/<run>.json, .safetensors, .npz.

A reference holds, for one recipe: small trained weights with the scores and ranks that they gave, the first losses of
the training, and the metrics of the full training. Tolerances stand beside the numbers they belong to.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from benchmark.errors import UserError
from benchmark.files import write_text
from benchmark.guarded import DocumentError, read_json
from benchmark.places import REFERENCE, locate
from benchmark.recipe.faults import explain
from benchmark.strict import Strict


class Rescored(Strict):
    """Scores of the committed weights on the test split; nothing random is in them but float rounding."""

    weights_sha256: str
    metrics: dict[str, float]
    metrics_tolerance: float
    """The tolerance in points of recall: the change that a flip of two nearly equal scores may make."""
    sims: list[float] = Field(min_length=1)
    """A sample of similarities, evenly spread over the matrix in row-major order."""
    sims_tolerance: float
    """Absolute."""
    ranks_sha256: str | None = None
    """The sha256 of the ranks beside it (`.npz`); None: `rematch drift --update-ranks` has not written them yet."""


class Trace(Strict):
    """Losses of the first steps of a training."""

    losses: list[float] = Field(min_length=1)
    tolerance: float
    """Relative; thread counts and processors change the rounding, and training amplifies it."""


class FullTraining(Strict):
    """Metrics of the whole training with one seed."""

    seed: int
    metrics: dict[str, float]
    tolerance: float
    """The tolerance in points of recall; rsum has six times as much."""


class Reference(Strict):
    """The reference of one recipe; an ensemble has only the full metrics."""

    schema_version: Literal[1] = 1
    recipe_path: str
    recipe_digest: str
    """The reference stands for this recipe; when the recipe changes, it must be made anew."""
    rescored: Rescored | None
    trace: Trace | None
    full: FullTraining
    made_with: dict[str, str | int]
    """Versions, processor and threads."""


def reference_path(dataset: str, run: str, folder: Path = REFERENCE) -> Path:
    """Return the path of the reference of a run; weights (`.safetensors`) and ranks (`.npz`) lie beside it."""
    return folder / dataset / f"{run}.json"


def read_reference(path: Path) -> Reference:
    """Read a reference; raises UserError that names file and field."""
    try:
        return Reference.model_validate(read_json(locate(path)))
    except (OSError, DocumentError) as error:
        raise UserError(
            f"{path.as_posix()}: not a readable reference: {error}; `rematch drift --update`"
        ) from None
    except ValidationError as error:
        raise UserError(f"{path.as_posix()}: {explain(error, Reference)}") from None


def write_reference(reference: Reference, path: Path) -> None:
    """Write a reference atomically."""
    write_text(path, json.dumps(reference.model_dump(mode="json"), indent=1) + "\n")
