"""What tables show: departures by run, ensembles that refer to members, best, second, ties, the papers' rows."""

from __future__ import annotations

import pytest

from benchmark.reporting.leaderboard.words import SMOKE, letter, paper_remark
from benchmark.reporting.sheet import Cell, Page
from tests.reporting.leaderboard.test_rows import PAPERS, sgr
from tests.reporting.writers.samples import RECORDS, SHARED, cells_of, ensemble, keys_of, page, row_of


def cells(found: Page, run: str) -> dict[str, Cell]:
    """The cells of a run's row by their columns' keys."""
    return cells_of(found, row_of(found, run))


@pytest.mark.parametrize(
    ("number", "text"), [(0, "a"), (25, "z"), (26, "aa"), (27, "ab"), (51, "az"), (52, "ba"), (701, "zz")]
)
def test_letters_go_on_after_z(number: int, text: str) -> None:
    assert letter(number) == text


def test_departures_are_counted_in_the_row_and_said_below_by_run() -> None:
    found = page(RECORDS)
    (sheet,) = found.sheets
    assert {run: cells(found, run)["departures"].value for run in ("sgr", "short", "odd")} == {
        "sgr": 0,
        "short": 2,
        "odd": 2,
    }
    assert sheet.items["short"] == f"10 of 30 epochs; {SHARED}"
    assert sheet.items["odd"].startswith(SHARED)
    assert cells(found, "short")["verdict"].text == "not comparable"


def test_a_departure_of_all_runs_is_said_once() -> None:
    found = page([sgr(run="one", departures=["x", "y"]), sgr(run="other", departures=["y", "z"])])
    (sheet,) = found.sheets
    assert sheet.notes[-1] == "Every run of this table departs from its paper: y."
    assert sheet.items == {"one": "x", "other": "z"}


def test_every_mark_has_a_note_and_every_note_a_mark() -> None:
    for protocol in ("flickr30k", "scenes"):
        found = page(RECORDS, protocol)
        used = {mark for sheet in found.sheets for row in sheet.rows for mark in row.marks}
        assert used == found.footnotes.keys()
        assert list(found.footnotes) == [letter(number) for number in range(len(found.footnotes))]


def test_an_ensemble_refers_to_its_members() -> None:
    one, other = sgr(run="one", departures=["x", "y"]), sgr(run="other", departures=["y: z"])
    found = page([one, other, ensemble(one, other, departures=["x", "only together"])])
    (sheet,) = found.sheets
    assert sheet.items["both"] == "x; only together; those of its members one + other"
    assert cells(found, "both")["models"].value == 2
    assert cells(found, "one")["models"].value == 1


def test_a_departure_of_a_member_that_is_not_on_the_page_is_spelled_out() -> None:
    one, other = sgr(run="one", departures=["x", "y"]), sgr(run="other", departures=["y"])
    assert page([ensemble(one, other)]).sheets[0].items["both"] == "one: x; one: y; other: y"


def test_a_column_that_says_the_same_of_all_runs_is_left_out() -> None:
    assert not {"models", "precision", "departures"} & set(keys_of(page([sgr()]).sheets[0]))
    (sheet,) = page([sgr(), sgr(run="double", score_precision="float64")]).sheets
    assert "precision" in keys_of(sheet)


def test_embedded_data_are_called_a_smoke_test() -> None:
    assert page(RECORDS, "scenes").reading.startswith(SMOKE)
    assert SMOKE not in page(RECORDS).reading


def test_best_and_second_are_ours_and_by_what_is_shown() -> None:
    recalls = (75.0, 94.7, 96.6, 56.1, 81.9, 88.0)
    records = [
        sgr(run="a", recalls=recalls),
        sgr(run="b", recalls=(75.04, *recalls[1:])),  # shown as a's
        sgr(run="c", recalls=(74.9, 94.0, *recalls[2:])),
        sgr(run="d", recalls=(74.8, 94.2, *recalls[2:])),
    ]
    found = page(records)
    ranks = {run: cells(found, run)["i2t_r1"].emphasis for run in "abcd"}
    assert ranks == {"a": "best", "b": "best", "c": "second", "d": ""}
    assert [cells(found, run)["i2t_r5"].emphasis for run in "abcd"] == ["best", "best", "", "second"]
    assert {cells(found, run)["t2i_r1"].emphasis for run in "abcd"} == {"best"}
    papers = [row for row in found.sheets[0].rows if row.kind == "reference"]
    assert papers
    assert not any(cell.emphasis for row in papers for cell in row.cells)


def test_alone_nothing_is_best_and_of_two_nothing_second() -> None:
    assert {cell.emphasis for cell in cells(page([sgr()]), "sgr").values()} == {""}
    found = page([sgr(), sgr(run="other", shift=-1.0)])
    assert cells(found, "sgr")["rsum"].emphasis == "best"
    assert {cell.emphasis for cell in cells(found, "other").values()} == {""}


