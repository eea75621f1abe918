"""Region features in .npy files, read row by row.

Rows are read with ordinary reads and not through a memory mapping: pages read through one count as the process's
memory, which after a pass over MSCOCO would come to 36 GB (data.md 2.2). The system's file cache holds them either
way, and takes memory that nobody else wants.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from benchmark.errors import UserError
from benchmark.files import sha256_bytes

Floats = np.ndarray[Any, np.dtype[np.float32]]
Integers = np.ndarray[Any, np.dtype[np.int64]]

DTYPES = ("<f4", "<f2")
"""float32, and float16 where somebody saved disk space."""

IDENTITY_ROWS = 1_000
"""Features of so many images, spread evenly, stand for all in the identity; reading 36 GB would take minutes."""


@dataclass(frozen=True)
class NpyFile:
    """An array (n, R, D) on disk."""

    path: Path
    shape: tuple[int, int, int]
    dtype: str
    offset: int
    """The offset of the first row, in bytes."""

    @property
    def row_bytes(self) -> int:
        return self.shape[1] * self.shape[2] * np.dtype(self.dtype).itemsize

    def read(self, rows: Integers, out: Floats, places: Integers) -> None:
        """Put row `rows[k]` into `out[places[k]]`, as float32. Raises UserError where the file cannot be read."""
        narrow = None if self.dtype == "<f4" else np.empty(self.shape[1:], self.dtype)
        try:
            # opened for each batch, which takes microseconds: nothing is shared with other processes or threads
            with self.path.open("rb", buffering=0) as handle:
                for row, place in zip(rows.tolist(), places.tolist(), strict=True):
                    handle.seek(self.offset + row * self.row_bytes)
                    _fill(handle, out[place] if narrow is None else narrow)
                    if narrow is not None:
                        out[place] = narrow
        except (OSError, EOFError) as error:
            raise UserError(f"{self.path.name}: the region features cannot be read ({error})") from None

    def heads(self, rows: Integers) -> list[bytes]:
        """Return the first region of some rows as it is stored. Raises UserError where the file cannot be read."""
        size = self.row_bytes // self.shape[1]
        found = []
        try:
            with self.path.open("rb", buffering=0) as handle:
                for row in rows.tolist():
                    head = np.empty(size, np.uint8)
                    handle.seek(self.offset + row * self.row_bytes)
                    _fill(handle, head)
                    found.append(head.tobytes())
        except (OSError, EOFError) as error:
            raise UserError(f"{self.path.name}: the region features cannot be read ({error})") from None
        return found


def _fill(handle: BinaryIO, row: np.ndarray[Any, Any]) -> None:
    """Read exactly what `row` takes; an unbuffered read may return less than it was asked for."""
    left = row.data.cast("B")
    while left:
        count = handle.readinto(left)  # type: ignore[attr-defined]  # of a raw file
        if not count:
            raise EOFError("it ends too early")
        left = left[count:]


def open_npy(path: Path) -> NpyFile:
    """Look at the head of an .npy file of region features.

    Raises UserError for a missing file, one that is not .npy or ends early, a shape other than (n, R, D), a type
    other than float32 or float16, and Fortran order.
    """
    name, wanted = path.name, "expected float32 (images, regions, width)"
    if not path.is_file():
        raise UserError(f"{path.as_posix()}: no such file, {wanted}")
    try:
        with path.open("rb") as handle:
            version = np.lib.format.read_magic(handle)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else _header_2_0
            shape, fortran, dtype = read(handle)
            offset = handle.tell()
    except Exception as error:  # numpy reads the head as Python: damaged ones make it raise nearly anything
        raise UserError(
            f"{name}: not a readable .npy file ({' '.join(str(error).split())}), {wanted}"
        ) from None
    if dtype.str not in DTYPES:
        order = " with the bytes swapped" if dtype.str[1:] in ("f4", "f2") else ""
        raise UserError(
            f"{name}: found an array of {dtype.name}{order}, {wanted}; save it again with .astype('float32')"
        )
    if len(shape) != 3 or 0 in shape:
        raise UserError(f"{name}: found an array of shape {shape}, {wanted}")
    if fortran:
        raise UserError(
            f"{name}: found Fortran order, {wanted} row by row; save numpy.ascontiguousarray of it"
        )
    file = NpyFile(path, shape, dtype.str, offset)
    size, needed = path.stat().st_size, offset + shape[0] * file.row_bytes
    if size < needed:
        raise UserError(
            f"{name}: found {size:,} bytes, expected {needed:,} for {shape[0]:,} images; fetch it again"
        )
    return file


def _header_2_0(handle: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return the header of version 2.0; 3.0 differs in the names of structured types only, which are refused anyway."""
    shape, fortran, dtype = np.lib.format.read_array_header_2_0(handle)
    return shape, fortran, dtype


