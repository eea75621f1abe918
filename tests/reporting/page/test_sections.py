"""Sections of the report page by themselves: drift, training curves, claims, studies, remarks on verdicts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

import pytest

from benchmark.places import STUDIES
from benchmark.records.parts import METRICS
from benchmark.records.record import RunRecord
from benchmark.records.reference import FullTraining, Reference
from benchmark.records.study import read_part, read_results
from benchmark.records.timed_study import TimingResults, is_timing
from benchmark.reporting.claims.judge import judge_claims
from benchmark.reporting.evidence import Evidence
from benchmark.reporting.leaderboard.boards import make_boards
from benchmark.reporting.leaderboard.rows import leaderboard
from benchmark.reporting.leaderboard.waiting import Shelf
from benchmark.reporting.page import board, curves, history, ledger, studies
from tests.reporting import factory
from tests.reporting.leaderboard.test_rows import PAPERS, sgr
from tests.reporting.page.checkout import REPOSITORY


def evidence(
    records: list[RunRecord], references: dict[tuple[str, str], Reference] | None = None
) -> Evidence:
    """What the page is made of, without files."""
    boards = make_boards(records, PAPERS, Shelf(PAPERS / "none"))
    sidecars = {record.path: factory.sidecar(record.seed) for record in records}
    return Evidence(records, sidecars, boards, {}, references or {}, [], [], [])


# -------------------------------------------------------------------------------------------- drift


def reference(
    record: RunRecord, shifts: Mapping[str, float] | None = None, digest: str | None = None
) -> Reference:
    """A reference whose metrics lie below the record's by `shifts`."""
    metrics = record.results["scenes"].metrics
    names = [name for name in METRICS if name != "mean_r1"]
    full = {name: metrics.value(name) - (shifts or {}).get(name, 0.0) for name in names}
    return Reference(
        recipe_path=record.recipe_path,
        recipe_digest=digest or record.recipe_digest,
        rescored=None,
        trace=None,
        full=FullTraining(seed=record.seed, metrics=full, tolerance=3.0),
        made_with={"torch": "2.12.1", "threads": 2},
    )


@pytest.mark.parametrize(
    ("shifts", "change", "worst", "state"),
    [
        ({}, 0.0, 0.0, "within"),
        ({"i2t_r1": 2.9, "t2i_r1": -1.0, "rsum": 1.9}, 1.9, 2.9, "within"),
        ({"i2t_r1": 3.1, "t2i_r1": -3.2}, 0.0, -3.2, "outside"),
        ({"rsum": -18.5}, -18.5, 0.0, "outside"),
    ],
)
def test_a_reference_stands_beside_its_record(
    shifts: dict[str, float], change: float, worst: float, state: str
) -> None:
    record = factory.record()
    drawn = history.compared(evidence([record], {("scenes", "hat-i2t"): reference(record, shifts)}))
    (row,), keys = drawn.sheet.rows, [column.key for column in drawn.sheet.columns]
    found = dict(zip(keys, (cell.value for cell in row.cells), strict=True))
    assert found["change"] == pytest.approx(change)
    assert found["worst_recall"] == pytest.approx(worst)
    assert (found["tolerance"], found["state"]) == (18, state)
    assert found["made_with"] == "torch 2.12.1, threads 2"
    assert row.cells[0].link == "#run/scenes/hat-i2t/0"


def test_a_reference_of_another_recipe_or_run_has_no_record() -> None:
    record = factory.record()
    references = {
        ("scenes", "hat-i2t"): reference(record, digest="0" * 64),
        ("scenes", "gone"): reference(record),
    }
    sheet = history.compared(evidence([record], references)).sheet
    rows = sheet.only(["run", "state", "change"]).rows
    assert [(*(cell.value for cell in row.cells), row.cells[0].link) for row in rows] == [
        ("hat-i2t", "no record of this recipe", None, ""),
        ("gone", "no record of this recipe", None, ""),
    ]


# ------------------------------------------------------------------------------------------- curves


def log(losses: int) -> str:
    entries = [
        {
            "epoch": epoch,
            "loss": 10.0 - epoch,
            "losses": [float(epoch * losses + step) for step in range(losses)],
            "validation": {"rsum": 100.0 + epoch} if epoch else None,
        }
        for epoch in range(3)
    ]
    return json.dumps(entries)


