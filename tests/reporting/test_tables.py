"""Tables: the numbers in every format, structure of the LaTeX, identical bytes, stale files."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from benchmark.errors import UserError
from benchmark.reporting.leaderboard import leaderboard
from benchmark.reporting.record import RunRecord, write_record
from benchmark.reporting.tables import (
    check_tables,
    comma_separated,
    latex,
    markdown,
    render,
    show,
    write_tables,
)
from tests.reporting import factory
from tests.reporting.test_leaderboard import PAPERS, sgr

RECORDS = [
    *(sgr(seed, shift=seed / 10) for seed in range(3)),
    sgr(run="saf_a&b", variant="SAF (repository)", shift=0.1, recalls=(75.0, 94.7, 96.6, 56.1, 81.9, 88.0)),
    sgr(run="short", departures=["10 of 30 epochs", "half of the data | 50 %"]),
    factory.record(departures=["embedded data"], latency=factory.latency(2.5)),
]


def runs(folder: Path, records: list[RunRecord]) -> Path:
    for record in records:
        write_record(record, folder / "runs")
    return folder / "runs"


def _rows(text: str) -> list[list[str]]:
    """Cells of the Markdown table lines."""
    rows = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


def _flickr(kind: str) -> str:
    return render(RECORDS, PAPERS)[f"flickr30k.{kind}"]


def test_markdown_holds_paper_ours_difference_seeds_spread_and_verdict() -> None:
    head, _, *rows = _rows(_flickr("md"))
    row = dict(zip(head, next(row for row in rows if row[1] == "sgr"), strict=True))
    assert row["method"] == "SGR (repository)"
    assert row["i2t R@1"] == "**76.7**"
    assert row["rsum"] == "491.5"
    assert row["paper"] == "490.9"
    assert row["difference"] == "+0.60"
    assert row["seeds"] == "3"
    assert row["sd"] == "0.60"
    assert row["95 % interval"] == "487.5 to 495.5"
    assert row["verdict"] == "reproduced (488.5 to 494.5)"
    assert "query ms" not in head


def test_the_paper_stands_below_with_its_recalls() -> None:
    rows = _rows(_flickr("md"))
    place = next(number for number, row in enumerate(rows) if row[1] == "sgr")
    assert rows[place + 1][1:9] == ["paper", "76.6", "93.7", "96.6", "56.1", "80.9", "87.0", "490.9"]


def test_best_is_bold_column_by_column_and_ours_only() -> None:
    rows = {row[1]: row for row in _rows(_flickr("md"))[2:6]}
    assert rows["sgr"][2:9] == ["**76.7**", "93.8", "**96.7**", "**56.2**", "81.0", "87.1", "491.5"]
    assert rows["saf\\_a&b"][2:9] == ["75.0", "**94.7**", "96.6", "56.1", "**81.9**", "**88.0**", "**492.3**"]


def test_a_lone_row_has_no_best() -> None:
    assert "**" not in render([sgr()], PAPERS)["flickr30k.md"]


def test_comparable_and_other_runs_stand_apart() -> None:
    text = _flickr("md")
    first, second = text.split("## Not comparable with the papers: single models")
    assert "## The papers' set-up: single models" in first
    assert "short" not in first
    assert "sgr |" not in second
    assert "- short, not comparable: 10 of 30 epochs; half of the data \\| 50 %." in second
    assert "not comparable: 10 of 30 epochs (and 1 more)" in second


def test_each_group_is_headed_by_its_signature() -> None:
    for protocol in ("flickr30k", "scenes"):
        groups = [group for group in leaderboard(RECORDS, PAPERS) if group.protocol == protocol]
        text = markdown(protocol, groups)
        for group in groups:
            assert f"## {group.title}\n\n`{group.signature}`\n" in text


def test_latency_is_shown_where_measured() -> None:
    head, _, row = _rows(render(RECORDS, PAPERS)["scenes.md"])
    cells = dict(zip(head, row, strict=True))
    assert cells["query ms"] == "2.50"
    assert (cells["paper"], cells["difference"], cells["sd"]) == ("n/a", "n/a", "n/a")


@pytest.mark.parametrize("name", ["flickr30k", "scenes"])
def test_latex_is_balanced(name: str) -> None:
    text = render(RECORDS, PAPERS)[f"{name}.tex"]
    bare = re.sub(r"\\[\\{}&%$#_]", "", text.split("\n", 1)[1])
    depth = 0
    for character in bare:
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0
    assert not set("$#^~%") & set(bare)
    begun, ended = re.findall(r"\\begin\{(\S+?)\}", text), re.findall(r"\\end\{(\S+?)\}", text)
    assert sorted(begun) == sorted(ended)
    assert (
        text.count(r"\toprule")
        == text.count(r"\midrule")
        == text.count(r"\bottomrule")
        == begun.count("tabular")
    )


@pytest.mark.parametrize("name", ["flickr30k", "scenes"])
def test_latex_rows_fill_all_columns(name: str) -> None:
    text = render(RECORDS, PAPERS)[f"{name}.tex"]
    for table in text.split(r"\begin{tabular}{")[1:]:
        width = len(table.split("}", 1)[0])
        lines = [line.strip() for line in table.splitlines() if line.endswith(r" \\")]
        assert len(lines) >= 3
        for line in lines:
            spans = [int(span) for span in re.findall(r"\\multicolumn\{(\d+)\}", line)]
            cells = len(re.findall(r"(?<!\\)&", line)) + 1
            assert cells + sum(spans) - len(spans) == width
        assert r"\multicolumn{3}{c}{Image-to-text} & \multicolumn{3}{c}{Text-to-image}" in lines[0]


def test_latex_escapes_and_bolds() -> None:
    text = _flickr("tex")
    assert r"saf\_a\&b" in text
    assert r"\textbf{76.7}" in text
    assert r"half of the data \textbar{} 50 \%" in text
    assert r"95 \% interval" in text


def test_latex_text_survives_every_special_character() -> None:
    odd = r"\ { } & % $ # _ ~ ^ < > |"
    groups = leaderboard([sgr(departures=[odd])], PAPERS)
    text = latex("flickr30k", groups)
    for escaped in (
        r"\textbackslash{}",
        r"\{",
        r"\}",
        r"\&",
        r"\%",
        r"\$",
        r"\#",
        r"\_",
        r"\textasciicircum{}",
    ):
        assert escaped in text


def test_csv_has_every_number() -> None:
    rows = list(csv.DictReader(io.StringIO(_flickr("csv"))))
    assert [row["run"] for row in rows] == ["saf_a&b", "sgr", "short"]
    row = rows[1]
    assert float(row["rsum"]) == pytest.approx(491.5)
    assert float(row["i2t_r1"]) == pytest.approx(76.7)
    assert float(row["i2t_r1_sd"]) == pytest.approx(0.1)
    assert row["t2i_r10_paper"] == "87.0000"
    assert row["seeds"] == "0 1 2"
    assert (row["verdict"], row["comparable"], row["ensemble"]) == (
        "reproduced (488.5 to 494.5)",
        "yes",
        "no",
    )
    assert row["mean_r1_low"] == ""
    assert rows[2]["difference"] == ""
    assert rows[2]["departures"] == "10 of 30 epochs; half of the data | 50 %"


def test_second_hand_values_are_marked() -> None:
    variant = "USER (as cited by AAHR; variant not stated, probably CLIP-guided)"
    records = [sgr(run="user", method="user", variant=variant)]
    cells = _rows(render(records, PAPERS)["flickr30k.md"])[2]
    assert "538.1 (cited)" in cells
    assert comma_separated(leaderboard(records, PAPERS)).count("538.1000") == 1


def test_tables_are_written_byte_for_byte_the_same(tmp_path: Path) -> None:
    folder = runs(tmp_path, RECORDS)
    written = write_tables(folder, tmp_path / "tables", PAPERS)
    names = {
        "README.md",
        *(f"{name}.{kind}" for name in ("flickr30k", "scenes") for kind in ("md", "tex", "csv")),
    }
    assert {path.name for path in written} == {path.name for path in (tmp_path / "tables").iterdir()} == names
    before = {path: path.read_bytes() for path in written}
    assert check_tables(folder, tmp_path / "tables", PAPERS) == []
    write_tables(folder, tmp_path / "tables", PAPERS)
    assert {path: path.read_bytes() for path in written} == before
    assert all(b"\r" not in content and content.endswith(b"\n") for content in before.values())
    assert render(list(reversed(RECORDS)), PAPERS) == render(RECORDS, PAPERS)


def test_stale_tables_are_named(tmp_path: Path) -> None:
    folder, tables = runs(tmp_path, RECORDS), tmp_path / "tables"
    write_tables(folder, tables, PAPERS)
    (tables / "scenes.csv").write_text("edited")
    (tables / "flickr30k.tex").unlink()
    stale = check_tables(folder, tables, PAPERS)
    assert {path.name for path in stale} == {"scenes.csv", "flickr30k.tex"}
    write_tables(folder, tables, PAPERS)
    write_record(sgr(3), folder)
    assert {path.name for path in check_tables(folder, tables, PAPERS)} == {
        "flickr30k.md",
        "flickr30k.tex",
        "flickr30k.csv",
    }


def test_tables_without_runs_go_and_other_files_stay(tmp_path: Path) -> None:
    folder, tables = runs(tmp_path, RECORDS), tmp_path / "tables"
    write_tables(folder, tables, PAPERS)
    (tables / "mine.md").write_text("notes")
    (folder / "scenes" / "hat-i2t" / "0.json").unlink()
    gone = {"scenes.md", "scenes.tex", "scenes.csv"}
    assert gone <= {path.name for path in check_tables(folder, tables, PAPERS)}
    write_tables(folder, tables, PAPERS)
    left = {path.name for path in tables.iterdir()}
    assert not gone & left
    assert (tables / "mine.md").read_text() == "notes"


def test_no_runs_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run records; make some with `nox -s reproduce-hat`"):
        write_tables(tmp_path / "runs", tmp_path / "tables", PAPERS)
    assert not (tmp_path / "tables").exists()


def test_a_faulty_record_leaves_the_tables_as_they_are(tmp_path: Path) -> None:
    folder, tables = runs(tmp_path, RECORDS), tmp_path / "tables"
    write_tables(folder, tables, PAPERS)
    before = {path: path.read_bytes() for path in tables.iterdir()}
    (folder / "flickr30k" / "sgr" / "9.json").write_text('{"schema_version": 1')
    with pytest.raises(UserError, match=r"sgr/9\.json"):
        write_tables(folder, tables, PAPERS)
    assert {path: path.read_bytes() for path in tables.iterdir()} == before


def test_the_terminal_shows_the_verdict() -> None:
    console = Console(width=200, record=True, file=io.StringIO())
    show(leaderboard([*RECORDS, sgr(run="odd", departures=["[red]x"])], PAPERS), console)
    text = console.export_text()
    assert "491.5 ± 0.60" in text
    assert "reproduced" in text
    assert "not comparable: [red]x" in text
