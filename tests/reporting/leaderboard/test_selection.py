"""Parts of a board: by benchmark, method, run and column; papers' rows or ours; refusals name the nearest name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmark.errors import UserError
from benchmark.places import RECIPES
from benchmark.reporting.leaderboard.boards import Board, make_boards
from benchmark.reporting.leaderboard.cells import COLUMNS
from benchmark.reporting.leaderboard.content import Wanted, make_page
from benchmark.reporting.leaderboard.selection import CHOICES, choose_boards, choose_columns, choose_rows
from benchmark.reporting.leaderboard.waiting import Shelf
from benchmark.reporting.sheet import Sheet, SheetRow
from tests.paths import ROOT
from tests.reporting.leaderboard.test_rows import PAPERS, sgr
from tests.reporting.writers.samples import RECORDS, board, cells_of

BOARDS = make_boards(RECORDS, PAPERS, Shelf(ROOT / RECIPES))


def names(found: Board) -> tuple[list[str], set[str]]:
    return [row.name for row in found.rows], {row.method for row in found.waiting}


def shown(found: Board, wanted: Wanted) -> list[tuple[str, str, str]]:
    """Method, run and kind of each row."""
    page = make_page(found, wanted)
    cells = [(cells_of(page, row), row) for sheet in page.sheets for row in sheet.rows]
    return [(str(items["method"].value), items["run"].text, row.kind) for items, row in cells]


@pytest.mark.parametrize(
    ("name", "protocols"),
    [("flickr30k", ["flickr30k"]), ("mscoco-1k", ["mscoco-1k"]), ("mscoco", ["mscoco-1k", "mscoco-5k"])],
)
def test_a_benchmark_or_a_dataset(name: str, protocols: list[str]) -> None:
    assert [found.protocol for found in choose_boards(name, BOARDS)] == protocols


def test_another_benchmark_is_refused() -> None:
    with pytest.raises(UserError, match=r"^unknown table 'flikr30k'; did you mean 'flickr30k'\?$"):
        choose_boards("flikr30k", BOARDS)


@pytest.mark.parametrize(
    ("given", "keys"),
    [
        (["rsum", "r1"], ("i2t_r1", "t2i_r1", "rsum", "sd")),  # in the order of the tables
        (["t2i", "r10"], ("i2t_r10", "t2i_r1", "t2i_r5", "t2i_r10")),
        (["verdict", "n"], ("n", "verdict")),
        ([], ()),
    ],
)
def test_columns_by_the_names_that_people_type(given: list[str], keys: tuple[str, ...]) -> None:
    assert choose_columns(given) == keys


def test_every_column_can_be_named_and_no_other() -> None:
    found = {key for name in CHOICES for key in choose_columns([name])}
    assert found == COLUMNS.keys() - {"method", "run"}
    with pytest.raises(UserError, match=r"^unknown column 'rsun'; did you mean 'rsum'\?$"):
        choose_columns(["r1", "rsun"])


def test_rows_of_methods_and_of_runs() -> None:
    (flickr,) = choose_boards("flickr30k", BOARDS)
    everything = choose_rows(flickr, [], papers=True)
    assert everything == flickr
    assert names(choose_rows(flickr, ["rcar", "sgr"], papers=True)) == (["sgr"], {"rcar"})
    (one,) = choose_rows(flickr, ["rcar-t2i"], papers=True).waiting
    assert one.title == "RCAR (t2i)"
    ours = choose_rows(flickr, ["sgraf"], papers=False)
    assert (ours.waiting, len(ours.rows)) == ((), 4)
    tested = replace(flickr, tied=(frozenset({"short"}),))
    assert choose_rows(tested, ["sgraf"], papers=True).tied == tested.tied


def test_rows_that_there_are_not_are_refused() -> None:
    flickr, coco = BOARDS[0], BOARDS[1]
    with pytest.raises(UserError, match=r"^table 'flickr30k': no row of 'sgarf'; did you mean 'sgraf'\?$"):
        choose_rows(flickr, ["sgarf"], papers=True)
    with pytest.raises(
        UserError, match=r"^table 'mscoco-1k': no run of ours yet: `nox -s reproduce-hat -- mscoco` "
    ):
        choose_rows(coco, ["hat"], papers=False)


def test_the_best_is_the_best_of_the_rows_chosen() -> None:
    records = [sgr(run="a"), sgr(run="b", shift=-1.0), sgr(run="c", shift=-2.0)]
    chosen = choose_rows(board(records), ["b", "c"], papers=False)
    rows = {row.cells[1].text: row for row in runs(make_page(chosen).sheets[0])}
    assert {run: row.cells[4].emphasis for run, row in rows.items()} == {"b": "best", "c": ""}


def runs(sheet: Sheet) -> list[SheetRow]:
    return [row for row in sheet.rows if not row.kind]


def test_ours_have_the_papers_rows_below_them_unless_ours_alone_are_wanted() -> None:
    found = choose_rows(board([sgr()]), ["sgr"], papers=True)
    title = "SGR (repository)"
    assert shown(found, Wanted()) == [(title, "sgr", ""), (title, "paper", "reference")]
    assert shown(found, Wanted(papers=False)) == [(title, "sgr", "")]


def test_of_papers_alone_nothing_is_said_of_runs() -> None:
    (papers,) = make_boards([], PAPERS, Shelf(Path("no recipes")))[:1]
    page = make_page(choose_rows(papers, ["sgraf"], papers=True), Wanted(ours=False))
    (sheet,) = page.sheets
    assert sheet.title == "Rows of the papers"
    assert not {"verdict", "needs", "difference", "n"} & {column.key for column in sheet.columns}
    assert {row.cells[1].text for row in sheet.rows} == {"paper"}
    assert [column.title for column in sheet.columns if column.key == "rsum"] == [
        "rsum"
    ]  # papers have no spread


def test_asked_columns_are_there_whether_or_not_a_row_has_a_value() -> None:
    page = make_page(board([sgr()]), Wanted(choose_columns(["query_ms", "needs", "rsum"])))
    assert [column.key for column in page.sheets[0].columns] == [
        "method",
        "run",
        "rsum",
        "sd",
        "query_ms",
        "needs",
    ]
