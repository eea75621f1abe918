"""Jobs: what is handed to a queue, the script of each, and how they stand.

A job is known by its run and seed, and so is its work folder: as long as one is there, no other is handed in.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from benchmark.cluster.task import Task
from benchmark.errors import UserError
from benchmark.files import write_text
from benchmark.guarded import read_json
from benchmark.recipe.faults import explain
from benchmark.run.job import Settings
from benchmark.run.lock import locked
from benchmark.run.runs import Run
from benchmark.strict import Strict

if TYPE_CHECKING:
    from submitit import Executor

Queue = Literal["slurm", "local"]
"""`local`: processes of this machine, all at once; for trials."""
ENDED = ("finished", "failed", "lost")
"""States in which a job will do nothing more."""


@dataclass(frozen=True)
class Wish:
    """The wishes of a job to its queue."""

    queue: Queue = "slurm"
    partition: str | None = None
    hours: float = 24.0
    gpus: int = 1
    cpus: int = 8
    """For each GPU, or for the job where it has none."""
    memory_gb: int = 32
    """For each GPU, or for the job where it has none."""

    def parameters(self, name: str) -> dict[str, Any]:
        """The parameters of submitit's executor."""
        minutes, parts = max(1, round(60 * self.hours)), max(1, self.gpus)
        if self.queue == "local":
            return {"name": name, "timeout_min": minutes, "gpus_per_node": self.gpus, "tasks_per_node": 1}
        asked: dict[str, Any] = {
            "job_name": name,
            "time": minutes,
            "nodes": 1,
            "ntasks_per_node": 1,
            "cpus_per_task": self.cpus * parts,
            "mem": f"{self.memory_gb * parts}GB",
        }
        asked |= {"gpus_per_node": self.gpus} if self.gpus else {}
        return asked | ({"partition": self.partition} if self.partition else {})


class Entry(Strict):
    """The notes of a job that was handed in."""

    name: str
    queue: Queue
    job: str
    """The queue's own name of it."""
    record: str
    """The place of its record."""
    command: str


@dataclass(frozen=True)
class Standing:
    """A job and its state: waiting, running, finished, failed (and why), lost."""

    entry: Entry
    state: str
    said: str
    record: bool
    """Whether its record is there."""


def job_name(run: Run, seed: int) -> str:
    """The name of a job: of its dataset, run and seed."""
    return f"{run.dataset}-{run.name}-{seed}"


def task_of(run: Run, seed: int, more: Sequence[str], gpus: int) -> Task:
    """The command of a job; it goes on where an earlier one was stopped, and writes no tables, which all jobs share."""
    command = [
        "reproduce",
        run.path.as_posix(),
        "--seeds",
        str(seed),
        "--resume",
        "--no-tables",
        "--no-progress",
    ]
    command += ["--profile", run.profile] if run.profile else []
    command += ["--processes", str(gpus)] if gpus > 1 else []
    return Task([*command, *more], Path.cwd().as_posix())


def jobs_folder(settings: Settings) -> Path:
    """Return the folder of the jobs."""
    return settings.work / "jobs"


def submit(run: Run, seed: int, wish: Wish, more: Sequence[str], settings: Settings) -> Entry:
    """Hand in a job. Raises UserError where one of this run and seed is not done yet, or the queue takes none."""
    name, root = job_name(run, seed), jobs_folder(settings)
    task = task_of(run, seed, more, wish.gpus)
    with locked(root / "lock"):
        there = find(root, name)
        if there is not None:
            now = standing(root, there)
            if now.state not in ENDED:
                raise UserError(
                    f"job {name}: found one that is {now.state} ({there.queue} {there.job}), expected none: two would "
                    "share a work folder; wait until it has ended, or cancel it"
                )
        executor = make_executor(wish, root / name)
        executor.update_parameters(**wish.parameters(name))
        with refusing(name):
            job = executor.submit(task)
        record = settings.record(run.dataset, run.name, seed).as_posix()
        entry = Entry(
            name=name, queue=wish.queue, job=job.job_id, record=record, command=shlex.join(task.command)
        )
        write_text(root / f"{name}.json", json.dumps(entry.model_dump(), indent=1) + "\n")
    return entry


