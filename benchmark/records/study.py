"""Results of a study: results/studies/<name>.json, all that its table is made of, and the file of each run.

A study holds a set of small models side by side on scenes. Its numbers are means over seeds of an analogue:
they say what an idea does there, and are never held against a paper's.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, Field, ValidationError, model_validator

from benchmark.errors import UserError
from benchmark.files import write_text
from benchmark.guarded import read_json
from benchmark.recipe.faults import explain
from benchmark.records.environment import Environment
from benchmark.records.parts import METRICS, Count, Part, Real, Sha256
from benchmark.records.record import absolute_paths


class Comparison(Part):
    """Two variants whose difference, `of` less `against`, is reported over the seeds that both have."""

    of: str
    against: str


class StudyRun(Part):
    """One variant with one seed."""

    variant: str
    seed: int
    digest: Sha256
    """The sha256 of the recipe with the changes of the study and the variant; the seed is no part of it."""
    version: str
    """The version of Rematch."""
    fingerprint: Sha256
    """The sha256 of the test split's pictures and captions, whatever features are made of the pictures."""
    metrics: dict[str, Real]
    """METRICS on the test split, in percent."""
    best_epoch: Count
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """Training and evaluation."""
    environment: Count = 0
    """Place in the study's list of environments."""

    @model_validator(mode="after")
    def _all_metrics(self) -> Self:
        if set(self.metrics) != set(METRICS):
            raise ValueError(f"metrics are {', '.join(self.metrics)}, expected {', '.join(METRICS)}")
        return self


class RunFile(Part):
    """The file that a finished run leaves in the work folder, so that it is not run again."""

    run: StudyRun
    environment: Environment


class VariantFacts(Part):
    """A variant as it was run."""

    name: str
    summary: str
    recipe: str
    """Path of the recipe that it begins with."""
    changes: dict[str, Any]
    """The changes to that recipe, field by field."""
    digest: Sha256
    departures: list[str]


class StudyResults(Part):
    """All runs of a study."""

    schema_version: Literal[1] = 1
    study: str
    summary: str
    budget_seconds: Annotated[float, Field(gt=0)]
    """The time one run may take; a longer run is whole, and marked."""
    variants: list[VariantFacts] = Field(min_length=1)
    comparisons: list[Comparison]
    environments: list[Environment] = Field(min_length=1)
    runs: list[StudyRun] = Field(min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        digests = {variant.name: variant.digest for variant in self.variants}
        for run in self.runs:
            if digests.get(run.variant) != run.digest:
                raise ValueError(f"run {run.variant}, seed {run.seed}: not a run of the study's variants")
            if run.environment >= len(self.environments):
                raise ValueError(f"run {run.variant}, seed {run.seed}: no environment {run.environment}")
        if len({(run.variant, run.seed) for run in self.runs}) < len(self.runs):
            raise ValueError("a variant has a seed twice")
        if {name for pair in self.comparisons for name in (pair.of, pair.against)} - digests.keys():
            raise ValueError("a comparison names no variant of the study")
        if len({run.fingerprint for run in self.runs}) > 1:
            raise ValueError("the variants were not tested on the same split: they cannot be compared")
        if len({run.version for run in self.runs}) > 1:
            raise ValueError("the runs were made by several versions of Rematch")
        if absolute_paths(self.model_dump(mode="json")):
            raise ValueError("holds an absolute path")
        return self

    def runs_of(self, variant: str) -> dict[int, StudyRun]:
        """The variant's runs by seed, in order."""
        found = {run.seed: run for run in self.runs if run.variant == variant}
        return dict(sorted(found.items()))


def gather(runs: Sequence[RunFile], **facts: Any) -> StudyResults:
    """The results of a study from the files of its runs; equal environments are listed once.

    facts: the other fields of StudyResults. Raises UserError where the runs do not belong together.
    """
    environments: list[Environment] = []
    for item in runs:
        if item.environment not in environments:
            environments.append(item.environment)
    numbered = [
        item.run.model_copy(update={"environment": environments.index(item.environment)}) for item in runs
    ]
    try:
        return StudyResults(environments=environments, runs=numbered, **facts)
    except ValidationError as error:
        raise UserError(f"study {facts['study']}: {_fault(error, StudyResults)}") from None


Document = TypeVar("Document", bound=BaseModel)


def read_part(path: Path, schema: type[Document]) -> Document:
    """Read a file of `schema`; raises UserError that names the file and the field."""
    try:
        return schema.model_validate(read_json(path))
    except (OSError, ValueError) as error:
        if isinstance(error, ValidationError):
            raise UserError(f"{path.as_posix()}: {_fault(error, schema)}") from None
        reason = " ".join(str(error).split())
        raise UserError(f"{path.as_posix()}: not readable ({reason}); delete it and run again") from None


def write_part(part: BaseModel, path: Path) -> None:
    """Write as JSON, atomically."""
    text = json.dumps(part.model_dump(mode="json"), indent=1, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def read_results(path: Path) -> StudyResults:
    """Read results/studies/<name>.json; raises UserError for a file at fault or of another name."""
    results = read_part(path, StudyResults)
    if results.study != path.stem:
        raise UserError(f"{path.as_posix()}: holds the study '{results.study}'")
    return results


def _fault(error: ValidationError, schema: type[BaseModel]) -> str:
    fault = error.errors()[0]
    if fault["type"] == "value_error":
        return str(fault["ctx"]["error"])
    return " ".join(explain(error, schema).split())
