"""Measuring targets: everything once, a stop loses nothing, figures of other code are not mixed in, bad names."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmark.errors import UserError
from benchmark.places import SPEED, SPEED_TARGETS
from benchmark.records.targets import Measured, Target, read_measurements, read_targets
from benchmark.registry import get_method
from benchmark.reporting.targets import BEGIN, END, PAGE
from benchmark.run import targets as measuring
from benchmark.run.epochs import EpochRow
from benchmark.run.targets import NEGATIVES, begin_measurements, measure_targets
from benchmark.timing.training import TrainingRow
from tests.paths import ROOT
from tests.tiny import rematch

CPU = torch.device("cpu")
STEP = Target(kind="step", method="rcar", case="RCAR(2) i2t", batch=32, target=2.2)
MEMORY = Target(kind="memory", method="rcar", case="RCAR(2) i2t", batch=32, target=3.0)
RANKS = Target(kind="ranks", case="6 x 30", target=2)
ROW = TrainingRow("RCAR(2) i2t", 32, 4.0, 2.0, 2.1, None, 2 * 10**9, 1.0, False)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the steps that are timed, which take no time."""
    timed: list[str] = []

    def time_step(case: object, *_: object) -> TrainingRow:
        timed.append(case.name)  # type: ignore[attr-defined]
        return ROW

    monkeypatch.setattr(measuring, "time_step", time_step)
    return timed


def test_a_step_and_its_memory_are_measured_at_once(steps: list[str]) -> None:
    found = list(measure_targets([STEP, MEMORY, RANKS], repeats=1))
    assert steps == ["RCAR(2) i2t"]
    assert found[0] == {STEP.name: Measured(reached=2.1, over_floor=2.0), MEMORY.name: Measured(reached=2.0)}
    assert found[1] == {}
    assert found[2].keys() == {RANKS.name}


def test_measurements_go_on_where_code_and_machine_are_the_same() -> None:
    here = begin_measurements(None, [STEP], again=False)
    kept = here.model_copy(update={"rows": {STEP.name: Measured(reached=1.0)}})
    assert begin_measurements(kept, [STEP, RANKS], again=False) == kept
    assert begin_measurements(kept, [STEP], again=True) == here
    other = kept.model_copy(update={"hardware": "another CPU"})
    assert begin_measurements(other, [STEP], again=False) == other  # nothing is lacking
    with pytest.raises(UserError, match=r"speed\.json: measured with hardware another CPU, here .*--again"):
        begin_measurements(other, [STEP, RANKS], again=False)


def test_the_committed_targets_name_cases_that_there_are() -> None:
    for target in read_targets(ROOT / SPEED_TARGETS):
        if target.kind in ("step", "memory"):
            assert target.method is not None
            cases = get_method(target.method).training_cases
            assert cases is not None
            assert target.case in [case.name for case in cases(CPU)]
        elif target.kind == "epoch":
            assert target.case in NEGATIVES
            assert (ROOT / str(target.recipe)).is_file()


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"case": "RCAR(2) i2"}, "did you mean 'RCAR\\(2\\) i2t'"),
        ({"method": "rcarr"}, "rcar"),
        ({"kind": "ranks", "case": "7 x 30"}, "images x captions"),
        ({"kind": "ranks", "case": "many"}, "images x captions"),
        ({"kind": "epoch", "case": "no negatives"}, "did you mean"),
        ({"kind": "scoring", "method": "user"}, "RCAR"),
    ],
)
def test_bad_names_are_one_line(changes: dict[str, str], fault: str) -> None:
    with pytest.raises(UserError, match=fault) as caught:
        list(measure_targets([STEP.model_copy(update=changes)], repeats=1))
    assert "\n" not in str(caught.value)


def test_the_share_is_the_median_of_the_rounds() -> None:
    assert EpochRow(before=[2.0, 4.0, 8.0], own=[1.0, 3.0, 2.0]).share == 0.5


def test_the_command_measures_what_is_lacking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "speed-targets.yaml: not readable" in rematch("time", "targets").error
    for path, text in (
        (
            SPEED_TARGETS,
            "targets: [{kind: ranks, case: 6 x 30, target: 1}, {kind: ranks, case: 5 x 7, target: 1}]",
        ),
        (PAGE, f"{BEGIN}{END}"),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert "not measured" in rematch("time", "targets", "--show").good
    assert not SPEED.exists()
    assert "found case '5 x 7'" in rematch("time", "targets", "--no-progress").error
    kept = read_measurements()
    assert kept is not None
    assert list(kept.rows) == ["ranks, 6 x 30"]  # what came before the fault is kept
    SPEED_TARGETS.write_text("targets: [{kind: ranks, case: 6 x 30, target: 1}]", encoding="utf-8")
    monkeypatch.setattr(measuring, "times_sorted", None)  # nothing is measured again
    assert "6 x 30" in rematch("time", "targets", "--no-progress").good
    assert read_measurements() == kept
    assert "6 x 30" in PAGE.read_text(encoding="utf-8")
