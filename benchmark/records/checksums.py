"""Checksums of all records, sidecars and studies, results/tables/records.sha256, in the format of sha256sum.

A record's canonical hash leaves out what differs between two runs of the same recipe, times and machine. The list
covers every byte, so that a digit which is lost anywhere in a record or sidecar is noticed.
"""

from __future__ import annotations

import re
from pathlib import Path

from benchmark.files import sha256_file
from benchmark.places import RUNS, STUDIES, TABLES

LIST = TABLES / "records.sha256"
LINE = re.compile(r"([0-9a-f]{64})  (\S.*)")


def checksummed_files(root: Path = Path()) -> list[Path]:
    """Records with their sidecars, and the results of studies, below `root`."""
    runs = [path for kind in ("*.json", "*.npz") for path in (root / RUNS).rglob(kind)]
    return sorted([*runs, *(root / STUDIES).glob("*.json")])


def checksum_list(root: Path = Path()) -> str:
    """One line a file, `<sha256>  <path below root>`, by path."""
    files = [path.relative_to(root).as_posix() for path in checksummed_files(root)]
    return "".join(f"{sha256_file(root / name)}  {name}\n" for name in sorted(files))


def changed_inputs(root: Path = Path()) -> list[Path]:
    """Files that were changed, added or removed since the list was written; [] where there is no list."""
    if not (root / LIST).is_file():
        return []
    text = (root / LIST).read_text(encoding="utf-8", errors="replace")  # a damaged line lists no file
    found = [LINE.fullmatch(line) for line in text.splitlines()]
    listed = {line[2]: line[1] for line in found if line is not None}
    now = {path.relative_to(root).as_posix(): sha256_file(path) for path in checksummed_files(root)}
    return [root / name for name in sorted(listed | now) if listed.get(name) != now.get(name)]
