"""The CSV files: every number and every word of a row."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import pytest

from benchmark.records.record import RunRecord
from benchmark.reporting.leaderboard.values import values_sheet
from benchmark.reporting.sheet import Column, make_sheet
from benchmark.reporting.writers.csv import write_csv
from tests.reporting.leaderboard.test_rows import sgr
from tests.reporting.writers.samples import ODD, RECORDS, SHARED, board, ensemble


def rows_of(records: list[RunRecord], protocol: str = "flickr30k") -> dict[str, dict[str, str]]:
    found = replace(board(records, protocol), waiting=())
    return {row["run"]: row for row in csv.DictReader(io.StringIO(write_csv([values_sheet([found])])))}


def test_every_number() -> None:
    rows = rows_of(RECORDS)
    assert list(rows) == ["saf_a&b", "sgr", "odd", "short"]
    row = rows["sgr"]
    assert float(row["rsum"]) == pytest.approx(491.5)
    assert float(row["i2t_r1"]) == pytest.approx(76.7)
    assert float(row["i2t_r1_sd"]) == pytest.approx(0.1)
    assert (row["t2i_r10_paper"], row["mean_r1_low"]) == ("87.0000", "")
    assert (row["seeds"], row["n_seeds"]) == ("0 1 2", "3")
    assert (row["comparable"], row["models"]) == ("yes", "1")
    assert row["verdict"].startswith("reproduced")
    assert rows["short"]["difference"] == ""


def test_every_word() -> None:
    rows = rows_of([*RECORDS, ensemble(RECORDS[4], RECORDS[5])])
    assert rows["short"]["departures"] == f"10 of 30 epochs; {SHARED}"
    assert rows["odd"]["departures"] == f"{SHARED}; {ODD}"
    assert rows["both"]["members"] == "short + odd"
    assert rows["both"]["departures"].startswith("short: 10 of 30 epochs; ")
    assert rows["sgr"]["features"] == "pixels"
    assert (rows["sgr"]["paper_kind"], rows["sgr"]["paper_remark"]) == ("reported", "")


def test_second_hand_values_are_marked() -> None:
    variant = "USER (as cited by AAHR; variant not stated, probably CLIP-guided)"
    row = rows_of([sgr(run="user", method="user", variant=variant)])["user"]
    assert (row["rsum_paper"], row["paper_kind"]) == ("538.1000", "cited")
    assert "not against the cited rows" in row["paper_remark"]


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+1+1",
        "-1+1",
        "@SUM(A1)",
        "\t=1",
        "\tname",
        "\r=1",
        "\rname",
        " =1",
        "\n=1",
        "- all negatives",
        "-5",
        "＝1",
    ],
)
def test_texts_that_a_spreadsheet_would_compute_are_made_harmless(text: str) -> None:
    sheet = make_sheet(text, ("name", "value"), [(text, -1.5), ("plain", -2)])
    first, second = csv.DictReader(io.StringIO(write_csv([sheet]), newline=""))
    written = text.replace("\r", "\n")
    assert first == {"name": f"'{written}", "value": "-1.5"}
    assert second == {"name": "plain", "value": "-2"}
    several = next(csv.DictReader(io.StringIO(write_csv([sheet, sheet]), newline="")))
    assert several["table"] == f"'{written}"


def test_numbers_and_ordinary_words_stay_as_they_are() -> None:
    columns = (Column("word", kind="text"), Column("rounded", decimals=4), Column("whole"), Column("flag"))
    sheet = make_sheet("t", columns, [("a - b", -0.00004, 0.1 + 0.2, True), ("-", None, -3, False)])
    assert write_csv([sheet]).splitlines() == [
        "word,rounded,whole,flag",
        "a - b,-0.0000,0.30000000000000004,yes",
        "-,,-3,no",
    ]


def test_several_sheets_are_one_table() -> None:
    sheets = [make_sheet("one", ("a", "b"), [("x", 1)]), make_sheet("two", ("a", "c"), [("y", 2)])]
    assert write_csv(sheets) == "table,a,b,c\none,x,1,\ntwo,y,,2\n"