@dataclass(frozen=True, eq=False)
class ArrayRegions:
    """Region features of a split in one or more .npy files; a `benchmark.data.splits.Regions`."""

    files: tuple[NpyFile, ...]
    rows: Integers
    """(n,) row of each image, counted through all files."""
    description: str
    made_by: str = ""
    """The identity of the features that are made of the pictures. Empty: the features are their own identity."""

    @property
    def shape(self) -> tuple[int, int]:
        return self.files[0].shape[1:]

    def __len__(self) -> int:
        return len(self.rows)

    def regions(self, rows: Sequence[int] | Integers) -> Floats:
        """Return the features (n, R, D) float32 of some images.

        Raises UserError where a file cannot be read, and for NaN or infinite values, naming the file's row.
        """
        wanted = self.rows[np.asarray(rows, dtype=np.int64)]
        out = np.empty((len(wanted), *self.shape), dtype=np.float32)  # (n, R, D)
        for file, places, inside in self._by_file(wanted):
            file.read(inside, out, places)
        if not np.isfinite(out).all():
            self._not_finite(wanted, out)
        return out

    def heads(self) -> list[bytes]:
        """Read the first region of each image as bytes, equal for equal features; 16 bytes stand for what is longer.

        Raises UserError where a file cannot be read.
        """
        found: list[bytes] = [b""] * len(self)
        for file, places, inside in self._by_file(self.rows):
            for start in range(0, len(places), 1_000):
                part = slice(start, start + 1_000)
                for place, head in zip(places[part].tolist(), file.heads(inside[part]), strict=True):
                    found[place] = hashlib.blake2b(head, digest_size=16).digest() if any(head) else b""
        return found

    @cached_property
    def _starts(self) -> Integers:
        """The first row of each file, counted through all files."""
        return np.cumsum([0, *(file.shape[0] for file in self.files[:-1])])

    def _by_file(self, wanted: Integers) -> Iterator[tuple[NpyFile, Integers, Integers]]:
        """Yield each file that has some of the wanted rows, their places in `wanted` and their rows in the file."""
        numbers = np.searchsorted(self._starts, wanted, side="right") - 1
        for number in np.unique(numbers).tolist():
            places = np.flatnonzero(numbers == number)
            yield self.files[number], places, wanted[places] - self._starts[number]

    def _not_finite(self, wanted: Integers, out: Floats) -> None:
        image, region, _ = np.argwhere(~np.isfinite(out))[0].tolist()
        value = out[image, region][~np.isfinite(out[image, region])][0]
        ((file, _, row),) = self._by_file(wanted[image : image + 1])
        raise UserError(
            f"{file.path.name}: row {int(row[0]):,}: region {region} holds {value}, expected finite numbers; "
            "the features are damaged, fetch or make them again"
        )

    def select(self, rows: Sequence[int]) -> ArrayRegions:
        return replace(self, rows=self.rows[np.asarray(rows, dtype=np.int64)])

    def identity(self) -> bytes:
        """Return the sha256 over how the features are made and of which rows, or over those of 1,000 images at most."""
        return self._identity

    @cached_property
    def _identity(self) -> bytes:
        head = f"{len(self)} x {self.shape}\n".encode()
        if self.made_by:
            return sha256_bytes(head, self.made_by.encode(), self.rows.astype("<i8").tobytes()).encode()
        chosen = np.unique(np.linspace(0, max(0, len(self) - 1), IDENTITY_ROWS).astype(np.int64))[: len(self)]
        parts = (self.regions(chosen[k : k + 64]) for k in range(0, len(chosen), 64))
        return sha256_bytes(head, *(part.astype("<f4", copy=False).tobytes() for part in parts)).encode()
