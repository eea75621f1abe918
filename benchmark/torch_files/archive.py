"""Reads the tensors of a `torch.save` zip file without running anything that is in it.

A checkpoint is a pickle, and a pickle can call any function. This reader knows tensors, storages and plain
containers; every other class or function that the file names becomes an inert stub, so that trainer objects
(callbacks keyed by class, configuration containers) are passed over. Tensors are read only when asked for:
optimiser moments in the file cost nothing.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from benchmark.errors import UserError
from benchmark.guarded import DocumentError, next_pickle, open_archive

STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


class Inert:
    """Stands for whatever class or function a file names: takes any arguments and any state, does nothing."""

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Inert:
        return super().__new__(cls)

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        pass

    def __call__(self, *_args: Any, **_kwargs: Any) -> Inert:
        return self

    def __setstate__(self, _state: Any) -> None:
        pass

    def __setitem__(self, _key: Any, _value: Any) -> None:
        pass

    def append(self, _item: Any) -> None:
        """Pickled list subclasses come item by item."""

    def extend(self, _items: Any) -> None:
        """Or all at once."""

    def add(self, _item: Any) -> None:
        """Or as a set."""


@dataclass(frozen=True)
class Storage:
    """The numbers of one or more tensors, by the name they have in the file."""

    name: str
    dtype: torch.dtype
    size: int


@dataclass(frozen=True)
class LazyTensor:
    """A tensor still in its file."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, stride: Any, *_rest: Any) -> LazyTensor:
    if not isinstance(storage, Storage):
        raise pickle.UnpicklingError("tensor without a storage")
    return LazyTensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, stride)))


def _rebuild_parameter(data: Any, *_rest: Any) -> Any:
    return data


class SafeUnpickler(pickle.Unpickler):
    """Resolves every global name to a harmless counterpart or to a stub; never imports."""

    def __init__(self, handle: IO[bytes]) -> None:
        super().__init__(handle, encoding="utf-8")  # of strings that Python 2 wrote
        self.storages: dict[str, Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch._utils" and name == "_rebuild_tensor_v2":
            return lambda *args: _rebuild_tensor(*args)
        if module == "torch._utils" and name in ("_rebuild_parameter", "_rebuild_parameter_with_state"):
            return lambda *args: _rebuild_parameter(*args)
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        return type(name.rpartition(".")[2] or "stub", (Inert,), {})

    def persistent_load(self, pid: Any) -> Storage:
        match pid:
            case ("storage", torch.dtype() as dtype, str(name), _, int(size), *view) if view in ([], [None]):
                return self.storages.setdefault(name, Storage(name, dtype, size))
        raise pickle.UnpicklingError("storage of an unknown type")


class StoredTensors:
    """Tensors of a file: `read` gives a storage's bytes, `error` makes the error that names the file."""

    def __init__(self, read: Callable[[Storage], bytes], error: Callable[[str], UserError]) -> None:
        self._read, self._error = read, error
        self._storages: dict[str, Tensor] = {}

    def tensor(self, lazy: LazyTensor) -> Tensor:
        """Read a tensor; tensors that share a storage in the file share it here."""
        storage = lazy.storage
        if storage.name not in self._storages:
            self._storages[storage.name] = self._load(storage)
        try:
            return self._storages[storage.name].as_strided(lazy.shape, lazy.stride, lazy.offset)
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise self._error(f"a tensor reaches out of storage {storage.name} ({reason})") from None

    def _load(self, storage: Storage) -> Tensor:
        try:
            data = bytearray(self._read(storage))
        except (zipfile.BadZipFile, KeyError, OSError, EOFError) as error:
            raise self._error(f"storage {storage.name} cannot be read ({error})") from None
        check_size(storage, len(data), self._error)
        return torch.frombuffer(data, dtype=storage.dtype) if data else torch.empty(0, dtype=storage.dtype)


def check_size(storage: Storage, found: int, error: Callable[[str], UserError]) -> None:
    """Raise `error` where a storage has another number of bytes than the pickle says."""
    expected = storage.size * storage.dtype.itemsize
    if found != expected:
        raise error(f"storage {storage.name} has {found} bytes, its header says {expected}")


class TorchZip:
    """An open checkpoint: `content` holds its containers with a `LazyTensor` for each tensor.

    Raises UserError (one line) where the file is missing, truncated, damaged or of another format.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._tensors = StoredTensors(self._read, self._error)
        if not path.is_file():
            raise UserError(f"{path}: no such checkpoint file")
        try:
            self._archive = open_archive(path)
            pickles = [name for name in self._archive.namelist() if name.endswith("data.pkl")]
            if len(pickles) != 1:
                raise self._error(f"found a zip file with {len(pickles)} data.pkl")
            self._folder = pickles[0].removesuffix("data.pkl")
            with self._archive.open(pickles[0]) as handle:
                self.content = self._unpickle(handle)
        except DocumentError as error:
            raise self._error(f"found one out of bounds: {error}") from None
        except (zipfile.BadZipFile, OSError, EOFError) as error:
            raise self._error(f"found no complete zip file ({error})") from None

    def tensor(self, lazy: LazyTensor) -> Tensor:
        """Read a tensor; tensors that share a storage in the file share it here."""
        return self._tensors.tensor(lazy)

    def _read(self, storage: Storage) -> bytes:
        part = self._archive.getinfo(f"{self._folder}data/{storage.name}")
        check_size(storage, part.file_size, self._error)  # of the directory: before anything is inflated
        return self._archive.read(part)

    def _unpickle(self, handle: IO[bytes]) -> Any:
        try:
            return SafeUnpickler(io.BytesIO(next_pickle(handle))).load()
        except (zipfile.BadZipFile, OSError, DocumentError):
            raise
        except Exception as error:  # a crafted or damaged pickle may fail in any way; none of it is our fault
            raise self._error(f"its pickle cannot be read ({type(error).__name__}: {error})") from None

    def _error(self, found: str) -> UserError:
        found = " ".join(found.split())
        return UserError(f"{self.path}: expected a complete checkpoint of torch.save's zip format, {found}")
