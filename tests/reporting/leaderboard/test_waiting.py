"""Rows of the papers that wait for a run: every one is there, with its numbers, and with the command that runs it."""

from __future__ import annotations

import pytest

from benchmark.evaluation.protocol import PROTOCOLS
from benchmark.records.paper import load_papers
from benchmark.reporting.leaderboard.content import make_page, values_sheet
from benchmark.reporting.leaderboard.rows import leaderboard
from benchmark.reporting.leaderboard.waiting import BENCHMARKS, Waiting, waiting_rows
from tests.paths import ROOT
from tests.reporting.leaderboard.test_rows import PAPERS, sgr

RECIPES = ROOT / "recipes"


def waits(protocol: str) -> dict[str, Waiting]:
    return {f"{row.method}: {row.variant}": row for row in waiting_rows(protocol, (), PAPERS, RECIPES)}


@pytest.mark.parametrize("protocol", BENCHMARKS)
def test_every_row_of_the_papers_is_listed(protocol: str) -> None:
    found = waits(protocol)
    for paper in load_papers(PAPERS):
        for row in paper.rows:
            if row.dataset == protocol:
                assert found[f"{paper.method}: {row.variant}"].paper == row
    text = {
        cell.text
        for row in make_page(protocol, (), PAPERS, None, RECIPES).sheets[0].rows
        for cell in row.cells
    }
    assert {row.title for row in found.values()} <= text
    sheet = values_sheet((), PAPERS, list(found.values()))
    assert len(sheet.rows) == len(found)


def test_a_row_has_the_command_that_runs_it() -> None:
    found = waits("mscoco-5k")
    for name, row in found.items():
        assert (row.recipe is None) == (row.command is None), name
        if row.recipe is not None:
            assert (ROOT / row.recipe).is_file()
    row = found["vse_infty: VSE-infinity, BUTD region + BERT-base"]
    assert row.command == "nox -s reproduce-vse-infty -- mscoco"
    assert row.title == "VSE-infinity (BERT)"
    assert row.status == "not run yet: nox -s reproduce-vse-infty -- mscoco"
    grid = found["vse_infty: VSE-infinity, BUTD grid + BERT-base"]
    assert (grid.command, grid.status) == (None, "no recipe of it here")


@pytest.mark.parametrize("protocol", [name for name in BENCHMARKS if name in PROTOCOLS])
def test_unknown_values_are_listed_as_unknown_and_last(protocol: str) -> None:
    rows = waiting_rows(protocol, (), PAPERS, RECIPES)
    hat = [row for row in rows if row.method == "hat"]
    assert {row.variant for row in hat} == {"HAT (i2t)", "HAT (t2i)", "HAT (i2t + t2i)"}
    assert all(row.paper is None and row.status.startswith("paper value unknown; not run yet") for row in hat)
    known = [row.paper is not None for row in rows]
    assert known == sorted(known, reverse=True)


def test_a_row_that_a_run_answers_to_waits_no_longer() -> None:
    (group,) = leaderboard([sgr()], PAPERS)
    rest = waiting_rows("flickr30k", group.rows, PAPERS, RECIPES)
    assert len(rest) == len(waits("flickr30k")) - 1
    assert "SGR (repository)" not in {row.variant for row in rest}


def test_the_faithful_recipe_is_the_one_that_is_named() -> None:
    row = waits("flickr30k")["dualpath: ResNet-50 Stage II"]
    assert row.recipe is not None
    assert row.recipe.endswith("flickr30k-resnet50-caffe.yaml")  # the others start from other weights
    assert waiting_rows("scenes", (), PAPERS, RECIPES) == []
