"""Flickr30K and MSCOCO from the Hugging Face Hub.

One split's parquet files are fetched, put in protocol order and checked against the catalog.
Pictures stay encoded in a memory-mapped Arrow file and are decoded one at a time.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow  # type: ignore[import-untyped]
from PIL import Image, UnidentifiedImageError

from benchmark.data.catalog import SPLIT_FILES, Columns, Entry, HubSplit, get_entry
from benchmark.data.remote import cached_snapshot, fetch_snapshot, resolve_commit
from benchmark.data.splits import Split, SplitName, flatten_captions
from benchmark.errors import UserError
from benchmark.files import sha256_bytes, sha256_file


@dataclass(frozen=True, eq=False)
class HubImages:
    """Pictures of a split: rows of an Arrow table that holds encoded files."""

    table: Any
    """A `datasets.Dataset` whose image column isn't decoded."""
    column: str
    rows: np.ndarray[Any, np.dtype[np.int64]]
    filenames: list[str]
    source: str | tuple[Path, ...]
    """A repository at a commit, which says which pixels these are, or local files."""

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> Image.Image:
        """RGB picture; grey and CMYK pictures are converted. Raises UserError for a broken one."""
        encoded = self.table[int(self.rows[row])][self.column]["bytes"]
        try:
            return Image.open(io.BytesIO(encoded)).convert("RGB")
        except (OSError, UnidentifiedImageError, TypeError) as error:
            raise UserError(f"image {self.filenames[row]}: cannot be decoded ({error})") from None

    def select(self, rows: Sequence[int]) -> HubImages:
        names = [self.filenames[row] for row in rows]
        return HubImages(
            self.table, self.column, self.rows[np.asarray(rows, dtype=np.int64)], names, self.source
        )

    def identity(self) -> bytes:
        if isinstance(self.source, str):
            return self.source.encode()
        return "".join(sha256_file(path) for path in self.source).encode()


@dataclass(frozen=True)
class Found:
    """Parquet files of a split, and where they are from."""

    files: list[Path]
    revision: str
    local: bool


def find_files(name: SplitName, split: HubSplit, data_dir: Path | None) -> Found:
    """Parquet files of one split, from `data_dir` (any depth) or else the Hub; only this split's are fetched."""
    stems = SPLIT_FILES[name]
    if data_dir is not None:
        folder, revision = data_dir, "local"
        if not folder.is_dir():
            raise UserError(f"data folder {data_dir.as_posix()}: no such folder")
    else:
        commit = resolve_commit(split.repo, split.commit)
        folder = fetch_snapshot(split.repo, commit, [f"*{stem}-*.parquet" for stem in stems])
        revision = f"{split.repo}@{commit}"
    files = sorted(path for stem in stems for path in folder.rglob(f"{stem}-*.parquet"))
    if not files:
        where = split.repo if data_dir is None else data_dir.as_posix()
        raise UserError(f"split '{name}': no file {stems[-1]}-*.parquet in {where}")
    return Found(files, revision, data_dir is not None)


def read_table(found: Found, columns: Columns, cache_dir: Path | None = None) -> Any:
    """The files as one memory-mapped table with the columns that are needed, pictures not decoded."""
    names = [path.as_posix() for path in found.files]
    try:
        table = datasets.load_dataset(
            "parquet", data_files={"rows": names}, split="rows", cache_dir=cache_dir and str(cache_dir)
        )
    except (datasets.exceptions.DatasetGenerationError, pyarrow.ArrowException) as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise UserError(f"cannot read {found.files[0].name} (of {len(names)} files): {reason}") from None
    absent = [name for name in columns.names() if name not in table.column_names]
    if absent:
        have = ", ".join(table.column_names)
        raise UserError(f"{found.files[0].name}: column '{absent[0]}' is missing; found {have}")
    table = table.select_columns(columns.names())
    return table.cast_column(columns.image, datasets.Image(decode=False))


def build_split(
    name: SplitName,
    table: Any,
    columns: Columns,
    found: Found,
    captions_per_image: int,
    part: str | None = None,
) -> Split:
    """A table's rows in protocol order as a Split; `part` keeps only rows of that original split.

    The first `captions_per_image` captions count, in stored order. Raises UserError where an image has fewer.
    """
    order = table[columns.order][:]
    parts = table[columns.part][:] if part is not None else [None] * len(order)
    rows = sorted((row for row in range(len(order)) if parts[row] == part), key=lambda row: order[row])
    filenames = table[columns.filename][:]
    ids = table[columns.image_id][:]
    texts = table[columns.captions][:]
    numbers = table[columns.caption_ids][:]
    for row in rows:
        if len(texts[row]) < captions_per_image:
            raise UserError(
                f"image {filenames[row]}: found {len(texts[row])} captions, expected {captions_per_image}"
            )
    image_ids = [str(ids[row]) for row in rows]
    captions, caption_ids, caption_image = flatten_captions(
        image_ids,
        [[_one_line(text) for text in texts[row][:captions_per_image]] for row in rows],
        [[str(number) for number in numbers[row][:captions_per_image]] for row in rows],
    )
    names = [str(filenames[row]) for row in rows]
    source = tuple(found.files) if found.local else found.revision
    images = HubImages(table, columns.image, np.asarray(rows, dtype=np.int64), names, source)
    return Split(name, image_ids, names, captions, caption_ids, caption_image, images)


