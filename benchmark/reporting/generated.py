"""Everything in results/ that is made from the records: which files, their bytes, and which of them are stale.

`generated_files` is the one list; `rematch leaderboard` writes it, `rematch leaderboard --check` compares.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from benchmark.files import replacing, sweep
from benchmark.places import RESULTS, STUDIES, TABLES
from benchmark.records.checksums import LIST, checksum_list
from benchmark.reporting.claims.page import claims_files
from benchmark.reporting.evidence import read_evidence
from benchmark.reporting.index import index
from benchmark.reporting.leaderboard.values import HEAD
from benchmark.reporting.page import render_page
from benchmark.reporting.studies import runs as study_table
from benchmark.reporting.tables import table_files

REPORT = RESULTS / "report.html"
FOLDERS = (TABLES, STUDIES)
"""The folders in which files may be left over."""
HEADS = (
    b"; do not edit",
    ",".join(HEAD).encode(),
    b"claim,paper,",
    b"study,kind,",
    b"<?xml",
    b'"title": "leaderboard"',
)
"""One of these stands at the beginning of every generated file."""


@dataclass(frozen=True)
class Written:
    """The files that `write_generated` wrote."""

    files: list[Path]
    """All generated files."""
    changed: list[Path]
    """The files among them that were written, and the files that were removed."""


def generated_files(root: Path = Path()) -> dict[Path, bytes]:
    """Path -> content of every generated file below `root`, in the order of the paths.

    Raises UserError where there is no run record, or a record, a study's results or a paper's file is at fault.
    """
    evidence = read_evidence(root)
    tables = table_files(evidence.boards)
    if evidence.claims:
        tables |= claims_files(evidence.claims, evidence.papers)
    texts = {root / TABLES / name: text for name, text in tables.items()}
    texts |= study_table.render(root / STUDIES)
    below = [PurePosixPath(path.relative_to(root / RESULTS).as_posix()) for path in (*texts, root / REPORT)]
    texts[root / TABLES / "README.md"] = index(below)
    texts[root / LIST] = checksum_list(root)
    files = {path: text.encode("utf-8") for path, text in texts.items()} | {
        root / REPORT: render_page(evidence)
    }
    return dict(sorted(files.items()))


def write_generated(root: Path = Path()) -> Written:
    """Write the stale or missing files and remove the left-over ones.

    Raises UserError as `generated_files` does; nothing is written then.
    """
    files = generated_files(root)
    for path in files:
        sweep(path.parent, path.name)
    stale = _stale(files)
    for path in stale:
        with replacing(path) as handle:
            handle.write(files[path])
    left = _left_over(root, files)
    for path in left:
        path.unlink()
    return Written(list(files), [*stale, *left])


def check_generated(root: Path = Path(), files: Mapping[Path, bytes] | None = None) -> list[Path]:
    """Files that `write_generated` would write otherwise, add or remove; []: up to date.

    files: what `generated_files` gave, where it is known already.
    """
    files = generated_files(root) if files is None else files
    return [*_stale(files), *_left_over(root, files)]


def _stale(files: Mapping[Path, bytes]) -> list[Path]:
    return [path for path, content in files.items() if not path.is_file() or path.read_bytes() != content]


def _left_over(root: Path, files: Mapping[Path, bytes]) -> list[Path]:
    """Generated files of runs and studies that are gone."""
    found = [path for folder in FOLDERS for path in sorted((root / folder).glob("*.*")) if path.is_file()]
    return [
        path for path in found if path not in files and any(head in path.read_bytes()[:200] for head in HEADS)
    ]