def test_a_course_has_its_epochs_and_the_means_of_equal_parts() -> None:
    found = curves.course(factory.record(), replace(factory.sidecar(), log=log(100)))
    assert found is not None
    assert [(e.number, e.loss, e.validation, e.chosen) for e in found.epochs] == [
        (1, 10.0, None, False),
        (2, 9.0, 101.0, False),
        (3, 8.0, 102.0, True),
    ]
    assert len(found.losses) == curves.BINS
    assert found.losses[0] == pytest.approx((0.025, 2.0))  # steps 0 to 4 of 100 in the first epoch
    assert found.losses[-1] == pytest.approx((2.975, 297.0))


def test_without_single_steps_the_epochs_are_the_curve() -> None:
    found = curves.course(factory.record(), factory.sidecar())
    assert found is not None
    assert found.losses == [(0.5, 0.1)]
    assert curves.panel([found], "name").validation is None


def test_nothing_trained_has_no_course() -> None:
    assert curves.course(factory.record(training=None), replace(factory.sidecar(), log="[]")) is None


def test_a_run_of_several_seeds_has_one_panel_with_a_line_each() -> None:
    records = [factory.record(seed=seed) for seed in range(3)]
    made = evidence(records)
    made = replace(made, sidecars={path: replace(car, log=log(4)) for path, car in made.sidecars.items()})
    ((row, panel),) = curves.overview(made, curves.all_courses(made))
    assert row.seeds == [0, 1, 2]
    assert panel.loss.count('class="curve') == 3
    assert panel.validation is not None
    assert panel.validation.count("<circle") == 6


# ---------------------------------------------------------------------------- leaderboard's remarks


def test_remarks_say_what_it_would_take() -> None:
    (row,) = leaderboard([sgr(seed, seed * 0.3) for seed in range(3)], PAPERS)[0].rows
    assert row.judgement.kind == "cannot tell"
    assert board.remark(row) == f"{row.judgement.seeds_needed} seeds would tell, at this spread"
    (row,) = leaderboard([sgr(seed, 0.5 + seed / 100) for seed in range(3)], PAPERS)[0].rows
    assert (row.judgement.kind, board.remark(row)) == ("above", "no more than other test images could change")
    (row,) = leaderboard([sgr(seed, 2 + seed / 100) for seed in range(3)], PAPERS)[0].rows
    assert (row.judgement.kind, board.remark(row)) == ("above", "")


def test_latencies_of_different_machines_share_no_chart() -> None:
    slow = factory.latency(8.0) | {"hardware": "another processor"}
    records = [
        factory.record(run="a", latency=factory.latency(2.0)),
        factory.record(run="b", latency=factory.latency(4.0)),
        factory.record(run="c", latency=slow),
        factory.record(run="d"),
    ]
    found = {
        speed.where.split(",")[0]: [row.cells[0].text for row in speed.sheet.rows]
        for speed in board.speeds(evidence(records))
    }
    assert {name: sorted(rows) for name, rows in found.items()} == {
        "a processor": ["a", "b"],
        "another processor": ["c"],
    }


# --------------------------------------------------------------------------------- claims, studies


def test_claims_are_those_of_the_ledger() -> None:
    judged = judge_claims(REPOSITORY)
    told = [ledger.show_claim(found) for found in judged]
    assert [item.judged.verdict for item in told] == [item.verdict for item in judged]
    for item, source in zip(told, judged, strict=True):
        shown = [check for check in source.checks if check.place != "-"]
        names = [row.cells[0].text + row.cells[0].tail for row in item.checks.rows]
        assert names == [check.label for check in shown]
        assert item.where == source.text.removeprefix(source.verdict).strip()
        for strip, check in zip(item.strips, shown, strict=True):
            drawn = item.axis != "" and check.low is not None
            assert ("interval" in strip) == drawn


def test_studies_have_a_strip_and_the_tables_numbers_for_every_line() -> None:
    paths = sorted((REPOSITORY / STUDIES).glob("*.json"))
    results = [read_results(path) for path in paths if not is_timing(path)]
    timings = [read_part(path, TimingResults) for path in paths if is_timing(path)]
    found = studies.studies(results, timings)
    assert [study.name for study in found] == [
        *(item.study for item in results),
        *(item.study for item in timings),
    ]
    for study in found:
        text = (REPOSITORY / STUDIES / f"{study.name}.md").read_text(encoding="utf-8")
        for table in study.tables:
            for row, strip in zip(table.sheet.rows, table.strips, strict=True):
                assert 'class="mean"' in strip
                for cell in row.cells:
                    assert cell.text in text, (study.name, cell.text)
