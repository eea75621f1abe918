"""Targets of speed and what was measured: read and written, bad files in one line, figures met or not."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.errors import UserError
from benchmark.places import SPEED_TARGETS
from benchmark.records.targets import (
    Measured,
    Measurements,
    Target,
    read_measurements,
    read_targets,
    write_measurements,
)
from tests.paths import ROOT


def test_the_committed_targets_are_read() -> None:
    kinds = [target.kind for target in read_targets(ROOT / SPEED_TARGETS)]
    assert set(kinds) == {"step", "memory", "scoring", "ranks", "epoch"}


def test_names_tell_targets_apart() -> None:
    step = Target(kind="step", method="a", case="b", batch=32, target=2)
    assert step.name == "step, a, b, batch 32"
    assert Target(kind="ranks", case="5 x 25", target=2).name == "ranks, 5 x 25"


def test_memory_and_epochs_are_to_be_small() -> None:
    memory = Target(kind="memory", method="a", case="b", batch=32, target=3)
    assert (memory.met(2.9), memory.met(3.1)) == (True, False)
    scoring = Target(kind="scoring", method="a", case="b", target=3)
    assert (scoring.met(2.9), scoring.met(3.1)) == (False, True)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("targets: [{kind: step, case: a, target: 2}]", "found nothing beside it, expected batch, method"),
        ("targets: [{kind: ranks, case: a, batch: 8, target: 2}]", "expected nothing"),
        ("targets: [{kind: ranks, case: a, target: 2}, {kind: ranks, case: a, target: 3}]", "twice"),
        ("targets: [{kind: ranks, case: a, target: 0}]", "targets.0.target"),
        ("targets: [{kind: rank, case: a, target: 1}]", "targets.0.kind"),
        ("[1]", "found a list"),
        ("{", "not readable"),
    ],
)
def test_a_bad_file_is_one_line(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "speed-targets.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        read_targets(path)
    message = str(caught.value)
    assert message.startswith(path.as_posix())
    assert fault in message
    assert "\n" not in message


def test_measurements_survive_writing_and_reading(tmp_path: Path) -> None:
    path = tmp_path / "speed.json"
    assert read_measurements(path) is None
    rows = {"a": Measured(reached=1.23456789, over_floor=1.5, extrapolated=True), "b": Measured(reached=None)}
    measured = Measurements(hardware="a CPU", torch="2", threads=1, commit=None, rows=rows)
    write_measurements(measured, path)
    assert read_measurements(path) == measured
    path.write_text('{"hardware": 1}', encoding="utf-8")
    with pytest.raises(UserError, match=r"speed\.json"):
        read_measurements(path)
