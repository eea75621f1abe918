"""The lock: which commit of which repository is used, which source a dataset came from, and which weights.

The first download of a repository writes its commit here, and every later one takes that commit, so that a
table made in a year is made from the same files. The file is meant to be committed; where Rematch is installed from a
distribution, new commits go into a file of the work folder. `REMATCH_REVISIONS` names another one.
"""

from __future__ import annotations

import os
from pathlib import Path

import yaml
from pydantic import Field, ValidationError

from benchmark.errors import UserError
from benchmark.files import write_text
from benchmark.guarded import DocumentError, read_yaml
from benchmark.places import PACKAGED, WORK
from benchmark.strict import Strict

HEADER = """\
# Commits of the repositories in use and hashes of weights, written by the first download of each.
# Commit this file. `rematch data download DATASET --update` chooses anew; nothing else changes an entry.
"""


SHIPPED = Path(__file__).with_name("revisions.yaml")
"""The lock that comes with the code."""


class Revisions(Strict):
    """The content of the lock file."""

    commits: dict[str, str] = Field(default={})
    """Repository -> commit, 40 hexadecimal digits."""
    sources: dict[str, str] = Field(default={})
    """`<dataset>/<split>` -> the repository that delivered it."""
    hashes: dict[str, str] = Field(default={})
    """`<repository>/<file>` -> the sha256 of a file of weights."""


def lock_path() -> Path:
    """Return the lock file that is written."""
    told = os.environ.get("REMATCH_REVISIONS")
    if told:
        return Path(told)
    return WORK / SHIPPED.name if PACKAGED.is_dir() else SHIPPED


def read_revisions() -> Revisions:
    """Read the lock; raises UserError for a file that is not a lock."""
    path = lock_path()
    if not path.is_file():
        if path != WORK / SHIPPED.name:
            return Revisions()
        path = SHIPPED
    try:
        found = Revisions.model_validate(read_yaml(path) or {})
    except (DocumentError, ValidationError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path.name}: not a lock of revisions ({reason}); restore it with git") from None
    for repo, commit in found.commits.items():
        if not _is_hexadecimal(commit, 40):
            raise UserError(
                f"{path.name}: field 'commits.{repo}': found '{commit}', expected the 40 hexadecimal digits of a "
                "commit (a shorter one or a branch pins nothing)"
            )
    for file, digest in found.hashes.items():
        if not _is_hexadecimal(digest, 64):
            raise UserError(
                f"{path.name}: field 'hashes.{file}': found '{digest}', expected the 64 hexadecimal digits of a sha256"
            )
    return found


def _is_hexadecimal(text: str, digits: int) -> bool:
    return len(text) == digits and set(text) <= set("0123456789abcdef")


def keep(dataset: str, split: str, repo: str, commit: str) -> None:
    """Lock the repository and commit of a split; the file is only touched where they are new."""
    _add(commits={repo: commit}, sources={f"{dataset}/{split}": repo})


def keep_commit(repo: str, commit: str) -> None:
    """Lock the commit of a model's repository, likewise."""
    _add(commits={repo: commit})


def keep_file(repo: str, commit: str, file: str, sha256: str) -> None:
    """Lock the commit of a repository and the sha256 of a file of it, likewise."""
    _add(commits={repo: commit}, hashes={f"{repo}/{file}": sha256})


def _add(**entries: dict[str, str]) -> None:
    before = read_revisions()
    after = Revisions(**{name: old | entries.get(name, {}) for name, old in before.model_dump().items()})
    if after != before:
        _write(after)


def _write(revisions: Revisions) -> None:
    text = yaml.safe_dump(revisions.model_dump(), sort_keys=True, allow_unicode=True)
    try:
        write_text(lock_path(), HEADER + text)
    except OSError as error:
        raise UserError(
            f"the lock of revisions {lock_path().as_posix()} cannot be written ({error.strerror}): set "
            "REMATCH_REVISIONS to a file that can"
        ) from None
