"""What tables show: settings in words, marks that runs share, ensembles that refer to members, best, second, ties."""

from __future__ import annotations

import pytest

from benchmark.reporting.leaderboard.content import (
    DAGGER,
    OF_MEMBERS,
    features,
    letter,
    paper_remark,
)
from benchmark.reporting.sheet import Cell, Page
from tests.reporting import factory
from tests.reporting.leaderboard.test_rows import PAPERS, sgr
from tests.reporting.writers.samples import RECORDS, SHARED, cells_of, ensemble, keys_of, page, pages, row_of

GRID = "regions of 'test': 6 x 6 cells through fixed random filters (identity 780cf7491c4d)"


def cells(found: Page, run: str) -> dict[str, Cell]:
    """The cells of a run's row by their columns' keys."""
    return cells_of(found, row_of(found, run))


def reasons(found: Page, run: str) -> list[str]:
    return [found.footnotes[mark] for mark in row_of(found, run).marks]


@pytest.mark.parametrize(
    ("number", "text"), [(0, "a"), (25, "z"), (26, "aa"), (27, "ab"), (51, "az"), (52, "ba"), (701, "zz")]
)
def test_letters_go_on_after_z(number: int, text: str) -> None:
    assert letter(number) == text


def test_runs_share_the_mark_of_a_shared_departure() -> None:
    found = page(RECORDS)
    assert set(reasons(found, "short")) == {"10 of 30 epochs", SHARED}
    assert SHARED in reasons(found, "odd")
    assert list(found.footnotes.values()).count(SHARED) == 1
    assert row_of(found, "sgr").marks == ()


def test_every_mark_has_a_note_and_every_note_a_mark() -> None:
    for protocol in ("flickr30k", "scenes"):
        found = page(RECORDS, protocol)
        used = {mark for sheet in found.sheets for row in sheet.rows for mark in row.marks}
        assert used == found.footnotes.keys()
        for alone in pages(RECORDS, protocol):
            used = {mark for row in alone.sheets[0].rows for mark in row.marks}
            assert used == alone.footnotes.keys()
            assert list(alone.footnotes) == [letter(number) for number in range(len(alone.footnotes))]


def test_an_ensemble_refers_to_its_members() -> None:
    one, other = sgr(run="one", departures=["x", "y"]), sgr(run="other", departures=["y: z"])
    found = page([one, other, ensemble(one, other, departures=["x", "only together"])])
    assert reasons(found, "both") == ["x", "only together", OF_MEMBERS]
    assert row_of(found, "both").marks[-1] == DAGGER
    assert cells(found, "both")["members"].text == "one + other"
    assert not [text for text in found.footnotes.values() if text.startswith(("one: ", "other: "))]
    alone = pages([one, other, ensemble(one, other)])[1]  # LaTeX's table, without those of the members
    assert reasons(alone, "both") == [OF_MEMBERS]
    assert not {"x", "y", "y: z"} & set(alone.footnotes.values())


def test_a_departure_of_a_member_that_is_not_on_the_page_is_spelled_out() -> None:
    one, other = sgr(run="one", departures=["x", "y"]), sgr(run="other", departures=["y"])
    assert reasons(page([ensemble(one, other)]), "both") == ["one: x", "one: y", "other: y"]
    changed = sgr(run="one", departures=["x"])
    assert reasons(page([changed, other, ensemble(one, other)]), "both") == ["one: y", OF_MEMBERS]


def test_the_setting_says_in_words_what_differs() -> None:
    pixels = sgr(departures=["a"])
    regions = sgr(run="regions", departures=["a"], notes=[GRID], score_precision="float64")
    pessimistic = sgr(
        run="ties",
        departures=["a"],
        results={"flickr30k": factory.result("flickr30k", tie_rule="pessimistic")},
    )
    assert {sheet.title for sheet in page([pixels, regions]).sheets} == {
        "pixels, similarities in float32",
        "region features (6 x 6 cells through fixed random filters), similarities in float64",
    }
    assert {sheet.title for sheet in page([pixels, pessimistic]).sheets} == {
        "pixels, similarities in float32, ties lower_index",
        "pixels, similarities in float32, ties pessimistic",
    }
    both = page([pixels, regions, ensemble(pixels, regions)]).sheets[-1]
    assert both.title == "pixels, similarities in float32, averaged over 2 models"
    assert both.subtitle.endswith(": 1,000 images, 5,000 captions")


def test_features_are_those_of_the_split_that_was_scored() -> None:
    other = GRID.replace("test", "train")
    assert features(factory.record(notes=[other])) == "pixels"
    assert features(factory.record(notes=[other.replace("6 x 6", "3 x 3"), GRID])).startswith(
        "region features (6 x 6"
    )


def test_image_vectors_beside_regions_are_named() -> None:
    guides = "guides of 'test': a random projection (identity f8f345586923)"
    words = (
        "region features (6 x 6 cells through fixed random filters) and image vectors (a random projection)"
    )
    assert features(factory.record(notes=[GRID, guides])) == words


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


def test_verdict_and_difference_are_columns_of_the_papers_set_up_only() -> None:
    found = page(RECORDS)
    for section in found.sections:
        for sheet in section.sheets:
            judged = section.title.startswith("The papers' set-up")
            assert ({"difference", "verdict"} <= set(keys_of(sheet))) == bool(sheet.items) == judged
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
    assert found.footnotes[computed.marks[0]].endswith(
        "prints no rsum, which is the sum of its rounded recalls"
    )
    variant = "USER (as cited by AAHR; variant not stated, probably CLIP-guided)"
    printed = page([sgr(run="user", method="user", variant=variant)])
    assert not any("prints no rsum" in note for note in printed.footnotes.values())


def test_runs_of_a_paper_with_second_hand_rows_carry_what_is_known_of_them() -> None:
    variant = "USER without external knowledge (presumably SGE, the released code)"
    for protocol in ("flickr30k", "mscoco-5k"):
        found = page([sgr(run="user", method="user", variant=variant, protocols=(protocol,))], protocol)
        (text,) = reasons(found, "user")
        assert "is to be held against it, not against the cited rows" in text
    row, paper = (cells_of(found, row) for row in found.sheets[0].rows)
    assert paper["run"].text == "paper (derived)"
    assert (paper["i2t_r1"].text, paper["rsum"].text) == ("63.9", "n/a")
    assert row["difference"].tail == " (mean R@1)"


def test_remarks_are_for_papers_that_are_missing_or_second_hand() -> None:
    assert paper_remark("sgraf", PAPERS) is None
    assert paper_remark("rcar", PAPERS) is None
    assert "could not be read" in (paper_remark("hat", PAPERS) or "")
