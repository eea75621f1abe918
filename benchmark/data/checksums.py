"""Checksums of what pictures are read from: the Hub's files, and the copy that is prepared of them.

They are taken when the copy is made. A file whose size or time has changed since is compared, and `rematch data
verify` compares all: a byte that changed on the disk would give other pixels under the same fingerprint.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmark.errors import UserError
from benchmark.files import sha256_file, write_text
from benchmark.guarded import read_json

KEPT = "checksums.json"
"""The name of the file of checksums in the folder of a prepared copy."""


class DamagedError(UserError):
    """A parquet file that cannot be read, or is not the one that the Hub announced."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"cannot read {path.as_posix()}: {reason}; it is damaged or cut short: fetch it again"
        )
        self.path = path


def announced_sha256(path: Path) -> str | None:
    """Return the sha256 by which the Hub names a large file in its cache; None where that is not known."""
    name = path.resolve().name
    return name if path.is_symlink() and len(name) == 64 and set(name) <= set("0123456789abcdef") else None


def take_checksums(folder: Path, sources: Mapping[str, str]) -> None:
    """Write down what a copy that was just prepared in `folder` holds, and the sha256 of the files it was made of."""
    document = {
        "prepared": {path.name: _entry(path) for path in sorted(folder.glob("*.arrow"))},
        "sources": dict(sources),
    }
    write_text(folder / KEPT, json.dumps(document, indent=1) + "\n")


def check_source(path: Path) -> str:
    """Return the sha256 of a file; raises DamagedError where the Hub announced another."""
    found, announced = sha256_file(path), announced_sha256(path)
    if announced is not None and found != announced:
        raise DamagedError(path, f"found sha256 {found[:16]}, the Hub announced {announced[:16]}")
    return found


def compare_checksums(folder: Path, *, everything: bool = False) -> None:
    """Compare the prepared files whose size or time changed since the checksums were taken, or all of them.

    Raises UserError that names the first that is another, and what to do. `everything`: the sources too.
    """
    document = _read(folder)
    for name, (size, time, sha256) in document["prepared"].items():
        path = folder / name
        status = path.stat() if path.is_file() else None
        if status is None:
            raise _other(path, "no such file", sha256)
        if everything or (status.st_size, status.st_mtime_ns) != (size, time):
            found = sha256_file(path)
            if found != sha256:
                raise _other(path, f"sha256 {found[:16]}", sha256)
            document["prepared"][name] = [status.st_size, status.st_mtime_ns, sha256]
    if everything:
        _compare_sources(document["sources"])
    write_text(folder / KEPT, json.dumps(document, indent=1) + "\n")


def _compare_sources(sources: dict[str, str]) -> None:
    for name, sha256 in sources.items():
        path = Path(name)
        if path.is_file():  # a file that is gone was read when it was there
            found = sha256_file(path)
            if found != sha256:
                raise UserError(
                    f"{path.as_posix()}: found sha256 {found[:16]}, expected {sha256[:16]}, as it was when it was "
                    "prepared: delete the file and run `rematch data download` to fetch it again"
                )


def copies_of(files: Iterable[Path]) -> list[Path]:
    """Return folders of prepared copies, with checksums, that these files are in."""
    return sorted({path.parent for path in files if (path.parent / KEPT).is_file()})


def damage_of(folder: Path) -> str:
    """Describe the damage to a prepared copy or to the files it was made of, in one line; "" where all are intact."""
    try:
        compare_checksums(folder, everything=True)
    except UserError as error:
        return str(error)
    return ""


def _entry(path: Path) -> list[Any]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, sha256_file(path)]


def _read(folder: Path) -> dict[str, Any]:
    try:
        document = read_json(folder / KEPT)
        if all(isinstance(document[part], dict) for part in ("prepared", "sources")):
            return dict(document)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise UserError(
        f"{(folder / KEPT).as_posix()}: not the checksums of a prepared copy; delete the prepared copy "
        f"{folder.as_posix()} and run the same command again"
    )


def _other(path: Path, found: str, sha256: str) -> UserError:
    return UserError(
        f"{path.as_posix()}: found {found}, expected sha256 {sha256[:16]}, as it was prepared; delete the prepared "
        f"copy {path.parent.as_posix()} and run the same command again"
    )
