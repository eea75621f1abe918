"""Drift's third level: new seeds against the committed seeds' distribution."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from benchmark.checks.drift import check as drift
from benchmark.checks.drift.seeds import LEVEL, seed_findings, tolerated
from benchmark.errors import UserError
from benchmark.places import RUNS
from benchmark.records.record import RunRecord, write_record
from benchmark.run.job import Settings
from benchmark.run.runs import Run
from tests.reporting.factory import RECALLS, recipe, record
from tests.tiny import rematch


def of_rsum(rsum: float, seed: int, run: str = "hat-i2t", **changes: Any) -> RunRecord:
    """A record whose recalls add up to `rsum`."""
    recalls = (RECALLS[0] + rsum - sum(RECALLS), *RECALLS[1:])
    return record(recalls=recalls, seed=seed, run=run, **changes)


def seeds(values: list[float], start: int = 0, **changes: Any) -> list[RunRecord]:
    return [of_rsum(value, start + place, **changes) for place, value in enumerate(values)]


@pytest.mark.parametrize(
    ("old", "new"), [([1.0, 2.0, 4.0], [7.0, 8.5]), ([490.0, 486.0, 487.0, 489.5], [480.0, 484.0, 483.0])]
)
def test_the_test_is_students(old: list[float], new: list[float]) -> None:
    bar, p_value = tolerated(old, new, 0.05)
    known = stats.ttest_ind(new, old)
    assert p_value == pytest.approx(known.pvalue)
    low, high = known.confidence_interval(0.95)
    assert bar == pytest.approx((high - low) / 2)
    assert (abs(np.mean(new) - np.mean(old)) <= bar) == (p_value >= 0.05)


def test_one_new_seed_has_a_prediction_interval() -> None:
    old = [490.0, 486.0, 487.0]
    bar, _ = tolerated(old, [480.0], 0.05)
    assert bar == pytest.approx(stats.t.ppf(0.975, 2) * np.std(old, ddof=1) * math.sqrt(1 + 1 / 3))


def test_false_alarms_are_as_frequent_as_stated() -> None:
    draw, alarms, calls = np.random.default_rng(1), 0, 2000
    for _ in range(calls):
        old, new = draw.normal(490, 3, 3).tolist(), draw.normal(490, 3, 2).tolist()
        bar, _ = tolerated(old, new, LEVEL)
        alarms += abs(np.mean(new) - np.mean(old)) > bar
    assert abs(alarms / calls - LEVEL) < 4 * math.sqrt(LEVEL * (1 - LEVEL) / calls)


def test_equal_seeds_tolerate_nothing_but_equal_ones() -> None:
    assert tolerated([5.0, 5.0, 5.0], [5.0], 0.05)[1] == 1
    bar, p_value = tolerated([5.0, 5.0, 5.0], [5.1], 0.05)
    assert bar < 0.1
    assert p_value == 0


@pytest.mark.parametrize(
    ("new", "state"), [([489.0, 487.5], "ok"), ([470.0, 471.0], "drift"), ([506.0, 505.0], "drift")]
)
def test_new_seeds_are_tested_on_both_sides(new: list[float], state: str) -> None:
    (finding,) = seed_findings(seeds([490.0, 488.0, 487.0]), seeds(new, 5))
    assert (finding.run, finding.check, finding.quantity, finding.state) == (
        "hat-i2t",
        "seeds",
        "mean rsum",
        state,
    )
    assert finding.reference == pytest.approx(np.mean([490.0, 488.0, 487.0]))
    assert finding.found == pytest.approx(np.mean(new))
    assert finding.note.startswith("3 (sd 1.53) committed, 2 (sd ")
    assert finding.note.endswith("level 0.05/1")


@pytest.mark.parametrize("count", [0, 1, 2])
def test_fewer_than_three_committed_seeds_decide_nothing(count: int) -> None:
    (finding,) = seed_findings(seeds([490.0, 488.0][:count]), seeds([430.0], 5))
    assert finding.state == "undecided"
    assert finding.ok
    assert finding.note == f"{count} committed seed{'s' * (count != 1)}, 3 or more decide"


def test_several_runs_share_the_level() -> None:
    old = [490.0, 488.0, 487.0]
    committed = [r for run in ("a", "b", "c") for r in seeds(old, run=run)] + seeds([480.0], run="d")
    new = [of_rsum(480.0, 9, run) for run in ("a", "b", "c", "d")]
    findings = seed_findings(committed, new)
    assert [item.state == "undecided" for item in findings] == [False, False, False, True]
    expected = tolerated(old, [480.0], LEVEL / 3)[0]
    assert [item.tolerance for item in findings[:3]] == [pytest.approx(expected)] * 3


def test_seeds_of_another_recipe_or_signature_are_refused() -> None:
    other = recipe(seed=5)
    other["training"]["lr"] = 0.5
    old = seeds([490.0, 488.0, 487.0])
    with pytest.raises(
        UserError, match=r"hat-i2t/5\.json: made with another version of recipes/hat/scenes-i2t\.yaml"
    ):
        seed_findings(old, [of_rsum(489.0, 5, recipe=other)])
    with pytest.raises(UserError, match="differ in precision"):
        seed_findings(old, [of_rsum(489.0, 5, score_precision="float64")])
    assert seed_findings(old, [of_rsum(489.0, 5, version="9.9.9")])[0].ok  # what drift is about


# -------------------------------------------------------------------------------------- the command


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for found in seeds([490.0, 488.0, 487.0]):
        write_record(found, RUNS)
    return tmp_path


def test_records_in_a_folder_are_compared(home: Path) -> None:
    for found in seeds([470.0, 471.0], 5):
        write_record(found, Path("new"))
    outcome = rematch("drift", "--runs", "new")
    assert outcome.code == 1, home
    (line,) = [line for line in outcome.out.splitlines() if " drift " in line]
    assert "hat-i2t" in line
    assert "mean rsum" in line
    shown = rematch("drift", "hat", "--runs", "new", "--format", "json")
    assert shown.code == 1
    assert json.loads(shown.out)["drifted"] == {"hat-i2t": ["seeds"]}
    assert "new: no run records of sgraf to compare" in rematch("drift", "sgraf", "--runs", "new").error


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--runs", "nowhere"), "nowhere: name a folder of new run records"),
        (("--runs", "results/runs"), "results/runs: name a folder of new run records"),
        (("hatt", "--runs", "new"), "unknown method 'hatt'"),
        (("--runs", "new", "--full"), "--runs and --full or --seeds do not go together"),
        (("--update", "--update-ranks"), "--update and --update-ranks do not go together"),
    ],
)
def test_mistakes_are_one_line(home: Path, arguments: tuple[str, ...], said: str) -> None:
    assert said in rematch("drift", *arguments).error, home


def test_only_runs_that_can_be_decided_are_trained(checked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three references one has three committed seeds; the others say that they have too few."""
    trained: list[tuple[str, int]] = []

    def committed() -> list[RunRecord]:
        return [*seeds([490.0, 488.0, 487.0]), *seeds([480.0], run="hat-t2i")]

    def stand_in(run: Run, _settings: Settings) -> RunRecord:
        trained.append((run.path.stem, run.seed))
        return of_rsum(430.0, run.seed)

    monkeypatch.setattr(drift, "read_all", committed)
    monkeypatch.setattr(drift, "reproduce", stand_in)
    monkeypatch.setattr(drift, "check_reference", lambda *_args, **_more: None)
    outcome = rematch("drift", "--seeds", 7, 8, "--no-progress")
    assert outcome.code == 1, checked
    assert trained == [("scenes-i2t", 7), ("scenes-i2t", 8)]
    assert [line.split()[1] for line in outcome.out.splitlines() if " drift " in line] == ["hat-i2t"]
    assert outcome.out.count("undecided") == 2
    assert "0 committed seeds, 3 or more decide" in outcome.out
