"""A few processes of this machine that make a run together, over gloo and a file; and what they bring back."""

from __future__ import annotations

import os
import pickle
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing as mp

from benchmark.distributed.launch import join, leave

Work = Callable[..., Any]

SECONDS = 240
"""All processes must end within: some forty times what they take alone."""


@dataclass(frozen=True)
class End:
    """How a process ended: with a result, with an error (its type, words and traceback), or without a word."""

    state: str
    value: Any = None
    error: str = ""
    words: str = ""
    at: float = 0.0


def run_gang(size: int, work: Work, *arguments: Any) -> list[End]:
    """Run `work(*arguments)` in `size` processes; how each ended."""
    with tempfile.TemporaryDirectory() as folder:
        context = mp.get_context("fork")
        gang = [
            context.Process(target=_one, args=(folder, rank, size, work, arguments)) for rank in range(size)
        ]
        for process in gang:
            process.start()
        for process in gang:
            process.join(SECONDS)
        stuck = [process for process in gang if process.is_alive()]
        for process in stuck:
            process.kill()
        ends = []
        for rank in range(size):
            path = Path(folder) / f"{rank}.pickle"
            ends.append(pickle.loads(path.read_bytes()) if path.is_file() else End("died"))
    assert not stuck, f"{len(stuck)} processes did not end: {ends}"
    return ends


def run_together(size: int, work: Work, *arguments: Any) -> list[Any]:
    """Return what `work(*arguments)` gives in each of `size` processes; raises AssertionError where one fails."""
    ends = run_gang(size, work, *arguments)
    faults = [end.error or "died" for end in ends if end.state != "done"]
    assert not faults, "\n".join(faults)
    return [end.value for end in ends]


def _one(folder: str, rank: int, size: int, work: Work, arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    try:
        join(rank, size, torch.device("cpu"), f"file://{folder}/store")
        end = End("done", work(*arguments))
        leave()
    except BaseException as error:
        end = End(type(error).__name__, None, traceback.format_exc(), str(error), time.monotonic())
    (Path(folder) / f"{rank}.pickle").write_bytes(pickle.dumps(end))
    os._exit(0)  # nothing of the parent's is to be undone
