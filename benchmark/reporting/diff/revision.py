"""All run records that differ from a git revision, each compared with what it was."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmark.errors import UserError
from benchmark.places import RUNS
from benchmark.reporting.diff.compare import RunDiff, compare
from benchmark.reporting.diff.sides import changed_files, load_side


@dataclass(frozen=True)
class ChangedRecord:
    """One record."""

    record: str
    """`<dataset>/<run>/<seed>`."""
    what: str
    """The word `new`, `gone` or `changed`; or the reason why the two cannot be compared."""
    refused: bool = False
    diff: RunDiff | None = None


@dataclass(frozen=True)
class RevisionDiff:
    """Every record that is new, gone or different."""

    revision: str
    entries: tuple[ChangedRecord, ...]


def diff_revision(revision: str, *, runs: Path = RUNS, most: int = 10) -> RevisionDiff:
    """Compare the records below `runs` with those of a git revision.

    A record whose signature is another is an entry that says so, so that the others can still be seen.
    Raises UserError where there is no such revision, and for a record that cannot be read.
    """
    found = changed_files(revision, runs)
    names = {file.removesuffix(".json"): status for file, status in found.items()}
    return RevisionDiff(revision, tuple(_entry(revision, name, names[name], runs, most) for name in names))


def _entry(revision: str, name: str, status: str, runs: Path, most: int) -> ChangedRecord:
    if status in ("A", "D"):
        return ChangedRecord(name, {"A": "new", "D": "gone"}[status])
    old, new = load_side(f"{revision}:{name}", runs), load_side(name, runs)
    try:
        diff = compare(old, new, most=most)
    except UserError as error:
        return ChangedRecord(name, str(error), refused=True)
    return ChangedRecord(name, "times and environment alone" if diff.same_hash else "changed", diff=diff)
