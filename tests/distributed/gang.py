"""A few processes of this machine that make a run together, over gloo and a file; and what they bring back."""

from __future__ import annotations

import os
import pickle
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing as mp

Work = Callable[..., Any]

SECONDS = 120
"""All processes must end within."""


def run_together(size: int, work: Work, *arguments: Any) -> list[Any]:
    """What `work(*arguments)` returns in each of `size` processes; raises AssertionError with the tracebacks of any."""
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
        found = []
        for rank in range(size):
            path = Path(folder) / f"{rank}.pickle"
            found.append(pickle.loads(path.read_bytes()) if path.is_file() else ("died", "no result"))
        assert not stuck, f"{len(stuck)} processes did not end: {found}"
    faults = [value for state, value in found if state != "done"]
    assert not faults, "\n".join(faults)
    return [value for _, value in found]


def _one(folder: str, rank: int, size: int, work: Work, arguments: tuple[Any, ...]) -> None:
    from benchmark.distributed.launch import join, leave

    torch.set_num_threads(1)
    outcome: tuple[str, Any]
    try:
        join(rank, size, torch.device("cpu"), f"file://{folder}/store")
        outcome = "done", work(*arguments)
        leave()
    except BaseException as error:
        outcome = "failed", f"process {rank}: {type(error).__name__}: {error}\n{traceback.format_exc()}"
    (Path(folder) / f"{rank}.pickle").write_bytes(pickle.dumps(outcome))
    os._exit(0)  # nothing of the parent's is to be undone
