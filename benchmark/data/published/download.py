"""The needs of a download besides loading: the newest commits in the lock, and the places of a split's files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.data.published.catalogue import Entry
from benchmark.data.published.remote import (
    SourceRefusedError,
    cached_files,
    cached_snapshot,
    hub_reachable,
    resolve_commit,
)
from benchmark.data.published.revisions import keep, lock_path, read_revisions
from benchmark.data.published.sources import wanted
from benchmark.data.splits import SplitName
from benchmark.errors import UserError
from benchmark.files import write_text


@dataclass(frozen=True)
class Place:
    """The repository and folder of one split's files, and the files."""

    split: SplitName
    repo: str
    commit: str
    folder: Path
    bytes: int


def place_of(entry: Entry, split: SplitName, options: Mapping[str, Any]) -> Place | None:
    """Find the place of a split in the lock and the cache; None where one of them does not know it."""
    lock = read_revisions()
    repo = lock.sources.get(f"{entry.name}/{split}", "")
    commit = lock.commits.get(repo, "")
    folder = cached_snapshot(repo, commit) if commit else None
    files = next((source.files[split] for source in entry.sources if source.files[split].repo == repo), None)
    if folder is None or files is None:
        return None
    restval = bool(options.get("restval"))
    paths = cached_files(repo, commit, lambda path: wanted(path, split, files, restval=restval))
    return Place(split, repo, commit, folder, sum(path.stat().st_size for path in paths))


@contextmanager
def newest_commits(entry: Entry, splits: Sequence[SplitName]) -> Iterator[None]:
    """Lock the newest commit of each split's first source that answers; put the lock back where the block fails.

    A repository has one commit in the lock, so other splits from the same one move too. Raises UserError where the
    Hub cannot be reached: what the cache saw last need not be the newest.
    """
    if not hub_reachable():
        raise UserError(
            f"option --update: the Hub cannot be asked for the newest commits of {entry.name}: go online (unset "
            "HF_HUB_OFFLINE), or leave the option out"
        )
    path = lock_path()
    before = path.read_text(encoding="utf-8") if path.is_file() else None
    try:
        for split in splits:
            _lock_newest(entry, split)
        yield
    except BaseException:
        if before is None:
            path.unlink(missing_ok=True)
        else:
            write_text(path, before)
        raise


def _lock_newest(entry: Entry, split: SplitName) -> None:
    """Lock the newest commit of the first source that answers; if all refuse, lock nothing: loading says why."""
    for source in entry.sources:
        repo = source.files[split].repo
        if source.needs_pictures:
            continue
        try:
            keep(entry.name, split, repo, resolve_commit(repo, "", source.branch))
        except SourceRefusedError:
            continue
        return
