"""Datasets of the Hugging Face Hub: one split from the first source that can serve, at a locked commit.

Only the files of the wanted split are fetched. Pictures stay encoded on disk and are decoded one at a time.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.data.checksums import DamagedError
from benchmark.data.images.decoding import EncodedImages
from benchmark.data.published import revisions
from benchmark.data.published.adapters import (
    Adapter,
    OtherColumnsError,
    Rows,
    assemble,
    normalise,
    recognise,
    rows_in_order,
)
from benchmark.data.published.catalogue import Entry, entry_under, get_entry
from benchmark.data.published.karpathy import mscoco_ids
from benchmark.data.published.remote import (
    SourceRefusedError,
    cached_files,
    cached_snapshot,
    drop_damaged,
    fetch_files,
    resolve_commit,
)
from benchmark.data.published.sources import Files, Source, wanted
from benchmark.data.published.tables import column_names, read_table
from benchmark.data.splits import Images, Split, SplitName
from benchmark.errors import UserError

_terms_said: set[str] = set()


@dataclass(frozen=True)
class Request:
    """A request for a part of a dataset."""

    entry: Entry
    split: SplitName
    restval: bool
    captions_per_image: int

    @property
    def published(self) -> Sequence[str]:
        """Image ids in the published order, for tables that have none; () where that order is not known."""
        known = self.entry.name == "mscoco" and self.split == "test"
        return [str(number) for number in mscoco_ids("test")] if known else ()


@dataclass(frozen=True)
class Loaded:
    """A split with its origin."""

    split: Split
    revision: str
    """Repository and commit, or `local`."""
    source: str
    notes: list[str]


PicturesOf = Callable[[Rows, Sequence[int]], Images]
"""The pictures of some rows, where they are not in the table itself."""


def hub_split(request: Request, pictures: PicturesOf | None = None) -> Loaded:
    """Return one split from the Hub: the locked source first, then the others in the catalog's order.

    `pictures`: where the pictures are, for sources that have none. Raises UserError where no source can serve,
    or where something is in the way that the user must put right (no network, an unknown commit).
    """
    entry, split = request.entry, request.split
    refusals: list[str] = []
    for source in _chain(entry, split, with_pictures=pictures is None):
        repo = source.files[split].repo
        try:
            loaded, commit = _read_source(request, source, pictures)
        except (SourceRefusedError, OtherColumnsError) as error:
            refusals.append(str(error))
            print(f"{entry.name} {split}: {error}; trying the next source", file=sys.stderr)
            continue
        revisions.keep(entry.name, split, repo, commit)
        return loaded
    raise UserError(
        f"{entry.name}: no source of split '{split}' can be used: {'; '.join(refusals)}. Ask for access where it "
        "says gated, or give a local copy with --data-dir (parquet files, or pictures and Karpathy's JSON)"
    )


def _chain(entry: Entry, split: SplitName, *, with_pictures: bool) -> list[Source]:
    """Return the sources to try, the locked one first."""
    locked = revisions.read_revisions().sources.get(f"{entry.name}/{split}")
    fitting = [source for source in entry.sources if source.needs_pictures != with_pictures]
    return sorted(fitting, key=lambda source: source.files[split].repo != locked)


def _pinned(source: Source, repo: str) -> str:
    """Return the locked commit of a repository, else the first digits of the described one; empty: the newest."""
    return revisions.read_revisions().commits.get(repo) or source.commits.get(repo, "")


def _read_source(request: Request, source: Source, pictures: PicturesOf | None) -> tuple[Loaded, str]:
    entry, split = request.entry, request.split
    files = source.files[split]
    commit = resolve_commit(files.repo, _pinned(source, files.repo), source.branch)

    def is_wanted(path: str) -> bool:
        return wanted(path, split, files, restval=request.restval)

    def check_columns(path: Path) -> None:
        recognise(column_names(path), f"{files.repo}: {path.name}")

    if not cached_files(files.repo, commit, is_wanted):
        say_terms(entry)
    revision = f"{files.repo}@{commit}"
    try:
        paths = fetch_files(files.repo, commit, is_wanted, check_columns)
        table_split, adapter = read_split(request, paths, files.repo, revision, pictures)
    except DamagedError as error:
        raise _damaged(files.repo, error) from None
    notes = []
    first = next(item for item in entry.sources if item.needs_pictures == source.needs_pictures)
    if source is not first:
        notes.append(f"split '{split}': from {files.repo}, a fallback of {first.files[split].repo}")
    if adapter.order is None and not request.published:
        notes.append(f"split '{split}': images in the order of {files.repo}, which may not be Karpathy's")
    return Loaded(table_split, revision, "Hugging Face Hub", notes), commit


def _damaged(repo: str, error: DamagedError) -> UserError:
    """A file that was spoilt on this disk is taken away, so that it can be fetched; else the repository's is bad."""
    if drop_damaged(error.path):
        return UserError(
            f"{repo}: {error.path.name} was damaged in the Hugging Face cache and is removed from it; run the same "
            "command again to fetch it"
        )
    return SourceRefusedError(f"{repo}: {error.path.name} is damaged in the repository itself ({error})")


