"""One process at a time in a work folder: locks that end with the process that holds them, however it ends.

The file of a lock stays and means nothing by itself: the system holds the lock, not the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from benchmark.errors import UserError
from benchmark.files import sweep

LOCK = "lock"
"""Name of the lock in the work folder of a run."""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock at `path` while the block runs; raises UserError at once where another process has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()  # a disk that is full or read-only has nothing to do with locks, and says so itself
    lock = FileLock(path, timeout=0, fallback_to_soft=False)  # a soft lock would outlive a killed process
    try:
        lock.acquire()
    except Timeout:
        raise UserError(
            f"{path.as_posix()}: found another process at work on this run, expected none; wait until it has "
            "ended, then run again"
        ) from None
    except (OSError, NotImplementedError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{path.as_posix()}: cannot be locked ({reason}), and two processes would mix their results; work on a "
            "file system that has locks"
        ) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def working(folder: Path, record: Path) -> Iterator[None]:
    """Hold the work folder of a run, swept of what killed processes left there and beside its record.

    Raises UserError where another process works in it.
    """
    with locked(folder / LOCK):
        sweep(folder, "sims.*")
        sweep(record.parent, record.name, record.with_suffix(".npz").name)
        yield
