"""The two sides of a diff: what a name such as `scenes/sgraf-saf/0` or `main:sgraf-saf` stands for.

A name is the path of a record, `<dataset>/<run>/<seed>`, `<dataset>/<run>` or `<run>` with all its seeds; with
`REV:` before it, as it was at that git revision.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmark.errors import UserError, nearest
from benchmark.places import RUNS, listing, locate
from benchmark.records.record import RunRecord, parse_record, read_record
from benchmark.records.sidecar import Sidecar, checked
from benchmark.records.signature import differences, parse

Reader = Callable[[str], bytes]
"""Content of a file below the runs folder."""


@dataclass(frozen=True)
class Side:
    """One run with its seeds."""

    name: str
    records: tuple[RunRecord, ...]
    """The records by seed; they share recipe and signatures."""
    sidecars: tuple[Sidecar, ...]


def load_side(name: str, runs: Path = RUNS) -> Side:
    """The runs that a name stands for; raises UserError where there are none, or they do not belong together."""
    path = Path(name)
    if path.suffix == ".json" and (locate(path).is_file() or ":" not in name):
        return _single(name, read_record(path), path)
    revision, colon, rest = name.partition(":")
    if not colon:
        paths = listing(runs, "*/*/*.json")
        own = [path for path in paths if path.is_file() or not path.parent.is_dir()]  # seeds of one origin
        files = [path.relative_to(runs).as_posix() for path in own]
        return _several(name, name, files, lambda file: _read(runs / file), runs)
    check_revision(revision)
    listed = git("ls-tree", "-r", "-z", "--name-only", revision, "--", f"{runs.as_posix()}/").decode()
    prefix = f"{runs.as_posix()}/"
    files = [file.removeprefix(prefix) for file in listed.split("\0") if file.endswith(".json")]
    wanted = rest.removeprefix(prefix).removesuffix(".json")
    return _several(name, wanted, files, lambda file: at_revision(revision, f"{prefix}{file}"), runs)


def _single(name: str, record: RunRecord, path: Path) -> Side:
    beside = path.with_suffix(".npz")
    return Side(name, (record,), (checked(_read(beside), record, beside.as_posix()),))


def _several(name: str, wanted: str, files: list[str], read: Reader, runs: Path) -> Side:
    """The records whose path is, or begins with, what is wanted."""
    parts = tuple(part for part in wanted.split("/") if part)
    keys = {file: tuple(file.removesuffix(".json").split("/")) for file in files}
    found = [
        file for file, key in keys.items() if parts and (key[: len(parts)] == parts or key[1:-1] == parts)
    ]
    runs_found = sorted({"/".join(keys[file][:-1]) for file in found})
    if not found:
        names = sorted({"/".join(key[i:j]) for key in keys.values() for i, j in ((0, 3), (0, 2), (1, 2))})
        raise UserError(
            f"{name}: no such run in {runs.as_posix()}{nearest(wanted, names)}; see `rematch list runs`"
        )
    if len(runs_found) > 1:
        raise UserError(f"{name}: stands for several runs: {', '.join(runs_found)}; name one")
    origin = name.removesuffix(wanted) if name != wanted else ""
    records, sidecars = [], []
    for file in found:
        record = parse_record(read(file), f"{origin}{file}")
        packed = f"{file.removesuffix('.json')}.npz"
        records.append(record)
        sidecars.append(checked(read(packed), record, f"{origin}{packed}"))
    order = sorted(range(len(found)), key=lambda place: records[place].seed)
    side = Side(name, tuple(records[i] for i in order), tuple(sidecars[i] for i in order))
    _check_seeds(side)
    return side


def _check_seeds(side: Side) -> None:
    """Raise UserError for seeds of different recipes or signatures: their mean would mean nothing."""
    first = side.records[0]
    for record in side.records[1:]:
        if record.recipe_digest != first.recipe_digest or record.weights != first.weights:
            raise UserError(
                f"{side.name}: seeds {first.seed} and {record.seed} were made by different recipes; name one seed"
            )
        for protocol, result in record.results.items():
            other = first.results.get(protocol)
            if other is None or other.signature != result.signature:
                fields = differences(parse(other.signature), parse(result.signature)) if other else [protocol]
                raise UserError(
                    f"{side.name}: the signatures of seeds {first.seed} and {record.seed} differ in "
                    f"{', '.join(fields)}; name one seed"
                )


def _read(path: Path) -> bytes:
    try:
        return locate(path).read_bytes()
    except OSError as error:
        raise UserError(
            f"{path.as_posix()}: cannot be read ({error.strerror}); a record and its sidecar lie together"
        ) from None


# -------------------------------------------------------------------------------------------- git


def changed_files(revision: str, runs: Path = RUNS) -> dict[str, str]:
    """Records that differ from a git revision, by their path below `runs`: A added, M changed, D gone."""
    check_revision(revision)
    prefix = f"{runs.as_posix()}/"
    options = ("--name-status", "--no-renames", "--relative", "-z")
    fields = git("diff", *options, revision, "--", prefix).decode().split("\0")
    found = dict(zip(fields[1::2], fields[::2], strict=False))
    for path in git("ls-files", "--others", "--exclude-standard", "-z", "--", prefix).decode().split("\0"):
        found[path] = "A"
    return {
        path.removeprefix(prefix): status for path, status in sorted(found.items()) if path.endswith(".json")
    }


def at_revision(revision: str, path: str) -> bytes:
    """A file as it was; `path` is relative to the working folder."""
    return git("show", f"{revision}:./{path}")


def check_revision(revision: str) -> None:
    """Raise UserError for a name that is no revision of this repository."""
    try:
        git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    except UserError:
        raise UserError(
            f"'{revision}': no revision of a git repository here; name a branch, tag or commit"
        ) from None


def git(*arguments: str) -> bytes:
    """Output of a git command; raises UserError with git's last line where it fails."""
    try:
        return subprocess.run(["git", *arguments], capture_output=True, check=True).stdout
    except FileNotFoundError:
        raise UserError("git is needed to look at revisions, and is not installed") from None
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().splitlines()
        raise UserError(f"git {arguments[0]}: {said[-1] if said else 'failed'}") from None
