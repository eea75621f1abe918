"""Whole commands by several processes: an ensemble, an evaluation; and under torchrun itself, errors and deaths.

torchrun's own processes take half a minute to start: those tests run in `nox -s distributed`.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch.distributed as dist

from benchmark.distributed.launch import says_first
from benchmark.records.record import read_record
from tests.distributed.gang import run_together
from tests.paths import ROOT
from tests.run.killing import make_toy_home, register_toy
from tests.tiny import I2T, Outcome, change_recipe, make_home, put, rematch
from tests.tiny import reproduce as reproduce_tiny

STARTS = pytest.mark.skipif("REMATCH_ALL_DISTRIBUTED" not in os.environ, reason="starts torchrun: slow")
DEADLINE = 60.0
"""Seconds within which all processes end after one has died."""
MEMBERS = ("toy-one", "toy-two")


def reproduce_all(folder: Path) -> Outcome:
    """Make the toys and their ensemble in a folder, and write the matrix of one of them once more."""
    os.chdir(folder)
    made = reproduce_tiny("toy", "scenes", "--no-tables")
    weights = ("--recipe", "recipes/toy/scenes-one.yaml", "--save-sims", "again.npy", "--device", "cpu")
    again = rematch("evaluate", *weights)
    return made if made.code else again


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same toys made by one process and by two."""
    alone, together = (make_toy_home(tmp_path_factory.mktemp(name)) for name in ("alone", "together"))
    with pytest.MonkeyPatch.context() as patch:
        register_toy(patch)
        patch.chdir(alone)
        assert reproduce_all(alone).code == 0
        first, second = run_together(2, reproduce_all, together)
    assert (first.code, second.code) == (0, 0), (first.err, second.err)
    assert second.out == ""  # the first one alone speaks
    return alone, together


def records_of(home: Path) -> dict[str, Any]:
    return {path.parent.name: read_record(path) for path in (home / "results/runs/scenes").glob("*/0.json")}


def test_an_ensemble_and_its_members_are_made_by_two(homes: tuple[Path, Path]) -> None:
    one, two = map(records_of, homes)
    assert one.keys() == two.keys() == {*MEMBERS, "toy-ensemble"}
    for name in MEMBERS:
        assert (one[name].environment.processes, two[name].environment.processes) == (None, 2)
        assert two[name].training.first_losses == pytest.approx(one[name].training.first_losses, rel=1e-4)
        assert two[name].recipe_digest == one[name].recipe_digest
    parts = [np.load(homes[1] / f".rematch/scenes/{name}/0/sims.npy").astype(np.float64) for name in MEMBERS]
    assert np.array_equal(np.load(homes[1] / ".rematch/scenes/toy-ensemble/0/sims.npy"), sum(parts) / 2)
    assert {(member.run, member.canonical_hash) for member in two["toy-ensemble"].members} == {
        (name, two[name].canonical_hash) for name in MEMBERS
    }


