"""Studies of latency: definition, turns, groups that are kept, tables; and mistakes in one line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmark.method import TimingGroup
from benchmark.records.study import read_part
from benchmark.records.timed_study import TimingResults
from tests.tiny import Outcome, rematch, stale_study_tables, write_recipe
from tests.toy import TOY
from tests.toy_method import register

STUDY = Path("recipes/toy/studies/turns.yaml")
RESULTS = Path("results/studies/turns.json")
KEPT = Path(".rematch/studies/turns")
DEFINITION: dict[str, Any] = {
    "kind": "latency",
    "summary": "sums of two sizes",
    "reading": ["A claim."],
    "method": "toy",
    "warm_up": 1,
    "rounds": 3,
}


@pytest.fixture(autouse=True)
def calls(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:  # noqa: ARG001
    """What was called, in order; the toy brings a task of two sizes and one of a single size."""
    made: list[str] = []

    def groups(device: torch.device) -> Iterator[TimingGroup]:
        assert device.type == "cpu"
        for size in (4, 8):
            yield TimingGroup("by size", size, {name: partial(made.append, name) for name in ("sum", "mean")})
        yield TimingGroup("alone", None, {"sum": partial(made.append, "alone")})

    register(monkeypatch, toy=replace(TOY, timing_groups=groups), idle=TOY)
    write_recipe(STUDY, DEFINITION)
    return made


def study(*arguments: object) -> Outcome:
    return rematch("study", "turns", *arguments, "--device", "cpu", "--no-progress")


def test_it_times_in_turns_and_writes_tables(calls: list[str]) -> None:
    before = torch.get_num_threads()
    out = study().good
    assert "wrote results/studies/turns.svg" in out
    assert torch.get_num_threads() == before
    assert calls == ["mean", "sum", "sum", "mean", "mean", "sum", "sum", "mean"] * 2 + ["alone"] * 4
    results = read_part(RESULTS, TimingResults)
    assert [(group.task, group.size, group.rounds) for group in results.groups] == [
        ("by size", 4, 3),
        ("by size", 8, 3),
        ("alone", None, 3),
    ]
    assert results.environment.threads == 1
    assert "A claim." in RESULTS.with_suffix(".md").read_text()
    assert stale_study_tables() == []


def test_finished_groups_are_kept_until_something_changes(calls: list[str]) -> None:
    study()
    first = RESULTS.read_bytes()
    (KEPT / "1.json").unlink()
    calls.clear()
    study()
    assert "alone" not in calls
    assert calls.count("mean") == 4, "one group again"
    assert RESULTS.read_bytes() != first
    calls.clear()
    study()
    assert calls == []
    write_recipe(STUDY, {**DEFINITION, "rounds": 4})
    study()
    assert calls.count("alone") == 5


def test_a_dry_run_does_nothing(calls: list[str]) -> None:
    out = study("--dry-run").good
    assert "3 groups of contenders, 4 rounds each" in " ".join(out.split())
    assert re.search(r"by size │ +8 │", out)
    assert calls == []
    assert not RESULTS.exists()


@pytest.mark.parametrize(
    ("changes", "arguments", "message"),
    [
        ({"method": "toi"}, (), "'toy'"),
        ({"method": "idle"}, (), "idle brings nothing to be timed"),
        ({"rounds": 2}, (), "rounds"),
        ({"round": 5}, (), "rounds"),
        ({}, ("--seeds", "1"), "neither --seeds nor --only"),
        ({}, ("--only", "sum"), "neither --seeds nor --only"),
    ],
)
def test_mistakes_are_one_line(changes: dict[str, Any], arguments: tuple[str, ...], message: str) -> None:
    write_recipe(STUDY, {**DEFINITION, **changes})
    assert message in study(*arguments).error
    assert not RESULTS.exists()
