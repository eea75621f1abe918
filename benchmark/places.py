"""The places of the project's files: recipes, the papers' numbers, claims, results, the work folder.

All are paths below the current folder, and are called so everywhere. A distribution (`pip install`) carries a copy of
what a clone has to read, and a file that the current folder lacks is read from there. Nothing is written there.
"""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

RECIPES = Path("recipes")
RESULTS = Path("results")
PAPER = RESULTS / "paper"
CLAIMS = RESULTS / "claims.yaml"
ESTIMATES = RESULTS / "estimates.json"
"""Time and memory of trainings, estimated beforehand (benchmark/records/estimate.py)."""
SPEED_TARGETS = RESULTS / "speed-targets.yaml"
SPEED = RESULTS / "speed.json"
"""What `rematch time targets` measured, and the figures to be reached (benchmark/records/targets.py)."""
REFERENCE = RESULTS / "reference"
RUNS = RESULTS / "runs"
STUDIES = RESULTS / "studies"
TABLES = RESULTS / "tables"
HARDWARE = RESULTS / "hardware"
"""What `rematch gpu-check` found on devices."""
GOLDEN = Path("tests/golden")
WORK = Path(".rematch")
"""Checkpoints, logs, similarity matrices, computed features: what runs leave behind, not committed."""

PACKAGED = Path(__file__).with_name("packaged")
"""The distribution's copy, laid out as a clone is (pyproject.toml says of what); a clone has none."""
CLONE = Path("benchmark/places.py")
"""A folder that has this file is a clone: nothing is added to what it has."""


def locate(path: Path) -> Path:
    """Return where `path` is read: there, or in the distribution where it is not there."""
    packaged = PACKAGED / path
    if path.is_absolute() or path.exists() or CLONE.exists() or not packaged.exists():
        return path
    _tell()
    return packaged


def listing(folder: Path, pattern: str) -> list[Path]:
    """Return the paths below `folder` that fit a pattern, sorted, those that are only in the distribution too."""
    found = set(folder.glob(pattern))
    packaged = PACKAGED / folder
    if not folder.is_absolute() and packaged.is_dir() and not CLONE.exists():
        more = {folder / path.relative_to(packaged) for path in packaged.glob(pattern)} - found
        if more:
            _tell()
        found |= more
    return sorted(found)


@cache
def _tell() -> None:
    """Say, once a command, that files come from the distribution."""
    print(
        "note: this folder is no clone of Rematch: recipes, runs, papers' values and references that it lacks are read "
        "from the installed package; what is written goes below this folder",
        file=sys.stderr,
    )
