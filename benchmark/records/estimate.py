"""Estimates of trainings, results/estimates.json: time and memory of a recipe, probed once and committed.

`rematch time estimates --update` writes them. Tables read them from here and never estimate by themselves, so that they
are the same byte for byte on every machine. An estimate belongs to one version of its recipe: the digest says which.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from benchmark.errors import UserError
from benchmark.files import write_text
from benchmark.guarded import DocumentError, read_json
from benchmark.places import ESTIMATES, locate
from benchmark.recipe.faults import explain
from benchmark.recipe.files import read_document
from benchmark.records.parts import Sha256
from benchmark.records.record import recipe_digest
from benchmark.strict import Strict


class Estimate(Strict):
    """Time and memory of one training, scaled up from a few steps on synthetic batches (benchmark/run/plan.py)."""

    recipe_digest: Sha256
    """The digest of the recipe's file as it was, prose and seed left out."""
    seconds: Annotated[int, Field(gt=0)]
    """On one thread of the hardware."""
    memory_bytes: Annotated[int, Field(gt=0)]
    """While training, in the stage that takes the most: weights, gradients, moments, and what a step keeps."""
    host_bytes: Annotated[int, Field(gt=0)]
    """On the host, while the largest split is evaluated."""
    device_bytes: Annotated[int, Field(gt=0)]
    """Of weights and a block of pairs, where these are scored."""
    batch_size: Annotated[int, Field(gt=0)]
    flops: Annotated[float, Field(gt=0)]
    """Of the whole training's matrix products, forward and backward."""
    hardware: str
    torch: str
    """The version."""

    def or_shorter(self, former: Estimate | None) -> Estimate:
        """The same, with the time of an earlier one on the same hardware where that is shorter.

        Other work on a machine makes a probe take longer, never shorter.
        """
        if former is None or (former.recipe_digest, former.hardware) != (self.recipe_digest, self.hardware):
            return self
        return self.model_copy(update={"seconds": min(self.seconds, former.seconds)})


def file_digest(path: Path) -> str:
    """The digest of a recipe's file, read without its method; raises UserError where it cannot be read."""
    return recipe_digest(read_document(path))


def read_estimates(path: Path = ESTIMATES) -> dict[str, Estimate]:
    """Recipe's path -> its estimate; {} where there is no file.

    Raises UserError that names file and field.
    """
    try:
        document = read_json(locate(path))
    except FileNotFoundError:
        return {}
    except (OSError, DocumentError) as error:
        raise UserError(f"{path.as_posix()}: not readable as estimates: {error}") from None
    if not isinstance(document, dict):
        raise UserError(f"{path.as_posix()}: found a {type(document).__name__}, expected recipes by path")
    found = {}
    for recipe, fields in document.items():
        try:
            found[recipe] = Estimate.model_validate(fields)
        except ValidationError as error:
            raise UserError(f"{path.as_posix()}: '{recipe}': {explain(error, Estimate)}") from None
    return found


def write_estimates(estimates: Mapping[str, Estimate], path: Path = ESTIMATES) -> None:
    """Write estimates by the paths of their recipes, atomically."""
    document = {name: estimates[name].model_dump(mode="json") for name in sorted(estimates)}
    write_text(path, json.dumps(document, indent=1) + "\n")
