"""Jobs on a cluster, by submitit's local executor; skipped where submitit, an optional extra, is not installed."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from benchmark.cluster.task import Task
from benchmark.errors import UserError
from tests.tiny import I2T, make_home, rematch

TOY = ("submit", I2T.as_posix(), "--gpus", "0")
PATIENCE = 240.0
"""Seconds until a job must have ended: twenty times its time on a processor of its own. On one that ten others want it
took 100 s, all of them work: there is nothing that it waits for."""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(make_home(tmp_path))
    return tmp_path


def test_without_submitit_the_error_says_how_to_get_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    said = rematch(*TOY, "--print").error
    assert said.startswith("submitit is not installed")
    assert "rematch-bench[cluster]" in said
    assert not list(home.rglob("*.sbatch"))


def test_a_task_fails_with_the_last_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown method or recipe 'nothing'"):
        Task(["reproduce", "nothing", "scenes"], str(tmp_path))()


def test_printed_scripts_hand_nothing_in(home: Path) -> None:
    pytest.importorskip("submitit", reason="submitit (rematch-bench[cluster]) is not installed")
    said = rematch(
        *("submit", I2T.as_posix(), "--seeds", "0", "1", "--partition", "gpu", "--hours", "48"),
        *("--gpus", "4", "--cpus", "6", "--print"),
    ).good
    scripts = sorted((home / ".rematch/jobs").glob("*/job.sbatch"))
    assert [path.parent.name for path in scripts] == ["scenes-hat-i2t-0", "scenes-hat-i2t-1"]
    for seed, path in enumerate(scripts):
        text = path.read_text()
        assert text.startswith("#!/bin/bash")
        assert "#SBATCH --partition=gpu" in text
        assert "#SBATCH --time=2880" in text
        assert "#SBATCH --gpus-per-node=4" in text
        assert "#SBATCH --cpus-per-task=24" in text
        assert f"reproduce {I2T.as_posix()} --seeds {seed} --resume" in text
        assert "--processes 4" in text
        assert text.rstrip() in said
    assert not list((home / ".rematch/jobs").glob("*.json"))
    assert rematch("jobs", "--format", "json").good.strip() == "[]"


def test_without_slurm_the_error_names_what_else_there_is(home: Path) -> None:
    pytest.importorskip("submitit", reason="submitit (rematch-bench[cluster]) is not installed")
    if any((Path(folder) / "srun").exists() for folder in os.environ["PATH"].split(os.pathsep)):
        pytest.skip("this machine has Slurm")
    assert "take --queue local, or --print the scripts" in rematch(*TOY).error
    assert not list((home / ".rematch/jobs").glob("*.json"))


def end_all_in(folder: Path) -> None:
    """End the job's processes, which work in the folder; a signal to the job alone leaves its command running."""
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (path / "cwd").readlink() == folder and int(path.name) != os.getpid():
                os.kill(int(path.name), signal.SIGKILL)


def test_a_local_job_leaves_its_record(home: Path) -> None:
    pytest.importorskip("submitit", reason="submitit (rematch-bench[cluster]) is not installed")
    said = rematch(*TOY, "--queue", "local", "--seeds", "3").good
    assert "scenes-hat-i2t-3" in said
    again = rematch(*TOY, "--queue", "local", "--seeds", "3").error
    assert "found one that is running" in again  # two would share a work folder
    begin, state = time.monotonic(), ""
    while state not in ("finished", "failed", "lost"):
        time.sleep(1)
        (found,) = json.loads(rematch("jobs", "--format", "json").good)
        state = found["state"]
        if time.monotonic() - begin > PATIENCE:
            end_all_in(home)
            break
    logs = "".join(path.read_text() for path in sorted((home / ".rematch/jobs").glob("*/*_log.*")))
    assert state == "finished", f"{found}\n{logs}"
    assert found["record"] is True
    assert (home / "results/runs/scenes/hat-i2t/3.json").is_file()
