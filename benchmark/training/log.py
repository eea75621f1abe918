"""The training log: one JSON line an epoch, appended and flushed to disk.

A checkpoint remembers how long the log was; what a killed run wrote after it is cut when the run is resumed.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from benchmark.errors import UserError


def append_line(path: Path, line: dict[str, Any]) -> int:
    """Append one line and return the length of the log in bytes."""
    text = json.dumps(line, allow_nan=False, separators=(",", ":"))
    with path.open("ab") as handle:
        handle.write(f"{text}\n".encode())
        handle.flush()
        os.fsync(handle.fileno())
        return handle.tell()


def cut(path: Path, size: int) -> None:
    """Drop what was written after byte `size`.

    Raises UserError where the log is shorter: it isn't the one that the checkpoint was written with.
    """
    found = path.stat().st_size if path.is_file() else 0
    if found < size:
        raise UserError(
            f"{path.as_posix()}: found {found} bytes, expected at least {size}; "
            "put the log back that belongs to the checkpoint, or train anew without --resume"
        )
    if found > size:
        os.truncate(path, size)


def read_log(path: Path) -> list[dict[str, Any]]:
    """All lines, one an epoch; raises UserError (file and line) where a line is not JSON."""
    lines = []
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError as error:
            raise UserError(
                f"{path.as_posix()}:{number}: not a line of a training log ({error.msg})"
            ) from None
    return lines


def step_losses(log: list[dict[str, Any]], count: int | None = None) -> list[float]:
    """The losses of the first `count` optimiser steps (None: all), over the epochs of a log."""
    losses = [float(loss) for line in log for loss in line["losses"]]
    return losses[:count]
