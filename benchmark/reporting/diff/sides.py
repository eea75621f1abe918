"""The two sides of a diff: what a name such as `scenes/sgraf-saf/0` or `main:sgraf-saf` stands for.

A name is one that run/names.py knows, a run's with all its seeds; with `REV:` before it, the run as it was at that
git revision.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmark.errors import UserError
from benchmark.places import RUNS, locate
from benchmark.records.record import RunRecord, parse_record, read_record
from benchmark.records.sidecar import Sidecar, checked
from benchmark.records.signature import differences, parse
from benchmark.run.names import Key, record_keys, select_run, stored_keys

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
        found = select_run(name, stored_keys(runs), runs.as_posix())
        return _several(name, found, lambda file: _read(runs / file), "")
    check_revision(revision)
    listed = git("ls-tree", "-r", "-z", "--name-only", revision, "--", f"{runs.as_posix()}/").decode()
    prefix = f"{runs.as_posix()}/"
    files = [file.removeprefix(prefix) for file in listed.split("\0") if file.endswith(".json")]
    wanted = rest.removeprefix(prefix).removesuffix(".json")
    found = select_run(wanted, record_keys(files), f"{runs.as_posix()} at {revision}")
    return _several(name, found, lambda file: at_revision(revision, f"{prefix}{file}"), f"{revision}:")


def _single(name: str, record: RunRecord, path: Path) -> Side:
    beside = path.with_suffix(".npz")
    return Side(name, (record,), (checked(_read(beside), record, beside.as_posix()),))


def _several(name: str, keys: list[Key], read: Reader, origin: str) -> Side:
    """The records of a run with these keys, by seed; `origin` stands before their names in errors."""
    records, sidecars = [], []
    for file in map("/".join, keys):
        record = parse_record(read(f"{file}.json"), f"{origin}{file}.json")
        records.append(record)
        sidecars.append(checked(read(f"{file}.npz"), record, f"{origin}{file}.npz"))
    order = sorted(range(len(keys)), key=lambda place: records[place].seed)
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
