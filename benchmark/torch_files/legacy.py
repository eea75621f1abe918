"""Reads checkpoints of either format of `torch.save`: zip files, and the stream of pickles that came before 1.6.

A stream is a magic number, a version, a description of the machine, the document, the names of its storages, each a
pickle, and then the storages: a count (8 bytes, little-endian) and so many numbers. The reader is as careful as that
of zip files, and nothing in a file runs.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import IO, Any

from torch import Tensor

from benchmark.errors import UserError
from benchmark.guarded import DocumentError, next_pickle
from benchmark.torch_files.archive import (
    LazyTensor,
    SafeUnpickler,
    Storage,
    StoredTensors,
    TorchZip,
    check_size,
)

MAGIC = 0x1950A86A20F9469CFC6C
VERSION = 1001


def open_checkpoint(path: Path) -> TorchZip | TorchLegacy:
    """Open the file at `path` in whichever format it is; raises UserError (one line) where it is in neither."""
    if path.is_file():
        with path.open("rb") as handle:
            _check_kind(path, handle.read(1024))
            handle.seek(0)
            if _is_stream(handle):
                return TorchLegacy(path)
    return TorchZip(path)


def _check_kind(path: Path, head: bytes) -> None:
    """Raise UserError for what a download leaves in place of a checkpoint."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith(b"version https://git-lfs.github.com/spec"):
        raise UserError(
            f"{path}: found a pointer of Git LFS, expected a checkpoint; fetch it with `git lfs pull`"
        )
    if text.startswith((b"<!doctype html", b"<html", b"<?xml", b"<head")):
        raise UserError(
            f"{path}: found a web page (HTML), expected a checkpoint; download the file itself, not the page about it"
        )


def _is_stream(handle: IO[bytes]) -> bool:
    try:
        return bool(_load(handle) == MAGIC)
    except Exception:  # whatever it is, it is no stream
        return False


def _load(handle: IO[bytes]) -> Any:
    """Load the pickle that comes next."""
    return SafeUnpickler(io.BytesIO(next_pickle(handle))).load()


class TorchLegacy:
    """An open checkpoint: `content` holds its containers with a `LazyTensor` for each tensor.

    Raises UserError (one line) where the file is truncated or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._tensors = StoredTensors(self._read, self._error)
        self._places: dict[str, tuple[int, int]] = {}
        with path.open("rb") as handle:
            try:
                self._open(handle)
            except UserError:
                raise
            except DocumentError as error:
                raise self._error(f"found one out of bounds: {error}") from None
            except (
                Exception
            ) as error:  # a crafted or damaged pickle may fail in any way; none of it is our fault
                raise self._error(f"its pickles cannot be read ({type(error).__name__}: {error})") from None

    def tensor(self, lazy: LazyTensor) -> Tensor:
        """Read a tensor; tensors that share a storage in the file share it here."""
        return self._tensors.tensor(lazy)

    def _open(self, handle: IO[bytes]) -> None:
        magic, version, machine = (_load(handle) for _ in range(3))
        if (magic, version) != (MAGIC, VERSION) or not isinstance(machine, dict):
            raise self._error(f"found version {version}")
        if not machine.get("little_endian", True):
            raise self._error("found numbers of a big-endian machine")
        document = SafeUnpickler(io.BytesIO(next_pickle(handle)))
        self.content: Any = document.load()
        names = _load(handle)
        if not isinstance(names, list):
            raise pickle.UnpicklingError("no list of storages")
        for name in names:
            count = int.from_bytes(handle.read(8), "little")
            size = count * document.storages[name].dtype.itemsize
            self._places[name] = (handle.tell(), size)
            handle.seek(size, 1)

    def _read(self, storage: Storage) -> bytes:
        start, size = self._places[storage.name]
        check_size(storage, size, self._error)
        with self.path.open("rb") as handle:
            handle.seek(start)
            return handle.read(min(size, storage.size * storage.dtype.itemsize + 1))

    def _error(self, found: str) -> UserError:
        found = " ".join(found.split())
        return UserError(f"{self.path}: expected a complete checkpoint of torch.save, {found}")
