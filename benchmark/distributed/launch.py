"""How a run comes to have several processes: `torchrun` starts them, and each finds the others."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from benchmark.distributed.processes import Processes, processes, set_processes
from benchmark.errors import UserError
from benchmark.guarded import DocumentError, read_json

STEP = timedelta(minutes=10)
"""The longest wait for another process in the middle of a step."""
PATIENCE = timedelta(days=7)
"""The longest wait for the first process, which loads data and writes files for all; a death is noticed at once."""

ASKING = timedelta(seconds=5)
"""The longest wait to learn whether another process has said an error."""


def join(rank: int, size: int, device: torch.device, init_method: str | None = None) -> Processes:
    """Find the other processes of the run; tensors go over gloo on a CPU, over NCCL on a GPU.

    `init_method`: where they meet, None for the place that `torchrun` names. Raises UserError where they do not meet.
    """
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    try:
        dist.init_process_group(backend, init_method=init_method, rank=rank, world_size=size, timeout=STEP)
        control = dist.new_group(backend="gloo", timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"process {rank} of {size} (from 0): the processes did not meet: {reason}") from None
    found = Processes(rank, size, control)
    set_processes(found)
    return found


def leave() -> None:
    """Part from the other processes; this one is alone from now on."""
    set_processes(Processes())
    if dist.is_initialized():
        dist.destroy_process_group()


def told(name: str) -> int | None:
    """A number that `torchrun` has put into the environment; raises UserError where it is none."""
    value = os.environ.get(name)
    if value is None:
        return None
    if not value.isdigit():
        raise UserError(
            f"environment variable {name}: found '{value}', expected a whole number; torchrun sets it"
        )
    return int(value)


@dataclass(frozen=True)
class Place:
    """The place that `torchrun` has given this process."""

    rank: int
    size: int
    local: int
    """Its number on its machine: that of its GPU."""


def place() -> Place | None:
    """The place of this process among those that `torchrun` started; None: it was started alone.

    Raises UserError where the environment says something that cannot be.
    """
    size = told("WORLD_SIZE")
    if size is None or size == 1:
        return None
    rank, local = told("RANK"), told("LOCAL_RANK")
    if rank is None or rank >= size:
        raise UserError(f"environment variable RANK: found {rank} with WORLD_SIZE {size}; torchrun sets both")
    return Place(rank, size, rank if local is None else local)


@contextmanager
def joined(device: torch.device) -> Iterator[torch.device]:
    """Be one of the processes that `torchrun` started, if it did; yields the device, each process its own GPU."""
    here = place()
    if here is None or not processes().alone:
        yield device
        return
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", here.local)
        torch.cuda.set_device(device)
    join(here.rank, here.size, device)
    try:
        yield device
    finally:
        set_processes(Processes())
    leave()  # not after an error: the others may not be there


# ---------------------------------------------------------------------------------- `--processes N`

REPORTS = "REMATCH_PROCESS_REPORTS"
"""The environment variable that names the folder in which a process says how it ended, where Rematch started it."""


def report_end(said: str, *, ours: bool) -> bool:
    """Leave word of this process's error for the one that started it; False: nobody waits for word.

    `ours`: the error is its own, and not that another process ended.
    """
    folder = os.environ.get(REPORTS)
    if folder is None:
        return False
    text = json.dumps({"said": said, "ours": ours})
    (Path(folder) / f"{os.environ.get('RANK', '0')}.json").write_text(text, encoding="utf-8")
    return True


def says_first(said: str, *, ours: bool) -> bool:
    """Return True where no other process that `torchrun` started has said this error, or where they cannot be asked.

    `ours` as in `report_end`; what is not is silent, too, once another has said an error of any kind.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":  # torchrun's own keeps it when processes die
        return True
    attempt = f"rematch/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    try:
        where = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = dist.TCPStore(*where, is_master=False, timeout=ASKING)  # type: ignore[attr-defined]
        any_first = store.add(f"{attempt}/ended", 1) == 1
        return store.add(f"{attempt}/said/{said}", 1) == 1 if ours else any_first
    except (RuntimeError, KeyError, ValueError):
        return True


def launch(size: int, arguments: Sequence[str]) -> None:
    """Run `rematch ARGUMENTS` in `size` processes of this machine, as `torchrun --nproc-per-node` does.

    Raises UserError, in one line, with the fault of the first process that has one.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            run_id="rematch",
            nproc_per_node=size,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            max_restarts=0,
            monitor_interval=0.2,
        )
        os.environ[REPORTS] = folder
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // size)))
        try:
            elastic_launch(config, sys.executable)("-m", "benchmark", *arguments)
        except ChildFailedError as error:
            ends = {rank: failure.exitcode for rank, failure in error.failures.items()}
            raise UserError(explain_end(Path(folder), ends, size)) from None
        except SignalException:
            raise KeyboardInterrupt from None
        finally:
            del os.environ[REPORTS]


def explain_end(folder: Path, ends: Mapping[int, int], size: int) -> str:
    """Say in one line why processes ended: by what one said of itself, else by how it ended (`ends`, exit codes)."""
    reports: dict[int, dict[str, Any]] = {}
    for path in folder.glob("*.json"):
        with suppress(OSError, DocumentError):  # a process may have been killed while it wrote
            reports[int(path.stem)] = read_json(path)
    own = sorted((rank, report["said"]) for rank, report in reports.items() if report["ours"])
    if own:
        return str(own[0][1])
    after = "the others were stopped; the last checkpoint is kept; run again with --resume"
    killed = sorted(rank for rank, code in ends.items() if code < 0 and code != -signal.SIGTERM)
    for rank in killed:
        name = signal.Signals(-ends[rank]).name
        return f"process {rank} of {size} (from 0) was ended by {name}; {after}"
    silent = sorted(rank for rank in ends if rank not in reports)
    if silent:
        rank = silent[0]
        return f"process {rank} of {size} (from 0) ended with exit code {ends[rank]}; {after}"
    return str(next(iter(reports.values()))["said"])
