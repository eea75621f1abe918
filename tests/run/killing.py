"""Runs of the smallest toys in processes of their own, which can be killed at every write; `python -m` starts a server.

The server imports the harness once and forks a child for each command, so that a run takes a fraction of a second.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmark import registry
from tests.paths import ROOT
from tests.tiny import write_recipe
from tests.toy_method import TOY_RECIPE, WORD_TOY, Point

WRITES = ("fsync", "replace", "rename", "unlink", "mkdir", "rmdir")
"""Calls of `os` that change what lies on disk; a child can be killed before each of them."""

RECIPE: dict[str, Any] = {
    **TOY_RECIPE,
    "data": {"name": "scenes", "options": {"n_train": 16, "n_val": 4, "n_test": 12}},
    "training": {
        **TOY_RECIPE["training"],
        "stages": [
            {"epochs": 2, "frozen": ["words.*"]},
            {"epochs": 1, "optimizer": "reset", "start_from": "checkpoint"},
        ],
    },
}
ENSEMBLE: dict[str, Any] = {
    "summary": "both toys",
    "ensemble": ["scenes-one", "scenes-two"],
    "departures": [],
    "paper_row": {"method": "hat", "variant": "HAT (i2t + t2i)"},
}
STUDY: dict[str, Any] = {
    "summary": "toys of two widths",
    "recipe": "scenes-one",
    "seeds": [0],
    "changes": {"training": {"stages": [{"epochs": 1}]}},
    "variants": {
        "wide": {"summary": "the recipe's width"},
        "narrow": {"summary": "a narrower toy", "changes": {"model": {"width": 4}}},
    },
    "comparisons": [{"of": "wide", "against": "narrow"}],
}
REPRODUCE = ("reproduce", "toy", "scenes", "--no-latency", "--no-progress", "--device", "cpu")
STUDIED = ("study", "widths", "--device", "cpu", "--no-progress")


def make_toy_home(folder: Path) -> Path:
    """A working folder with two toys, their ensemble and a study."""
    recipes = folder / "recipes/toy"
    write_recipe(recipes / "scenes-one.yaml", RECIPE)
    write_recipe(recipes / "scenes-two.yaml", {**RECIPE, "model": {"width": 8}})
    write_recipe(recipes / "scenes-ensemble.yaml", ENSEMBLE)
    write_recipe(recipes / "studies/widths.yaml", STUDY)
    paper = folder / "results/paper"
    paper.mkdir(parents=True)
    (paper / "hat.yaml").write_bytes((ROOT / "results/paper/hat.yaml").read_bytes())
    return folder


def register_toy(patch: pytest.MonkeyPatch) -> None:
    """Let recipes name the toy, which then reads words."""
    patch.setattr(registry, "_entry_points", lambda: {"toy": Point(WORD_TOY)})


# ----------------------------------------------------------------------------------------- commands


@dataclass(frozen=True)
class Order:
    """A command in a folder, and when its process ends of itself."""

    folder: str
    arguments: list[str]
    kill_before: int | None = None
    """The number of the write, from 0, that is no longer made."""
    kill_after: float | None = None
    """Seconds."""
    pause_before: int | None = None
    """The number of the write before which the process stops until it is told to go on."""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    """-9: killed."""
    out: str
    err: str
    writes: int
    """How many it made; -1: it was killed."""


class Server:
    """The test's end: commands go to the server, one line each way."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def start(self, folder: Path, *arguments: str, **kill: Any) -> int:
        """Start `rematch <arguments>` in a folder; returns the number of its process."""
        return int(self._ask({"start": asdict(Order(str(folder), list(arguments), **kill))}))

    def paused(self, child: int) -> None:
        """Wait until a command has stopped of itself."""
        assert self._ask({"paused": child}) is True

    def wait(self, child: int) -> Ended:
        """Wait until a command has ended."""
        return Ended(**self._ask({"wait": child}))

    def run(self, folder: Path, *arguments: str, **kill: Any) -> Ended:
        """Start a command and wait for it."""
        return self.wait(self.start(folder, *arguments, **kill))

    def _ask(self, question: dict[str, Any]) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """A server that keeps what commands print in `folder`."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    command = [sys.executable, "-m", "tests.run.killing", str(folder)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, env=environment, **pipes) as process:  # type: ignore[call-overload]
        yield Server(process)
        process.stdin.close()


# ------------------------------------------------------------------------------------------- server


def serve(folder: Path) -> None:
    """Answer the questions on stdin."""
    import benchmark.reporting.generated
    import benchmark.run.reproduce
    import benchmark.studies.run  # noqa: F401  # children begin with everything imported
    from benchmark.reporting import page
    from benchmark.reporting.writers import html

    for templates in (page._environment(), html.environment(html.TEMPLATES)):  # and compiled
        for name in templates.list_templates(["j2"]):
            templates.get_template(name)
    torch.set_num_threads(1)
    register_toy(pytest.MonkeyPatch())
    for line in sys.stdin:
        question = json.loads(line)
        if "start" in question:
            answer: Any = fork(folder, Order(**question["start"]))
        elif "paused" in question:
            answer = os.WIFSTOPPED(os.waitpid(question["paused"], os.WUNTRACED)[1])
        else:
            answer = gather(folder, question["wait"])
        print(json.dumps(answer), flush=True)


def fork(folder: Path, order: Order) -> int:
    """Run the command in a child; returns its number."""
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        for descriptor, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(folder / f"{os.getpid()}.{name}", os.O_CREAT | os.O_WRONLY), descriptor)
        os.chdir(order.folder)
        code = obey(folder, order)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def obey(folder: Path, order: Order) -> int:
    """The command, with every write counted."""
    from benchmark import cli

    writes, known = 0, set(sys.modules)

    def counted(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal writes
            if writes == order.kill_before:
                os.kill(os.getpid(), signal.SIGKILL)
            if writes == order.pause_before:
                os.kill(os.getpid(), signal.SIGSTOP)
            writes += 1
            return original(*arguments, **named)

        return call

    for name in WRITES:
        setattr(os, name, counted(getattr(os, name)))
    if order.kill_after is not None:
        threading.Timer(order.kill_after, os.kill, (os.getpid(), signal.SIGKILL)).start()
    sys.argv = ["rematch", *order.arguments]
    try:
        cli.main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    counted_to = {"writes": writes, "modules": sorted(sys.modules.keys() - known)}
    (folder / f"{os.getpid()}.json").write_text(json.dumps(counted_to))
    return code


def gather(folder: Path, child: int) -> dict[str, Any]:
    """What a child left."""
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    out, err = ((folder / f"{child}.{name}").read_text(encoding="utf-8") for name in ("out", "err"))
    counted = folder / f"{child}.json"
    if not counted.is_file():
        return asdict(Ended(code, out, err, -1))
    found = json.loads(counted.read_text())
    for module in found["modules"]:  # the next children have them already
        with suppress(ImportError):
            importlib.import_module(module)
    return asdict(Ended(code, out, err, found["writes"]))


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
