"""Parity: recorded outputs of official code beside ours, number by number; `rematch parity METHOD [FILES]`.

A file is recognised by what it holds, never by its name. Ranks, metrics, caption preprocessing and the detector are
compared here, the rest by the method's own `parity_cases`. A check fails where a number leaves its tolerance, where
a recorded array has nothing of ours beside it, and where nothing was compared at all.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.checks.parity.detector import detector_cases, is_detector_file
from benchmark.checks.parity.pieces import is_piece_file, piece_cases
from benchmark.checks.parity.ranks import is_rank_file, is_text_file, rank_cases, text_cases
from benchmark.checks.parity.vectors import dictionary_cases, is_dictionary_file, is_recall_file, recall_cases
from benchmark.checks.parity.words import is_word_file, word_cases
from benchmark.errors import UserError, nearest
from benchmark.guarded import read_json
from benchmark.method import ParityCase
from benchmark.places import GOLDEN
from benchmark.registry import get_method, method_names
from benchmark.reporting.sheet import Cell, Sheet, make_sheet

SHARED = ("evaluation", "detector")
"""The cases that belong to no method, by the names of their folders."""
SUFFIXES = (".npz", ".json", ".mat")


@dataclass(frozen=True)
class ParityRow:
    """One recorded quantity: the largest error of its numbers, and whether it is within tolerance."""

    file: str
    quantity: str
    error: float
    """Largest |expected - actual|, divided by the largest |expected| if relative, and by what the entry is allowed
    if that has a share; of text, entries that differ."""
    tolerance: float
    relative: bool
    count: int
    """Numbers compared."""
    ok: bool
    note: str = ""
    share: float = 0.0
    """The fraction of each |expected| that is allowed beside the tolerance."""

    @property
    def cells(self) -> tuple[str, str]:
        """Error and tolerance for the terminal."""
        if self.share:
            return f"{self.error:.2g} of it", f"{self.tolerance:.2g} + {self.share:.2g} of each"
        return f"{self.error:.2g}", f"{self.tolerance:.2g}{' of max' if self.relative else ''}"


@dataclass(frozen=True)
class ParityReport:
    """All rows of a run; `ok` decides the exit code."""

    method: str
    rows: list[ParityRow] = field(default_factory=list)

    @property
    def failed(self) -> list[ParityRow]:
        return [row for row in self.rows if not row.ok]

    @property
    def compared(self) -> int:
        """Numbers that were compared."""
        return sum(row.count for row in self.rows)

    @property
    def ok(self) -> bool:
        """Everything within tolerance, and something was compared."""
        return self.compared > 0 and not self.failed

    def summary(self) -> str:
        """One line with the outcome."""
        files = len({row.file for row in self.rows})
        if not self.compared:
            return f"parity {self.method}: FAILED, nothing was compared ({files} files)"
        where = f"{self.compared} numbers of {len(self.rows)} quantities in {files} files"
        if self.ok:
            return f"parity {self.method}: passed, {where} within tolerance"
        return (
            f"parity {self.method}: FAILED, {len(self.failed)} quantities out of tolerance; {where} compared"
        )

    def sheet(self, only_failed: bool = False) -> Sheet:
        """The rows as a table, a line between files."""
        heads = ("file", "quantity", "numbers", "largest error", "tolerance", "state")
        found = self.failed if only_failed else self.rows
        rows = []
        for row in found:
            state = "ok" if row.ok else f"FAILED {row.note}".rstrip()
            error, tolerance = row.cells
            numbers = (row.count, Cell(error, row.error), Cell(tolerance, row.tolerance))
            rows.append((row.file, row.quantity, *numbers, state))
        alarms = [number for number, row in enumerate(found) if not row.ok]
        return make_sheet(
            f"parity {self.method}",
            heads,
            rows,
            left=2,
            notes=[self.summary()],
            alarms=alarms,
            group=0,
            passed=self.ok,
        )


def run_parity(method: str, paths: Sequence[Path] | None = None) -> ParityReport:
    """Compare golden files with ours.

    method: a registered method, or `evaluation` or `detector` for cases that belong to none. paths: files and folders
    (a folder stands for its .npz, .json and .mat files); none: the method's folder in tests/golden. Raises UserError
    for an unknown method, and for a path that is missing or cannot be read.
    """
    if method not in (known := [*SHARED, *method_names()]):
        raise UserError(f"unknown method '{method}'{nearest(method, known)}")
    report = ParityReport(method)
    own = GOLDEN / (method if method in SHARED else get_method(method).golden or method)
    if not paths and not own.is_dir():
        raise UserError(
            f"{own.as_posix()}: no such folder: {method} has no golden files yet; record outputs of the published code "
            "there (.npz, .json or .mat), give its Method `parity_cases`, and see docs/plugin.md"
        )
    for path in _files(list(paths) if paths else [own]):
        report.rows.extend(check_file(method, path))
    return report


def check_file(method: str, path: Path) -> list[ParityRow]:
    """Compare one file and return its rows; one failed row where nothing recognises the file."""
    content = read_golden(path)
    try:
        if is_rank_file(content):
            cases = rank_cases(content)
            missing = not_compared(content, cases)
        elif is_text_file(content):
            cases, missing = text_cases(content)
        elif is_word_file(content):
            cases, missing = word_cases(content)
        elif is_piece_file(content):
            cases, missing = piece_cases(content)
        elif is_dictionary_file(content):
            cases, missing = dictionary_cases(content)
        elif is_recall_file(content):
            cases = recall_cases(content)
            missing = not_compared(content, cases)
        elif is_detector_file(content):
            cases, missing = detector_cases(content)
        elif method in SHARED:
            cases, missing = [], []
        else:
            cases = get_method(method).parity_cases(path)
            missing = not_compared(content, cases)
    except UserError as error:
        raise UserError(f"{path.as_posix()}: {error}") from None
    if not cases:
        return [_fault(path, "file", f"not recognised by {method}")]
    rows = [compare(path.name, case) for case in cases]
    return rows + [_fault(path, key, "recorded, but nothing to compare it with") for key in missing]


def not_compared(content: Mapping[str, Any], cases: Sequence[ParityCase]) -> list[str]:
    """Recorded arrays of an .npz file (all but its configuration, inputs and weights) that no case names."""
    named = {word for case in cases for word in case.name.split()}
    given = ("config", "inputs", "weights")
    return [key for key in content if "/" in key and key.split("/")[0] not in given and key not in named]


def compare(file: str, case: ParityCase) -> ParityRow:
    """Hold one case against its tolerance; a different shape, NaN and an empty array fail."""
    error, note = _error(np.asarray(case.expected), np.asarray(case.actual), case)
    return ParityRow(
        file=file,
        quantity=case.name,
        error=error,
        tolerance=case.tolerance,
        relative=case.relative,
        count=int(np.size(case.expected)),
        ok=error <= (1.0 if case.share else case.tolerance),
        note=note,
        share=case.share,
    )


def _error(
    expected: np.ndarray[Any, Any], actual: np.ndarray[Any, Any], case: ParityCase
) -> tuple[float, str]:
    if expected.shape != actual.shape:
        return float("inf"), f"recorded shape {expected.shape}, ours {actual.shape}"
    if not expected.size:
        return float("inf"), "empty"
    if "U" in (expected.dtype.kind, actual.dtype.kind):
        differing = int(np.count_nonzero(expected.astype(str) != actual.astype(str)))
        return float(differing), "text differs" if differing else ""
    wide = np.result_type(expected, actual, np.float64)
    with np.errstate(invalid="ignore"):  # infinite on both sides: found just below
        difference = np.abs(expected.astype(wide) - actual.astype(wide))
    if not np.isfinite(difference).all():
        return float("inf"), "not finite"
    if not difference.any():
        return 0.0, ""
    sizes = np.abs(expected.astype(wide))
    allowed = sizes.max() if case.relative else case.tolerance + case.share * sizes if case.share else 1.0
    with np.errstate(divide="ignore", invalid="ignore"):  # an error where none is allowed is infinite
        return float(np.where(difference > 0, difference / allowed, 0.0).max()), ""


def _fault(path: Path, quantity: str, note: str) -> ParityRow:
    return ParityRow(path.name, quantity, float("inf"), 0.0, False, 0, False, note)


# ---------------------------------------------------------------------------------------- files


def _files(paths: Sequence[Path]) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            files += sorted(item for item in path.iterdir() if item.suffix in SUFFIXES and item.is_file())
        elif path.is_file():
            files.append(path)
        else:
            known = [item.as_posix() for item in path.parent.glob("*")] if path.parent.is_dir() else []
            raise UserError(f"{path.as_posix()}: no such file or folder{nearest(path.as_posix(), known)}")
    return files


def read_golden(path: Path) -> dict[str, Any]:
    """Arrays of an .npz file or the fields of a .json object, told apart by content; {} for anything else.

    Raises UserError for an archive or a document that is damaged.
    """
    with path.open("rb") as handle:
        start = handle.read(16).lstrip()
    try:
        if start.startswith(b"PK"):
            with np.load(path, allow_pickle=False) as archive:
                return {key: archive[key] for key in archive.files}
        if start.startswith(b"{"):
            document: dict[str, Any] = read_json(path)
            return document
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path.as_posix()}: damaged: {reason}") from None
    return {}
