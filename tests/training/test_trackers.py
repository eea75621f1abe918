"""Trackers: what they are told of an epoch, several at once, and that none of them stops a training."""

from __future__ import annotations

import json
import sqlite3
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmark.errors import UserError
from benchmark.training import trackers
from benchmark.training.trackers import Tracked, Trackers, check_trackers, epoch_values
from tests.tiny import I2T, contents, record_of, refused, reproduce

ENTRY: dict[str, Any] = {
    "epoch": 2,
    "loss": 1.5,
    "lr": 0.1,
    "lr_last": 0.05,
    "pairs": 300,
    "seconds": 2.0,
    "validation_seconds": 0.5,
    "skipped_steps": 1,
    "validation": {"rsum": 120.0, "i2t_r1": 12.5},
    "losses": [1.0, 2.0],
}


def tracked(folder: Path) -> Tracked:
    return Tracked("scenes/toy/0", folder, {"model": {"dim": 3}}, torch.device("cpu"))


def test_the_numbers_of_an_epoch() -> None:
    found = epoch_values(ENTRY, 3 * 2**30)
    assert found == {
        "loss": 1.5,
        "lr": 0.05,
        "images_per_second": 150.0,
        "seconds": 2.0,
        "validation_seconds": 0.5,
        "skipped_steps": 1.0,
        "memory_gib": 3.0,
        "validation/rsum": 120.0,
        "validation/i2t_r1": 12.5,
    }
    assert "validation/rsum" not in epoch_values({**ENTRY, "validation": None}, 0)


def test_lines_go_on_where_a_training_goes_on(tmp_path: Path) -> None:
    for epoch in (0, 1):
        with Trackers(("jsonl",), tracked(tmp_path), pytest.fail) as found:
            found.log({**ENTRY, "epoch": epoch})
    lines = (tmp_path / "jsonl/scenes/toy/0.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2]
    assert json.loads(lines[0])["validation/rsum"] == 120.0


def project_module(log: list[Any], fail_at: int | None = None) -> types.ModuleType:
    """A stand-in for trackio or wandb, which keeps its calls and may fail at one of them."""
    module = types.ModuleType("wandb")

    def call(name: str) -> Any:
        def run(*arguments: Any, **named: Any) -> None:
            log.append((name, arguments, named))
            if fail_at is not None and len(log) > fail_at:
                raise ConnectionError("the server\nis away")

        return run

    for name in ("init", "log", "finish"):
        setattr(module, name, call(name))
    return module


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_project_tracker_is_told_everything(
    name: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []
    monkeypatch.setitem(sys.modules, name, project_module(calls))
    assert check_trackers([name, name]) == (name,)
    with Trackers((name,), tracked(tmp_path), pytest.fail) as found:
        found.log(ENTRY)
    (begun, told, ended) = calls
    assert begun[0] == "init"
    assert (begun[2]["project"], begun[2]["name"], begun[2]["config"]) == (
        "rematch", "scenes/toy/0", {"model": {"dim": 3}},
    )  # fmt: skip
    assert (told[0], told[2]) == ("log", {"step": 3})
    assert told[1][0]["loss"] == 1.5
    assert ended == ("finish", (), {})


@pytest.mark.parametrize("fail_at", [0, 1, 3])
def test_a_tracker_that_fails_is_left_out_with_one_line(
    fail_at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At its beginning, at the first epoch, or at the end; the other tracker has every epoch."""
    calls: list[Any] = []
    said: list[str] = []
    monkeypatch.setitem(sys.modules, "wandb", project_module(calls, fail_at))
    with Trackers(("wandb", "jsonl"), tracked(tmp_path), said.append) as found:
        for epoch in (0, 1):
            found.log({**ENTRY, "epoch": epoch})
    assert said == [
        "warning: wandb failed and gets no more epochs (the server is away); the training goes on"
    ]
    assert len(calls) == fail_at + 1
    assert len((tmp_path / "jsonl/scenes/toy/0.jsonl").read_text(encoding="utf-8").splitlines()) == 2


def test_wandb_offline_keeps_the_run_in_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    with Trackers(("wandb",), tracked(tmp_path), pytest.fail) as found:
        found.log(ENTRY)
    assert len(list(tmp_path.glob("wandb/offline-run-*/run-*.wandb"))) == 1


def test_trackio_keeps_the_epochs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path))  # read at the import
    pytest.importorskip("trackio")
    with Trackers(("trackio",), tracked(tmp_path), pytest.fail) as found:
        found.log(ENTRY)
    rows = sqlite3.connect(tmp_path / "rematch.db").execute("select run_name, step, metrics from metrics")
    ((run, step, values),) = rows.fetchall()
    assert (run, step, json.loads(values)["loss"]) == ("scenes/toy/0", 3, 1.5)


def test_tensorboard_has_the_scalars(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with Trackers(("tensorboard",), tracked(tmp_path), pytest.fail) as found:
        found.log(ENTRY)
    events = EventAccumulator(str(tmp_path / "tensorboard/scenes/toy/0"))
    events.Reload()
    assert {*events.Tags()["scalars"]} == {*epoch_values(ENTRY, 0)}
    (point,) = events.Scalars("validation/rsum")
    assert (point.step, point.value) == (3, 120.0)


def test_what_is_not_known_or_not_installed_ends_before_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"option '--log': found 'tensorbord', expected .*'tensorboard'"):
        check_trackers(["tensorbord"])
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match=r"wandb is not installed; uv pip install 'rematch-bench\[wandb\]'"):
        check_trackers(["jsonl", "wandb"])


def test_a_run_with_trackers_is_the_run_without(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Record and log are the same, and a tracker that always fails changes nothing."""
    assert reproduce(I2T, "--no-tables").good
    before = record_of("hat-i2t").canonical_hash
    calls: list[Any] = []
    monkeypatch.setitem(sys.modules, "wandb", project_module(calls, 0))
    said = reproduce(I2T, "--no-tables", "--log", "jsonl", "--log", "wandb").good
    assert said.count("warning: wandb failed") == 1
    assert said.count("epoch 1 of ") == 1
    assert record_of("hat-i2t").canonical_hash == before
    (line,) = (fresh / ".rematch/logs/jsonl/scenes/hat-i2t/0.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["validation/rsum"] > 0
    kept = contents(fresh / "results")
    assert "expected tensorboard, trackio, wandb, jsonl" in refused("reproduce", I2T, "--log", "prints")
    assert contents(fresh / "results") == kept
    assert trackers.TRACKERS[0] == "tensorboard"
