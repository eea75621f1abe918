"""Golden files for the tests of parity: read, changed on purpose, written elsewhere, compared."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from baselines.published.golden import GIVEN
from benchmark.checks.parity.report import compare
from benchmark.method import ParityCase
from benchmark.registry import get_method

GOLDEN = Path("tests/golden")

Arrays = dict[str, np.ndarray[Any, Any]]


def load(file: str) -> Arrays:
    """Read the arrays of `<method>/<name>.npz`."""
    with np.load(GOLDEN / file) as archive:
        return {key: archive[key] for key in archive.files}


def save(path: Path, arrays: Arrays) -> Path:
    """Write arrays to a file of any name."""
    with path.open("wb") as handle:
        np.savez(handle, **arrays)  # type: ignore[arg-type]
    return path


def computed(arrays: Arrays) -> set[str]:
    """The keys of the arrays that the published code computed."""
    return {key for key in arrays if "/" in key and key.split("/")[0] not in GIVEN}


def failed(cases: list[ParityCase]) -> set[str]:
    """The names of the cases that are out of tolerance."""
    return {case.name for case in cases if not compare("file", case).ok}


@cache
def golden_cases(file: str) -> tuple[ParityCase, ...]:
    """The cases of `<method>/<name>`, replayed once for all tests."""
    return tuple(get_method(file.split("/")[0]).parity_cases(GOLDEN / file))


def cases_at(method: str, path: Path) -> list[ParityCase]:
    """The cases that a method finds in a file."""
    return get_method(method).parity_cases(path)
