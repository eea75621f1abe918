"""The training log: one JSON line an epoch, appended and flushed to disk.

A checkpoint remembers how long the log was and its sha256; what a killed run wrote after it is cut when the run is
resumed.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmark.errors import UserError
from benchmark.files import naming, sha256_bytes
from benchmark.guarded import parse_json

ANEW = "train anew without --resume"
"""The remedy where a file of a training cannot be trusted."""


@dataclass
class Log:
    """A log as this process, and those before it, have written it."""

    path: Path
    size: int = 0
    """The size in bytes."""
    digest: Any = field(default_factory=hashlib.sha256)
    """The running sha256 of these bytes; hashlib has no name for its type."""

    @property
    def sha256(self) -> str:
        return str(self.digest.hexdigest())

    def append(self, line: dict[str, Any]) -> None:
        """Append one line."""
        content = f"{json.dumps(line, allow_nan=False, separators=(',', ':'))}\n".encode()
        with naming(self.path), self.path.open("ab") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        self.digest.update(content)
        self.size += len(content)

    def cut(self) -> None:
        """Drop what was written after the end."""
        if self.path.stat().st_size > self.size:
            os.truncate(self.path, self.size)

    def entries(self) -> list[dict[str, Any]]:
        """All lines, one an epoch; raises UserError where the file is not the one that was written."""
        content = self.path.read_bytes()
        found = sha256_bytes(content)
        if found != self.sha256:
            raise UserError(
                f"{self.path.as_posix()}: found sha256 {found[:12]}, expected {self.sha256[:12]}: another program "
                f"changed it during the training; {ANEW}"
            )
        return [parse_json(line) for line in content.decode("utf-8").splitlines()]


def check_log(path: Path, size: int, sha256: str) -> Log:
    """The log whose first `size` bytes have this sha256.

    Raises UserError where they are fewer or others: it is not the log that the checkpoint was written with.
    """
    content = path.read_bytes()[:size] if path.is_file() else b""
    log = Log(path, len(content), hashlib.sha256(content))
    back = f"put the log back that belongs to the checkpoint, or {ANEW}"
    if len(content) < size:
        raise UserError(f"{path.as_posix()}: found {len(content)} bytes, expected at least {size}; {back}")
    if log.sha256 != sha256:
        raise UserError(f"{path.as_posix()}: found sha256 {log.sha256[:12]}, expected {sha256[:12]}; {back}")
    return log


def epoch_line(entry: dict[str, Any], epochs: int) -> str:
    """Return the entry of an epoch, of so many, as a line to read."""
    parts = [f"loss {entry['loss']:.4g}"]
    if entry["validation"] is not None:
        parts.append(f"validation rsum {entry['validation']['rsum']:.1f}{', the best yet' * entry['best']}")
    parts.append(f"{entry['seconds'] + entry['validation_seconds']:.1f} s")
    parts.append(f"{entry['pairs'] / max(entry['seconds'], 0.001):.0f} images/s")
    return f"epoch {entry['epoch'] + 1} of {epochs}: {', '.join(parts)}"


def step_losses(log: list[dict[str, Any]], count: int | None = None) -> list[float]:
    """The losses of the first `count` optimiser steps (None: all), over the epochs of a log."""
    losses = [float(loss) for line in log for loss in line["losses"]]
    return losses[:count]
