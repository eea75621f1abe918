"""Encoded pictures on disk: cells of a memory-mapped Arrow table, or files of a folder.

Nothing is decoded before it is asked for. A cell's bytes are read from the Arrow file with an ordinary read: pages
read through the mapping count as the process's memory, which after a pass over MSCOCO would come to 20 GB.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from benchmark.data.checksums import copies_of
from benchmark.data.splits import Images
from benchmark.errors import UserError
from benchmark.files import replacing, sha256_bytes, write_text
from benchmark.guarded import read_json
from benchmark.places import WORK

Integers = np.ndarray[Any, np.dtype[np.int64]]


PICTURES = "pictures.npy"
"""The file in the folder of a prepared copy with the sha256 of each picture."""

STORE = WORK / "pictures"
"""The folder that keeps the sha256 of pictures in folders."""


class BrokenPictureError(UserError):
    """A picture that cannot be decoded: the message names it, `reason` is the decoder's message."""

    reason: str = ""


def decode(encoded: bytes, what: str) -> Image.Image:
    """Return a picture file's bytes as RGB, decoded in full; grey, palette and CMYK pictures are converted.

    Grey values of 16 bits are scaled to 8.

    Raises BrokenPictureError, whose line begins with `what`.
    """
    try:
        image = Image.open(io.BytesIO(encoded))
        image.load()
        if image.mode.startswith("I;16"):  # 16 bits of grey, which the conversion below would cut off at 255
            return Image.fromarray(np.rint(np.asarray(image, np.float64) / 257).astype(np.uint8)).convert(
                "RGB"
            )
        if image.mode in ("I", "F"):
            raise ValueError(f"grey values of 32 bits (mode {image.mode}), expected 8 or 16")
        return image if image.mode == "RGB" else image.convert("RGB")  # which would copy the pixels
    except Exception as error:  # damaged files make decoders raise nearly anything
        reason = " ".join(str(error).split()) or type(error).__name__
        if "cannot identify" in reason:  # Pillow goes on with the address of an object
            reason = f"not a picture: {len(encoded)} bytes of no known format"
        broken = BrokenPictureError(
            f"{what}: cannot be decoded ({reason}); --skip-corrupt leaves such pictures out"
        )
        broken.reason = reason
        raise broken from None


class EncodedImages(Images):
    """Pictures of a split: rows of an Arrow table whose column `column` holds picture files.

    `table` is a `datasets.Dataset` with that column not decoded, `rows` (n,) its row for each of ours, `filenames`
    (n,) what they are called. `source` is a repository at a commit, which says which pixels these are, or local files.
    """

    def __init__(
        self,
        table: Any,
        column: str,
        rows: Integers,
        filenames: Sequence[str],
        source: str | tuple[Path, ...],
    ) -> None:
        self._cells = _cells(table, column)
        self._whole = table._indices is None
        self._rows = np.asarray(rows, dtype=np.int64)
        self._source = source
        self.filenames = list(filenames)

    def __len__(self) -> int:
        return len(self._rows)

    def encoded(self, row: int) -> bytes:
        """Return the picture's file as it is stored, b"" where there is none. Raises UserError if it cannot be read."""
        return self._cells.read(int(self._rows[row]))

    def __getitem__(self, row: int) -> Image.Image:
        """Decode the RGB picture of a row. Raises BrokenPictureError, in one line, where that fails."""
        where = self._source if isinstance(self._source, str) else _names(self._source)
        return decode(self.encoded(row), f"image {self.filenames[row]} (row {row}, from {where})")

    def select(self, rows: Sequence[int]) -> EncodedImages:
        """Return the same pictures, fewer rows; the table is shared."""
        chosen = copy(self)
        chosen._rows = self._rows[np.asarray(rows, dtype=np.int64)]
        chosen.filenames = [self.filenames[row] for row in rows]
        return chosen

    def digests(self) -> list[bytes]:
        """Return the sha256 of each picture's file; a prepared copy's were taken when it was made."""
        folders = copies_of(self.files()) if self._whole else []
        if len(folders) != 1:
            return _digests_of(self.encoded, range(len(self)))
        kept = _kept_digests(folders[0] / PICTURES, self._cells)
        return [kept[row].tobytes() for row in self._rows.tolist()]

    def files(self) -> list[Path]:
        """Return the prepared files that the pictures are read from; [] where the system does not tell."""
        return [Path(source) for source in self._cells.sources if isinstance(source, str)]

    def identity(self) -> bytes:
        """Hash the sha256 of each picture's file: the same pictures in another container are the same."""
        return sha256_bytes(*self.digests()).encode()


