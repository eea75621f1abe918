"""Files that are never half-written: write beside the target, flush to disk, rename over it.

A temporary file is locked by the process that writes it, and the system lifts the lock when that process ends, however
it ends. So `sweep` tells what a killed process left from what another one is writing.
"""

from __future__ import annotations

import hashlib
import io
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, cast

if sys.platform != "win32":
    import fcntl


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file beside `path`; it takes the place of `path` only when the block ends well."""
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = _open_temporary(path)
        target = Target(handle)
        try:
            with handle:
                yield cast(IO[bytes], target)
                handle.flush()
                os.fsync(handle.fileno())
                temporary.chmod(0o644)
                if sys.platform != "win32":
                    temporary.replace(path)  # while it is locked: no sweep can take it away
            if sys.platform == "win32":
                temporary.replace(path)  # where no open file can be renamed
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            if target.fault is not None:  # whatever was made of it meanwhile
                raise target.fault from None
            raise


class Target(io.BufferedIOBase):
    """A file that is written, which remembers why it could not be.

    `torch.save` turns a full disk into an error of its own without a word about the disk, and numpy, where it is given
    a plain file, into one without a number.
    """

    def __init__(self, handle: IO[bytes]) -> None:
        self._handle = handle
        self.fault: OSError | None = None

    def write(self, content: Any) -> int:
        try:
            return self._handle.write(content)
        except OSError as error:
            self.fault = error
            raise

    def flush(self) -> None:
        if not self._handle.closed:
            self._handle.flush()

    def tell(self) -> int:
        return self._handle.tell()

    def seek(self, place: int, whence: int = 0) -> int:
        return self._handle.seek(place, whence)

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Put the name of a file into an error of the system that has none, as those of writing have not."""
    try:
        yield
    except OSError as error:
        named = Path(str(error.filename or "")).name  # mkstemp makes paths absolute
        if error.errno is not None and (not named or named.startswith(f".{path.name}.")):
            error.filename = path.as_posix()
        raise


def _open_temporary(path: Path) -> tuple[IO[bytes], Path]:
    """A new file beside `path`, locked; another one where a sweep took it before it was."""
    while True:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        if sys.platform != "win32":
            with suppress(OSError):  # a file system without locks: nothing is swept there
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return os.fdopen(descriptor, "wb"), Path(name)
        os.close(descriptor)


def check_writable(folder: Path) -> None:
    """Raise the system's OSError, with the folder's name, where no file can be made in it, or above it."""
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        with tempfile.TemporaryFile(dir=place):
            return
    except OSError as error:
        error.filename = folder.as_posix()
        raise


def sweep(folder: Path, *targets: str) -> None:
    """Remove the temporary files that killed processes left in `folder` beside `targets` (globs of file names).

    What a living process is writing stays.
    """
    for leftover in [path for target in targets for path in folder.glob(f".{target}.*")]:
        with suppress(OSError):  # locked by its writer, renamed meanwhile, or on a file system without locks
            if sys.platform == "win32":
                leftover.unlink()  # refused where it is open
                continue
            with leftover.open("r+b") as handle:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                leftover.unlink()


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content`, atomically."""
    with replacing(path) as handle:
        handle.write(content)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 with `\\n` line ends, atomically."""
    write_bytes(path, text.encode("utf-8"))


def sha256_bytes(*chunks: bytes | memoryview) -> str:
    """Hexadecimal sha256 of the chunks, one after the other."""
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


def sha256_file(path: Path) -> str:
    """Hexadecimal sha256 of a file, read in pieces."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def plain(value: Any) -> Any:
    """Turn numpy scalars, tuples and paths inside `value` into what JSON knows, so that dumps are stable."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return value.as_posix()
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        return value.item()
    return value