def read_split(
    request: Request,
    paths: Sequence[Path],
    where: str,
    source: str | tuple[Path, ...],
    pictures: PicturesOf | None = None,
) -> tuple[Split, Adapter]:
    """Parquet files as a split in protocol order; `source` identifies their pictures.

    Raises OtherColumnsError where no adapter reads them or where pictures are missing, UserError otherwise.
    """
    table, adapter = read_table(paths)
    rows = normalise(table, adapter, request.split, where)
    kept = rows_in_order(
        rows, request.split, restval=request.restval, published=request.published, where=where
    )
    if pictures is not None:
        images = pictures(rows, kept)
    elif adapter.image is None:
        raise OtherColumnsError(
            f"{where}: captions without pictures; name a folder of pictures with --data-dir"
        )
    else:
        names = [rows.filenames[row] for row in kept]
        images = EncodedImages(table, adapter.image, np.asarray(kept, dtype=np.int64), names, source)
    return assemble(request.split, rows, kept, images, request.captions_per_image), adapter


def say_terms(entry: Entry) -> None:
    """Print licence and terms before the first download of a dataset in this process."""
    if entry.terms and entry.name not in _terms_said:
        _terms_said.add(entry.name)
        print(f"Terms of {entry.name}: {entry.terms}", file=sys.stderr)


# ------------------------------------------------------------------------------------- estimates


@dataclass(frozen=True)
class Download:
    """The files that loading some splits would fetch."""

    items: list[str]
    """Repository, split and size, one a line."""
    bytes: int
    """The bytes to download; 0 for files in the cache."""
    disk_bytes: int
    """Needed on disk: the files and a memory-mapped copy (data.md 4.3)."""


def download_estimate(
    name: str,
    splits: Iterable[SplitName],
    data_dir: Path | None = None,
    options: Mapping[str, Any] | None = None,
) -> Download:
    """List the files that `load_dataset` would download for these splits, from catalog, lock and cache; asks nobody."""
    entry = entry_under(get_entry(name), options or {})
    if entry.local or data_dir is not None:
        return Download([], 0, 0)
    items, fetched, disk = [], {}, {}
    for split in splits:
        source = _chain(entry, split, with_pictures=True)[0]
        files = source.files[split]
        key = (files.repo, files.pattern or split)  # a set of files that serves all splits counts once
        cached = _is_cached(source, files, split)
        state = "in the cache" if cached else f"about {files.bytes / 1e9:.2f} GB to download"
        items.append(f"{files.repo} {split}: {state}")
        fetched[key] = 0 if cached else files.bytes
        disk[key] = files.bytes if cached else 2 * files.bytes
    return Download(items, sum(fetched.values()), sum(disk.values()))


def _is_cached(source: Source, files: Files, split: SplitName) -> bool:
    folder = cached_snapshot(files.repo, _pinned(source, files.repo))
    return folder is not None and bool(
        cached_files(files.repo, folder.name, lambda path: wanted(path, split, files, restval=False))
    )
