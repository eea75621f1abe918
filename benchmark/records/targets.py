"""Speed that is to be reached, results/speed-targets.yaml, and what was measured of it, results/speed.json.

`rematch time targets` measures and writes the second; the table in docs/papers/speed.md is made from both.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal, Self, TypeVar

from pydantic import Field, ValidationError, model_validator

from benchmark.errors import UserError
from benchmark.files import write_text
from benchmark.guarded import DocumentError, read_json, read_yaml
from benchmark.places import SPEED, SPEED_TARGETS
from benchmark.recipe.faults import explain
from benchmark.strict import Strict

Kind = Literal["step", "memory", "scoring", "ranks", "epoch"]
AT_MOST: tuple[Kind, ...] = ("memory", "epoch")
"""Kinds whose figures are to be small."""


class Target(Strict):
    """One figure to be reached."""

    kind: Kind
    case: str
    """The name of a method's case; of ranks, images x captions; of an epoch, its negatives."""
    target: float = Field(gt=0)
    """Times as fast; of memory GB; of an epoch a share of the time."""
    method: str | None = None
    recipe: str | None = None
    batch: int | None = Field(default=None, ge=8, multiple_of=4)

    @model_validator(mode="after")
    def _of_its_kind(self) -> Self:
        needed = {
            "step": {"method", "batch"},
            "memory": {"method", "batch"},
            "scoring": {"method"},
            "ranks": set(),
            "epoch": {"recipe"},
        }[self.kind]
        found = {name for name in ("method", "recipe", "batch") if getattr(self, name) is not None}
        if found != needed:
            said, expected = (", ".join(sorted(names)) or "nothing" for names in (found, needed))
            raise ValueError(f"'{self.kind}' of '{self.case}': found {said} beside it, expected {expected}")
        return self

    @property
    def name(self) -> str:
        """The key of what was measured."""
        parts = [self.kind, self.method or self.recipe, self.case]
        parts += [f"batch {self.batch}"] if self.batch else []
        return ", ".join(part for part in parts if part)

    def met(self, reached: float) -> bool:
        """Return True where the figure is reached."""
        return reached <= self.target if self.kind in AT_MOST else reached >= self.target


class Targets(Strict):
    """All targets, in the order in which they are measured."""

    targets: list[Target]

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        names = [target.name for target in self.targets]
        double = next((name for place, name in enumerate(names) if name in names[:place]), None)
        if double:
            raise ValueError(f"found '{double}' twice")
        return self


class Measured(Strict):
    """One measurement."""

    reached: float | None
    """In the unit of the target; None where the system does not tell."""
    over_floor: float | None = None
    """Our time over that of the matrix products that cannot be removed (speed.md 5)."""
    extrapolated: bool = False
    """True where the published way was measured on smaller batches."""


class Measurements(Strict):
    """Figures that were measured of one version of the code, on one machine."""

    hardware: str
    torch: str
    threads: int
    commit: str | None
    """The commit of the code; None outside a checkout."""
    rows: dict[str, Measured] = {}
    """By the names of the targets."""


Document = TypeVar("Document", bound=Strict)


def read_targets(path: Path = SPEED_TARGETS) -> list[Target]:
    """The targets; raises UserError where the file is not there or at fault."""
    try:
        document = read_yaml(path)
    except (OSError, DocumentError) as error:
        raise UserError(f"{path.as_posix()}: not readable as targets: {error}") from None
    return _validated(Targets, document, path).targets


def read_measurements(path: Path = SPEED) -> Measurements | None:
    """Read what was measured, None where there is no file; raises UserError where it is at fault."""
    try:
        document = read_json(path)
    except FileNotFoundError:
        return None
    except (OSError, DocumentError) as error:
        raise UserError(f"{path.as_posix()}: not readable as measurements: {error}") from None
    return _validated(Measurements, document, path)


def write_measurements(measurements: Measurements, path: Path = SPEED) -> None:
    """Write what was measured, atomically."""
    write_text(path, json.dumps(measurements.model_dump(mode="json"), indent=1) + "\n")


def _validated(kind: type[Document], document: object, path: Path) -> Document:
    if not isinstance(document, dict):
        raise UserError(f"{path.as_posix()}: found a {type(document).__name__}, expected fields")
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        raise UserError(f"{path.as_posix()}: {explain(error, kind)}") from None