def _names(paths: Sequence[Path]) -> str:
    more = f" or one of {len(paths) - 1} more files" if len(paths) > 1 else ""
    return f"{paths[0].name}{more}"


@dataclass(frozen=True)
class _Cells:
    """The places of the cells of a binary column: `lengths` bytes at `starts` of a source; length -1: a null."""

    sources: list[Any]
    """Paths of files (str), or buffers in memory."""
    source: Integers  # (n,) which of them
    starts: Integers  # (n,)
    lengths: Integers  # (n,)

    def read(self, row: int) -> bytes:
        source, start, length = (
            self.sources[int(self.source[row])],
            int(self.starts[row]),
            int(self.lengths[row]),
        )
        if length <= 0:
            return b""
        if not isinstance(source, str):
            return bytes(memoryview(source)[start : start + length])
        try:
            # opened for each cell, which takes microseconds: nothing is shared with other processes or threads
            with Path(source).open("rb", buffering=0) as handle:
                handle.seek(start)
                return handle.read(length)
        except OSError as error:
            raise UserError(f"{Path(source).name}: the prepared pictures cannot be read ({error})") from None


def _cells(table: Any, column: str) -> _Cells:
    """Find the files in a column of picture files, {bytes, path} each, in the order of the table's rows."""
    mapped = _mapped_files()
    sources: dict[str, Any] = {}
    parts: list[tuple[Integers, Integers, Integers]] = []
    for chunk in filter(len, table.data.column(column).chunks):
        cells = chunk.field("bytes") if hasattr(chunk, "field") else chunk
        _, offsets, content = cells.buffers()
        width = np.dtype(np.int64 if str(cells.type).startswith("large") else np.int32)
        ends = np.frombuffer(offsets, width)[cells.offset : cells.offset + len(cells) + 1].astype(np.int64)
        lengths = np.where(cells.is_valid().to_numpy(zero_copy_only=False), np.diff(ends), -1)
        path, start = _place(content, mapped)
        which = list(sources).index(path) if path in sources else len(sources)
        sources[path or f"memory {which}"] = path or content
        parts.append((np.full(len(cells), which), start + ends[:-1], lengths))
    columns = [np.concatenate([part[k] for part in parts] or [np.zeros(0, np.int64)]) for k in range(3)]
    if table._indices is not None:  # a view of the table that skips or reorders rows
        order = table._indices.column(0).to_numpy()
        columns = [values[order] for values in columns]
    return _Cells(list(sources.values()), *columns)


def _mapped_files() -> list[tuple[int, int, int, str]]:
    """List the first address, last address + 1, offset in the file and path of files mapped into this process.

    [] where the system does not tell (it is not Linux): cells are then read through the mapping.
    """
    try:
        lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    found = []
    for parts in (line.split(maxsplit=5) for line in lines):
        if len(parts) == 6 and parts[1].startswith("r-") and Path(parts[5]).is_file():
            first, last = parts[0].split("-")
            found.append((int(first, 16), int(last, 16), int(parts[2], 16), parts[5]))
    return found


def _place(buffer: Any, mapped: list[tuple[int, int, int, str]]) -> tuple[str | None, int]:
    """Return the file and the position in it of a buffer; (None, 0) where the buffer is not a mapped file's."""
    if buffer is None:
        return None, 0
    for first, last, offset, path in mapped:
        if first <= buffer.address and buffer.address + buffer.size <= last:
            return path, offset + buffer.address - first
    return None, 0