def test_two_evaluate_weights_as_one_does(homes: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The scores of the two's weights by two, by one, and those of their run: the same bits."""
    _, together = homes
    register_toy(monkeypatch)
    monkeypatch.chdir(together)
    by_two = np.load("again.npy")
    weights = ("--recipe", "recipes/toy/scenes-one.yaml", "--save-sims", "alone.npy", "--device", "cpu")
    assert rematch("evaluate", *weights).code == 0
    assert np.array_equal(np.load("alone.npy"), by_two)
    assert np.array_equal(np.load(".rematch/scenes/toy-one/0/sims.npy"), by_two)


def test_a_diff_counts_the_ranks_that_differ(homes: tuple[Path, Path]) -> None:
    alone, together = (home / "results/runs/scenes/toy-one/0.json" for home in homes)
    said = rematch("diff", alone, together).good
    assert re.search(r"\d+ of 72 queries changed rank: \d+ better, \d+ worse", said), said
    assert "environment.processes" in said


def test_an_error_is_said_by_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of those that share torchrun's store; where there is none, all speak."""
    make: Any = vars(dist)["TCPStore"]  # public, and not among the typed names
    store = make("localhost", 0, is_master=True, wait_for_workers=False)
    for name, value in (("MASTER_ADDR", "localhost"), ("MASTER_PORT", str(store.port))):
        monkeypatch.setenv(name, value)
    assert says_first("no such recipe", ours=True)
    assert says_first("no such recipe", ours=True)  # not torchrun's store
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    assert [says_first("no such recipe", ours=True) for _ in range(3)] == [True, False, False]
    assert says_first("process 1: out of memory", ours=True)  # another fault
    assert not says_first("another one has ended", ours=False)  # what follows from them
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert [says_first("another one has ended", ours=False) for _ in range(2)] == [True, False]


# ---------------------------------------------------------------------------------- torchrun itself


def start(home: Path, how: str, *arguments: str) -> subprocess.Popen[str]:
    """Start `rematch reproduce` by two processes, as the user does."""
    together = ["torchrun", "--nproc-per-node", "2"] if how == "torchrun" else [sys.executable]
    command = [*together, "-m", "benchmark", "reproduce", *arguments, "--no-latency", "--no-tables"]
    command += ["--no-progress", "--device", "cpu", *(["--processes", "2"] if how != "torchrun" else [])]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=home, env=environment, **pipes)


def own_lines(said: str) -> list[str]:
    """The lines of `rematch` among those of torchrun."""
    return [line for line in said.splitlines() if line.startswith(("error: ", "stopped: "))]


def process_of(parent: int, rank: int) -> int:
    """The process of a rank, among the children of a launcher."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            mother = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            if mother == parent and f"RANK={rank}".encode() in (path / "environ").read_bytes().split(b"\0"):
                return int(path.name)
        except OSError:  # it has ended
            continue
    raise AssertionError(f"no process of rank {rank}")


@STARTS
@pytest.mark.parametrize("how", ["torchrun", "--processes"])
def test_a_mistake_is_said_once(tmp_path: Path, how: str) -> None:
    running = start(make_home(tmp_path), how, "recipes/hat/scenes-i2t.yaml", "--profile", "nothing")
    _, said = running.communicate(timeout=240)
    assert running.returncode == (1 if how == "torchrun" else 2)  # torchrun's own code
    assert len(own_lines(said)) == 1, said
    assert "nothing" in own_lines(said)[0]


def make_longer_home(folder: Path) -> Path:
    """A home whose recipe has three epochs."""
    change_recipe(make_home(folder) / I2T, put("training.stages.0.epochs", 3))
    return folder


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The hash of a run by two processes that nothing stops."""
    home = make_longer_home(tmp_path_factory.mktemp("undisturbed"))
    running = start(home, "--processes", I2T.as_posix())
    out, said = running.communicate(timeout=240)
    assert running.returncode == 0, out + said
    found: str = records_of(home)["hat-i2t"].canonical_hash
    return found


@STARTS
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds processes in /proc")
@pytest.mark.parametrize(("how", "victim"), [("torchrun", 0), ("torchrun", 1), ("--processes", 1)])
def test_a_killed_process_ends_all_and_the_run_goes_on(
    undisturbed: str, tmp_path: Path, how: str, victim: int
) -> None:
    home = make_longer_home(tmp_path)
    running, log = start(home, how, I2T.as_posix()), home / ".rematch/scenes/hat-i2t/0/log.jsonl"
    while not log.is_file() or not log.read_text(encoding="utf-8"):
        assert running.poll() is None
        time.sleep(0.02)
    os.kill(process_of(running.pid, victim), signal.SIGKILL)  # the second epoch has begun
    _, said = running.communicate(timeout=DEADLINE)
    assert running.returncode == (1 if how == "torchrun" else 2)
    assert len(own_lines(said)) == 1, said
    assert "--resume" in own_lines(said)[0]
    again = start(home, how, I2T.as_posix(), "--resume")
    out, said = again.communicate(timeout=240)
    assert again.returncode == 0, out + said
    assert records_of(home)["hat-i2t"].canonical_hash == undisturbed