def _one_line(text: str) -> str:
    """Some captions hold line ends and trailing blanks (data.md 1.4)."""
    return " ".join(text.strip().splitlines())


def lines_sha256(items: Iterable[object]) -> str:
    """sha256 of the items, a newline after each (data.md 1.5)."""
    return sha256_bytes("".join(f"{item}\n" for item in items).encode())


def check_split(split: Split, expected: HubSplit, columns: Columns, images: int) -> list[str]:
    """What differs from the published split, one line each; [] where nothing does."""
    faults = []
    if len(split) != images:
        faults.append(f"split '{split.name}': found {len(split)} images, expected {images}")
    checked = (
        split.filenames if columns.checked == columns.filename else [int(item) for item in split.image_ids]
    )
    if expected.ids_sha256 is not None and lines_sha256(sorted(checked)) != expected.ids_sha256:
        faults.append(f"split '{split.name}': the {columns.checked}s are not those of the published split")
    elif expected.ordered_sha256 is not None and lines_sha256(checked) != expected.ordered_sha256:
        faults.append(f"split '{split.name}': the images are not in the published order")
    return faults


def hub_split(
    entry: Entry,
    name: SplitName,
    options: dict[str, Any],
    captions_per_image: int,
    data_dir: Path | None = None,
    cache_dir: Path | None = None,
) -> tuple[Split, str, list[str]]:
    """One split of a Hub dataset, its revision, and notes for the run record.

    Raises UserError in one line where files can't be had or aren't what the catalog says (option `verify`).
    """
    assert entry.hub is not None
    expected, columns = entry.hub.splits[name], entry.hub.columns
    found = find_files(name, expected, data_dir)
    table = read_table(found, columns, cache_dir)
    has_restval = name == "train" and entry.hub.train_images_with_restval is not None
    with_restval = has_restval and bool(options.get("restval"))
    part = "train" if has_restval and not with_restval else None
    split = build_split(name, table, columns, found, captions_per_image, part)
    images = (entry.hub.train_images_with_restval if with_restval else None) or expected.images
    faults = check_split(split, expected, columns, images)
    if faults and options.get("verify", True):
        raise UserError(
            f"{entry.name} from {found.revision}: {faults[0]} (option verify: false takes it as it is)"
        )
    notes = [f"not verified: {fault}" for fault in faults]
    five = expected.caption_ids_sha256 if captions_per_image == 5 else None
    if five is not None and lines_sha256(split.caption_ids) != five:
        notes.append(f"split '{name}': the first five captions of each image may not be the papers' five")
    return split, found.revision, notes


@dataclass(frozen=True)
class Download:
    """What loading some splits would fetch."""

    items: list[str]
    """Repository, split and size, one a line."""
    bytes: int
    """To download; 0 for what is in the cache."""
    disk_bytes: int
    """Needed on disk: the files and a memory-mapped copy (data.md 4.3)."""


def download_estimate(name: str, splits: Sequence[SplitName], data_dir: Path | None = None) -> Download:
    """What `load_dataset` would download for these splits, from the catalog and the cache; asks nobody."""
    entry = get_entry(name)
    if entry.hub is None or data_dir is not None:
        return Download([], 0, 0)
    items, total, disk = [], 0, 0
    for split_name in splits:
        split = entry.hub.splits[split_name]
        cached = _is_cached(split, split_name)
        state = "in the cache" if cached else f"about {split.download_bytes / 1e9:.2f} GB to download"
        items.append(f"{split.repo} {split_name}: {state}")
        total += 0 if cached else split.download_bytes
        disk += split.download_bytes if cached else 2 * split.download_bytes
    return Download(items, total, disk)


def _is_cached(split: HubSplit, name: SplitName) -> bool:
    """Whether the cache has files of this split; that all of them are there shows when they are loaded."""
    folder = cached_snapshot(split.repo, split.commit)
    return folder is not None and any(any(folder.rglob(f"{stem}-*.parquet")) for stem in SPLIT_FILES[name])