@dataclass(frozen=True, eq=False)
class FileImages(Images):
    """Pictures in a local folder: `paths` below `folder` (n,), and the names of the pictures."""

    folder: Path
    paths: Sequence[str | Path]
    filenames: Sequence[str]

    def __len__(self) -> int:
        return len(self.paths)

    def encoded(self, row: int) -> bytes:
        """Return the file's bytes. Raises UserError where it is missing or cannot be read."""
        path = self.folder / self.paths[row]
        try:
            return path.read_bytes()
        except OSError as error:
            raise UserError(
                f"image {self.filenames[row]} (row {row}): {path.as_posix()} cannot be read ({error.strerror}); "
                "expected a picture there"
            ) from None

    def __getitem__(self, row: int) -> Image.Image:
        """Decode the RGB picture of a row. Raises BrokenPictureError, in one line, where that fails."""
        return decode(self.encoded(row), f"image {self.filenames[row]} (row {row}, from {self.paths[row]})")

    def select(self, rows: Sequence[int]) -> FileImages:
        """Return the same folder, fewer rows."""
        paths, names = [self.paths[row] for row in rows], [self.filenames[row] for row in rows]
        return FileImages(self.folder, paths, names)

    def digests(self) -> list[bytes]:
        """Return the sha256 of each picture's file. Those whose size and time are as they were are not read again.

        Raises UserError where one is missing.
        """
        kept = STORE / f"{sha256_bytes(self.folder.resolve().as_posix().encode())[:16]}.json"
        known = _read_digests(kept)
        states = [self._state(row) for row in range(len(self))]
        new = [
            row for row, (name, size, time) in enumerate(states) if known.get(name, ())[:2] != [size, time]
        ]
        for row, digest in zip(new, _digests_of(self.encoded, new), strict=True):
            name, size, time = states[row]
            known[name] = [size, time, digest.hex()]
        if new:
            with suppress(OSError):  # they are taken again where they cannot be kept
                write_text(kept, json.dumps(known))
        return [bytes.fromhex(known[name][2]) for name, _, _ in states]

    def identity(self) -> bytes:
        """Return the sha256 over the sha256 of each picture's file; raises UserError for a missing one."""
        return sha256_bytes(*self.digests()).encode()

    def _state(self, row: int) -> tuple[str, int, int]:
        """Return the path below the folder, size and time of a picture's file."""
        path = self.folder / self.paths[row]
        if not path.is_file():
            raise UserError(
                f"image {self.filenames[row]} (row {row}): found no file {path.as_posix()}, expected a picture there"
            )
        status = path.stat()
        return Path(self.paths[row]).as_posix(), status.st_size, status.st_mtime_ns


def _digests_of(read: Callable[[int], bytes], rows: Sequence[int]) -> list[bytes]:
    """Return the sha256 of what `read` gives for each row."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # hashing and reading let go of the interpreter's lock
        return list(pool.map(lambda row: hashlib.sha256(read(row)).digest(), rows))


def _kept_digests(path: Path, cells: _Cells) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return the sha256 (n, 32) of the files in all cells of a prepared copy; taken once, and kept beside it."""
    count = len(cells.lengths)
    try:
        kept = np.load(path, allow_pickle=False)
        if kept.shape == (count, 32) and kept.dtype == np.uint8:
            return np.asarray(kept)
    except Exception:  # not there, or damaged, which makes numpy raise nearly anything: they are taken again
        pass
    taken = np.frombuffer(b"".join(_digests_of(cells.read, range(count))), np.uint8).reshape(count, 32)
    with suppress(OSError), replacing(path) as handle:
        np.save(handle, taken)
    return taken


def _read_digests(path: Path) -> dict[str, list[Any]]:
    """Return the size, time and sha256 of files by their path; {} where nothing was kept."""
    try:
        found = read_json(path)
        return {
            str(name): [int(size), int(time), str(digest)] for name, (size, time, digest) in found.items()
        }
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def corrupt_rows(images: Images, *, show_progress: bool = True) -> dict[int, str]:
    """Return rows whose picture cannot be decoded in full, each with the reason; every picture is decoded.

    Raises UserError where a file cannot be read at all: that is a missing picture, not a damaged one.
    """

    def reason(row: int) -> str | None:
        try:
            images[row]
        except BrokenPictureError as error:
            return error.reason
        return None

    broken: dict[int, str] = {}
    # threads: decoders let go of the interpreter's lock
    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,
        tqdm(
            total=len(images), desc="decode", unit=" pictures", disable=None if show_progress else True
        ) as progress,
    ):
        for start in range(0, len(images), 256):
            rows = range(start, min(start + 256, len(images)))
            for row, found in zip(rows, pool.map(reason, rows), strict=True):
                if found is not None:
                    broken[row] = found
            progress.update(len(rows))
    return broken