def test_rows_tied_with_the_best_are_marked() -> None:
    records = [sgr(), sgr(run="near", shift=-0.1), sgr(run="far", shift=-9.0)]
    found = page(records, tied=frozenset({"near"}))
    assert [run for run in ("sgr", "near", "far") if cells(found, run)["rsum"].tied] == ["near"]
    assert found.sheets[0].notes[0].startswith("≈: tests do not tell it apart from the best rsum")
    none = page(records, tied=frozenset()).sheets[0]
    assert none.notes[0].startswith("Tests tell every other rsum apart from the best")
    assert "fewer seeds than 3" in none.notes[0]
    seeds = [
        sgr(seed, run=run, shift=seed / 10 + shift)
        for seed in range(3)
        for run, shift in (("a", 0), ("b", 1))
    ]
    assert "fewer seeds" not in page(seeds, tied=frozenset()).sheets[0].notes[0]
    assert page(records).sheets[0].notes == ()  # not tested: nothing is said
    assert page([sgr()], tied=frozenset()).sheets[0].notes == ()


def test_spread_and_number_of_seeds_are_always_there() -> None:
    found = page(RECORDS)
    three, one = cells(found, "sgr"), cells(found, "short")
    assert (three["n"].text, three["rsum"].text, three["rsum"].spread) == ("3", "491.5", "0.60")
    assert three["i2t_r1"].spread == "0.1"
    assert (one["n"].text, one["rsum"].spread, one["i2t_r1"].spread) == ("1", "n/a", "")


def test_verdict_and_difference_are_columns_of_the_papers_benchmarks_only() -> None:
    found = page(RECORDS)
    assert {"difference", "verdict"} <= set(keys_of(found.sheets[0]))
    assert not {"difference", "verdict"} & set(keys_of(page(RECORDS, "scenes").sheets[0]))
    ours = cells(found, "sgr")
    assert ours["difference"].text == "+0.60"
    assert ours["difference"].value == pytest.approx(0.6)
    assert ours["verdict"].text.startswith("reproduced")
    assert "3 seeds: mean 491.50" in found.sheets[0].items["sgr"]


def test_latency_is_a_column_where_it_was_measured() -> None:
    found = page(RECORDS, "scenes")
    sheet = found.sheets[0]
    assert cells_of(found, sheet.rows[0])["query_ms"].text == "2.50"
    assert sheet.notes == (
        "Query ms: median time to score one caption against the images, on a processor (cpu, 2 threads, float32).",
    )
    assert all("query_ms" not in keys_of(sheet) for sheet in page(RECORDS).sheets)


def test_a_second_hand_row_says_so_and_where_it_was_read() -> None:
    variant = "USER (as cited by AAHR; variant not stated, probably CLIP-guided)"
    found = page([sgr(run="user", method="user", variant=variant)])
    paper = found.sheets[0].rows[1]
    shown = cells_of(found, paper)
    assert (shown["run"].text, shown["rsum"].text) == ("paper (cited)", "538.1")
    (note,) = (found.footnotes[mark] for mark in paper.marks)
    assert note.startswith("Second-hand, read in another paper: AAHR")


def test_a_rsum_that_the_paper_does_not_print_says_so() -> None:
    found = page([sgr(run="d", method="dualpath", variant="ResNet-50 Stage II")])
    computed = found.sheets[0].rows[1]
    assert cells_of(found, computed)["rsum"].text == "414.5"
    assert "prints no rsum, which is the sum of its rounded recalls" in found.footnotes[computed.marks[0]]
    variant = "USER (as cited by AAHR; variant not stated, probably CLIP-guided)"
    printed = page([sgr(run="user", method="user", variant=variant)])
    paper = printed.sheets[0].rows[1]
    assert "prints no rsum" not in printed.footnotes[paper.marks[0]]


def test_runs_of_a_paper_with_second_hand_rows_carry_what_is_known_of_them() -> None:
    variant = "USER without external knowledge (presumably SGE, the released code)"
    for protocol in ("flickr30k", "mscoco-5k"):
        found = page([sgr(run="user", method="user", variant=variant, protocols=(protocol,))], protocol)
        (mark,) = row_of(found, "user").marks
        text = found.footnotes[mark]
        assert "is to be held against it, not against the cited rows" in text
    row, paper = (cells_of(found, row) for row in found.sheets[0].rows[:2])
    assert paper["run"].text == "paper (derived)"
    assert (paper["i2t_r1"].text, paper["rsum"].text) == ("63.9", "n/a")
    assert row["difference"].tail == " (mean R@1)"


def test_remarks_are_for_papers_that_are_missing_or_second_hand() -> None:
    assert paper_remark("sgraf", PAPERS) is None
    assert paper_remark("rcar", PAPERS) is None
    assert "could not be read" in (paper_remark("hat", PAPERS) or "")
