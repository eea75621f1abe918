"""Rows of the papers that wait for a run: every one is there, with its numbers, and with the command that runs it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from benchmark.evaluation.protocol import PROTOCOLS
from benchmark.places import RECIPES
from benchmark.records.estimate import Estimate, file_digest
from benchmark.records.paper import load_papers
from benchmark.reporting.leaderboard.boards import Board, make_boards
from benchmark.reporting.leaderboard.content import PRINTED, make_page
from benchmark.reporting.leaderboard.rows import leaderboard
from benchmark.reporting.leaderboard.values import values_sheet
from benchmark.reporting.leaderboard.waiting import BENCHMARKS, Needs, Shelf, Waiting, waiting_rows
from tests.paths import ROOT
from tests.reporting.leaderboard.test_rows import PAPERS, sgr

SHELF = Shelf(ROOT / RECIPES)


def waits(protocol: str) -> dict[str, Waiting]:
    return {f"{row.method}: {row.variant}": row for row in waiting_rows(protocol, (), PAPERS, SHELF)}


@pytest.mark.parametrize("protocol", BENCHMARKS)
def test_every_row_of_the_papers_is_listed(protocol: str) -> None:
    found = waits(protocol)
    for paper in load_papers(PAPERS):
        for row in paper.rows:
            if row.dataset == protocol:
                assert found[f"{paper.method}: {row.variant}"].paper == row
    board = Board(protocol, (), tuple(found.values()), PAPERS)
    text = {cell.text for row in make_page(board).sheets[0].rows for cell in row.cells}
    assert {row.title for row in found.values()} <= text
    sheet = values_sheet([board])
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
    rows = waiting_rows(protocol, (), PAPERS, SHELF)
    hat = [row for row in rows if row.method == "hat"]
    assert {row.variant for row in hat} == {"HAT (i2t)", "HAT (t2i)", "HAT (i2t + t2i)"}
    assert all(row.paper is None and row.status.startswith("paper value unknown; not run yet") for row in hat)
    known = [row.paper is not None for row in rows]
    assert known == sorted(known, reverse=True)


def test_a_row_that_a_run_answers_to_waits_no_longer() -> None:
    (group,) = leaderboard([sgr()], PAPERS)
    rest = waiting_rows("flickr30k", group.rows, PAPERS, SHELF)
    assert len(rest) == len(waits("flickr30k")) - 1
    assert "SGR (repository)" not in {row.variant for row in rest}


def test_the_faithful_recipe_is_the_one_that_is_named() -> None:
    row = waits("flickr30k")["dualpath: ResNet-50 Stage II"]
    assert row.recipe is not None
    assert row.recipe.endswith("flickr30k-resnet50-caffe.yaml")  # the others start from other weights
    assert waiting_rows("scenes", (), PAPERS, SHELF) == []


# ------------------------------------------------------------------------------- what it would take


def estimate(recipe: str, hours: int, **changes: Any) -> dict[str, Estimate]:
    """The estimate of a recipe as it is now."""
    path = ROOT / "recipes/rcar" / f"{recipe}.yaml"
    fields: dict[str, Any] = {
        "recipe_digest": file_digest(path),
        "seconds": 3600 * hours,
        "memory_bytes": hours * 10**9,
        "host_bytes": 10**9,
        "device_bytes": 10**9,
        "batch_size": 128,
        "flops": 1e18,
        "hardware": "a processor",
        "torch": "2.14.1",
    } | changes
    return {f"recipes/rcar/{recipe}.yaml": Estimate(**fields)}


def needs(estimates: Mapping[str, Estimate]) -> dict[str, Needs | None]:
    rows = waiting_rows("flickr30k", (), PAPERS, Shelf(ROOT / RECIPES, estimates))
    return {row.variant: row.needs for row in rows if row.method == "rcar"}


def test_a_row_says_what_its_training_takes() -> None:
    found = needs(estimate("flickr30k-t2i", 30) | estimate("flickr30k-i2t", 50))
    assert found["RCAR (t2i)"] == Needs(108_000, 30 * 10**9, ("a processor",))
    assert str(found["RCAR (t2i)"]) == "30.0 hours, 30 GB"
    assert found["RCAR (ALL)"] == Needs(288_000, 50 * 10**9, ("a processor",))  # one after the other


def test_without_an_estimate_of_this_version_nothing_is_said() -> None:
    stale = estimate("flickr30k-i2t", 50, recipe_digest="0" * 64)
    found = needs(estimate("flickr30k-t2i", 30) | stale)
    assert found["RCAR (t2i)"] is not None
    assert found["RCAR (i2t)"] is found["RCAR (ALL)"] is None
    assert set(needs({}).values()) == {None}


def test_tables_call_it_an_estimate_and_name_the_hardware() -> None:
    shelf = Shelf(ROOT / RECIPES, estimate("flickr30k-t2i", 30))
    (board, *_) = make_boards([sgr()], PAPERS, shelf)
    (sheet,) = make_page(board).sheets
    (note,) = (note for note in sheet.notes if note.startswith("Needs: "))
    assert "estimated and not measured" in note
    assert "on one thread of a processor" in note
    (row,) = (row for row in sheet.rows if row.cells[0].text == "RCAR (t2i)")
    assert "30.0 hours, 30 GB" in {cell.text for cell in row.cells}
    values = {row.cells[4].text: row for row in values_sheet([board]).rows}["RCAR (t2i)"]
    assert {108_000, 30 * 10**9, "one thread of a processor"} <= {cell.value for cell in values.cells}
    assert "Needs" not in str(make_page(board, PRINTED))
    bare = make_page(make_boards([sgr()], PAPERS, Shelf(ROOT / RECIPES))[0]).sheets[0]
    assert "needs" not in {column.key for column in bare.columns}