def write_script(run: Run, seed: int, wish: Wish, more: Sequence[str], settings: Settings) -> Path:
    """Write the sbatch script of a job, and hand nothing in; the script runs the command by itself."""
    name = job_name(run, seed)
    folder = jobs_folder(settings) / name
    executor = make_executor(wish, folder, detached=True)
    executor.update_parameters(**wish.parameters(name))
    command = shlex.join(task_of(run, seed, more, wish.gpus).command)
    # the text alone: no public function of submitit gives it without handing it in
    text: str = executor._make_submission_file_text(command, name)
    path = folder / "job.sbatch"
    write_text(path, text if text.endswith("\n") else f"{text}\n")
    return path


def make_executor(wish: Wish, folder: Path, *, detached: bool = False) -> Executor:
    """Return submitit's executor of a queue. `detached`: nothing will be handed in, so that there need be no queue.

    Raises UserError where submitit is not installed, or the machine has no such queue.
    """
    try:
        import submitit
    except ImportError:
        raise UserError(
            "submitit is not installed, which hands jobs to a cluster; `uv pip install 'rematch-bench[cluster]'`"
        ) from None
    folder.mkdir(parents=True, exist_ok=True)
    if wish.queue == "local":
        return submitit.LocalExecutor(folder)

    class Anywhere(submitit.SlurmExecutor):  # type: ignore[misc]
        @classmethod
        def affinity(cls) -> int:
            return 2 if detached else super().affinity()

    try:
        return Anywhere(folder)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"queue 'slurm': {reason}; run this where `sbatch` is, take --queue local, or --print the scripts"
        ) from None


@contextmanager
def refusing(name: str) -> Iterator[None]:
    """Turn what the queue says of a job that it does not take into one line."""
    try:
        yield
    except (RuntimeError, OSError) as error:  # submitit's own errors are RuntimeErrors
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"job {name}: the queue does not take it ({reason})") from None


def find(root: Path, name: str) -> Entry | None:
    """The job of that name; None where none was handed in. Raises UserError for a damaged file."""
    path = root / f"{name}.json"
    if not path.is_file():
        return None
    try:
        return Entry.model_validate(read_json(path))
    except ValidationError as error:
        raise UserError(f"{path.as_posix()}: {explain(error, Entry)}") from None
    except (OSError, ValueError):
        raise UserError(f"{path.as_posix()}: found no JSON document; delete it") from None


def standings(settings: Settings) -> list[Standing]:
    """How all jobs stand that were handed in from here, by name."""
    root = jobs_folder(settings)
    names = sorted(path.stem for path in root.glob("*.json"))
    entries = [found for name in names if (found := find(root, name)) is not None]
    return [standing(root, entry) for entry in entries]


def standing(root: Path, entry: Entry) -> Standing:
    """How a job stands, by what it has left and what its queue says."""
    make_executor(Wish(queue="local"), root / entry.name)  # says what is missing where submitit is
    import submitit

    folder = root / entry.name
    there = Path(entry.record).is_file()
    kind = submitit.LocalJob if entry.queue == "local" else submitit.SlurmJob
    job: Any = kind(folder, entry.job)
    if job.paths.result_pickle.is_file():
        error = job.exception()
        said = "" if error is None else _last_line(str(error))
        return Standing(entry, "finished" if error is None else "failed", said, there)
    if entry.queue == "local":
        return Standing(entry, "running" if _is_alive(int(entry.job)) else "lost", "", there)
    state = str(job.state).lower()
    state = {"pending": "waiting", "requeued": "waiting", "completed": "finished"}.get(state, state)
    ended = state in ("failed", "cancelled", "timeout", "out_of_memory", "node_fail")
    return Standing(entry, "failed" if ended else state, state if ended else "", there)


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    own = [line for line in lines if "UserError: " in line]
    return own[-1].split("UserError: ", 1)[1] if own else (lines[-1] if lines else "")


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    stat = Path(f"/proc/{process}/stat")
    return not stat.is_file() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


def as_json(found: Standing) -> dict[str, Any]:
    """A job and its state for a program."""
    return {**found.entry.model_dump(), **{k: v for k, v in asdict(found).items() if k != "entry"}}
