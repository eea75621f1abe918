"""`rematch table`: a part of the leaderboard in every format, and whether LaTeX fits is said in one line."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.paths import ROOT
from tests.tiny import rematch

CHOSEN = ("table", "flickr30k", "--methods", "hat,rcar", "--columns", "r1,rsum", "--ours", "--papers")


@pytest.fixture(autouse=True)
def _in_the_clone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_the_example_of_the_docs_is_latex_that_fits(tmp_path: Path) -> None:
    file = tmp_path / "table.tex"
    said = rematch(*CHOSEN, "--format", "latex", "--output", file).good
    text = file.read_text(encoding="utf-8")
    assert "RCAR, paper" in text
    assert "SGRAF" not in text
    assert r"method & i2t R@1 & t2i R@1 & rsum \\" in text
    wrote, fits = said.splitlines()
    assert wrote == f"wrote {file.as_posix()}"
    assert fits.startswith("Flickr30K: about ")
    assert fits.endswith(": fits 455 pt")


def test_a_table_that_is_too_wide_is_called_so() -> None:
    outcome = rematch(
        "table", "scenes", "--columns", "i2t,t2i,rsum,interval", "--format", "latex", "--width", "column"
    )
    assert outcome.code == 0
    (said,) = outcome.err.splitlines()
    assert said.startswith("scenes: about ")
    assert said.endswith(": does NOT fit 219 pt; choose fewer columns")
    assert said.removeprefix("scenes: ") in outcome.out  # in the file's first lines too


@pytest.mark.parametrize("form", ["text", "markdown", "html", "csv", "json", "latex"])
def test_every_format_has_the_same_rows(form: str, tmp_path: Path) -> None:
    file = tmp_path / "out"
    assert (
        rematch(
            "table", "mscoco", "--methods", "vse_infty", "--papers", "--format", form, "--output", file
        ).code
        == 0
    )
    text = file.read_text(encoding="utf-8")
    assert text.count("VSE-infinity (BERT)") == 2  # 1K and 5K
    assert "(BiGRU)" in text
    assert "not run yet" not in text
    assert "do not edit" not in text  # it would be taken for a generated file of results/


def test_csv_has_every_digit_and_json_every_note() -> None:
    command = ("table", "scenes", "--methods", "sgraf", "--ours", "--columns", "rsum")
    rows = list(csv.DictReader(rematch(*command, "--format", "csv").good.splitlines()))
    assert [list(row) for row in rows] == [["method", "run", "rsum", "sd"]] * 3
    (sheet,) = json.loads(rematch(*command, "--format", "json").good)
    assert [f"{row['rsum']}" for row in sheet["rows"]] == [row["rsum"] for row in rows]
    assert sheet["notes"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["flikr30k"], "unknown table 'flikr30k'; did you mean 'flickr30k'?"),
        (["flickr30k", "--methods", "hat,hta"], "table 'flickr30k': no row of 'hta'; did you mean 'hat'?"),
        (["flickr30k", "--columns", "rsun"], "unknown column 'rsun'; did you mean 'rsum'?"),
        (["flickr30k", "--width", "wide"], "--width: found 'wide', expected a length such as 455pt"),
        (["cuhk-pedes", "--ours"], "table 'cuhk-pedes': no run of ours yet"),
    ],
)
def test_a_wrong_name_is_one_line_with_the_nearest(arguments: list[str], complaint: str) -> None:
    assert rematch("table", *arguments).error.startswith(complaint)
