"""What the twin of the Hub keeps: repositories as folders, one a commit, and what is wrong with them on purpose."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

LARGE = {".parquet", ".zip", ".tar", ".jpg", ".jpeg", ".png", ".duckdb", ".safetensors", ".bin", ".npy"}
"""Kinds of file that the Hub keeps outside git: their ETag is the sha256 of their bytes, not git's hash."""

State = Literal["present", "gone", "gated"]


@dataclass
class Repository:
    """A repository of the twin; tests change its fields while it is served."""

    name: str
    """Owner and name."""
    commits: dict[str, Path]
    """40 hexadecimal digits -> folder with the files at that commit; newest first, as the Hub lists a history."""
    refs: dict[str, str] = field(default_factory=dict)
    """Other names of commits, such as `refs/convert/parquet`; their commits are no part of main's history."""
    kind: Literal["dataset", "model"] = "dataset"
    main: str = ""
    """The commit of branch `main`; the first of `commits` where it isn't given."""
    state: State = "present"
    """`gone` is answered as the Hub answers those who aren't logged in: 401. `gated`: files are refused, lists not."""
    tokens: set[str] = field(default_factory=set)
    """Who may read a gated repository."""
    cuts: dict[str, list[int]] = field(default_factory=dict)
    """File -> where its next downloads break off, each once, counted from the start of the file."""
    errors: list[int] = field(default_factory=list)
    """Status codes (500, 503, ...) that the next requests for this repository get, each once."""

    def __post_init__(self) -> None:
        self.main = self.main or next(iter(self.commits))

    def commit_of(self, revision: str) -> str | None:
        """The commit that a branch, ref or full commit names; as on the Hub, a shorter one names nothing."""
        commit = {"main": self.main, **self.refs}.get(revision, revision)
        return commit if commit in self.commits else None

    def history(self, commit: str) -> list[str]:
        """A commit and those before it, newest first; the commit of a ref stands alone."""
        apart = set(self.refs.values()) - {self.main}
        if commit in apart:
            return [commit]
        line = [item for item in self.commits if item not in apart]
        return line[line.index(commit) :]

    def file(self, commit: str, path: str) -> Path | None:
        """A file at a commit; None where there is none."""
        root = self.commits[commit].resolve()
        found = (root / path).resolve()
        return found if found.is_file() and found.is_relative_to(root) else None

    def entries(self, commit: str, under: str = "", *, recursive: bool = True) -> list[dict[str, Any]] | None:
        """The tree below a folder as the Hub's API lists it; None where the folder isn't there."""
        root = self.commits[commit]
        folder = root / under
        if not folder.is_dir():
            return None
        found = sorted(folder.rglob("*") if recursive else folder.iterdir())
        return [_entry(path, path.relative_to(root).as_posix()) for path in found]


def by_name(*repositories: Repository) -> dict[str, Repository]:
    """Repositories under their names."""
    return {repository.name: repository for repository in repositories}


def identity(path: Path) -> tuple[str, str | None]:
    """Git's hash of a file, and the sha256 of its bytes where the Hub would keep it outside git."""
    state = path.stat()
    return _hashes(path, state.st_mtime_ns, state.st_size)


@cache
def _hashes(path: Path, _modified: int, size: int) -> tuple[str, str | None]:
    large = path.suffix in LARGE
    git = hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
    sha256 = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            git.update(block)
            sha256.update(block)
    return git.hexdigest(), sha256.hexdigest() if large else None


def _entry(path: Path, name: str) -> dict[str, Any]:
    if path.is_dir():
        return {"type": "directory", "path": name, "size": 0, "oid": hashlib.sha1(name.encode()).hexdigest()}
    git, sha256 = identity(path)
    size = path.stat().st_size
    entry: dict[str, Any] = {"type": "file", "path": name, "size": size, "oid": git}
    if sha256 is not None:
        entry["lfs"] = {"oid": sha256, "size": size, "pointerSize": 134}
    return entry


def siblings(entries: list[dict[str, Any]], *, with_sizes: bool) -> list[dict[str, Any]]:
    """The files of a tree as the description of a repository lists them."""
    found = []
    for entry in entries:
        if entry["type"] != "file":
            continue
        item: dict[str, Any] = {"rfilename": entry["path"]}
        if with_sizes:
            item |= {"size": entry["size"], "blobId": entry["oid"]}
            if "lfs" in entry:
                lfs = entry["lfs"]
                item["lfs"] = {"sha256": lfs["oid"], "size": lfs["size"], "pointerSize": lfs["pointerSize"]}
        found.append(item)
    return found


def made_up_commit(start: str, name: str) -> str:
    """A commit of 40 digits that begins with `start`; the rest comes from the name."""
    return (start + hashlib.sha1(name.encode()).hexdigest())[:40]


def description(repository: Repository, commit: str, *, with_sizes: bool) -> dict[str, Any]:
    """What `api/datasets/{name}` says about a repository."""
    owner, _, _ = repository.name.partition("/")
    entries = repository.entries(commit) or []
    gated: Mapping[str, Any] = {"gated": "auto" if repository.state == "gated" else False}
    return {
        "_id": commit[:24],
        "id": repository.name,
        "author": owner,
        "sha": commit,
        "private": False,
        **gated,
        "disabled": False,
        "tags": [],
        "downloads": 0,
        "likes": 0,
        "lastModified": "2024-01-01T00:00:00.000Z",
        "createdAt": "2024-01-01T00:00:00.000Z",
        "siblings": siblings(entries, with_sizes=with_sizes),
    }
