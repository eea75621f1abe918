"""Tables and plot of a study of latency: what they say, and the same bytes each time."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from benchmark.errors import UserError
from benchmark.records.study import read_part, write_part
from benchmark.records.timed_study import TimingResults
from benchmark.reporting.studies.runs import write_study_tables
from tests.reporting.factory import parts
from tests.tiny import stale_study_tables

GROUPS: list[dict[str, Any]] = [
    {"task": "scoring", "size": None, "seconds": {"host": [1.0, 2.0, 4.0], "new": [0.5, 1.0, 2.0]}},
    {"task": "vectors", "size": 72, "seconds": {"host": [2.0, 2.0, 2.0], "new": [4.0, 4.0, 4.0]}},
    {"task": "vectors", "size": 36, "seconds": {"host": [1.0, 1.0, 1.0], "new": [1.0, 1.0, 1.0]}},
]


def document(**changes: Any) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "kind": "latency",
        "study": "turns",
        "summary": "a new one beside its host",
        "reading": ["The claim: half the time."],
        "version": "0.1.0",
        "warm_up": 2,
        "environment": parts()["environment"],
        "groups": GROUPS,
        **changes,
    }


@pytest.fixture
def written(tmp_path: Path) -> Path:
    write_part(TimingResults.model_validate(document()), tmp_path / "turns.json")
    write_study_tables(tmp_path)
    return tmp_path


def test_the_page_says_ratios_growth_and_machine(written: Path) -> None:
    page = (written / "turns.md").read_text()
    assert "The claim: half the time." in page
    assert "| new         | 1000 |   0.500 |  0.500 to 0.500 |        3 |" in page
    assert "| new         |                                 2.00 |    2.00 to 2.00 |" in page
    assert "| host        |                                 1.00 |    1.00 to 1.00 |" in page
    assert page.index("|     36 |") < page.index("|     72 |"), "sizes rise"
    assert "a processor (cpu), threads: 2" in page
    assert "![vectors: time by size](turns.svg)" in page


def test_the_comma_separated_table_has_every_contender(written: Path) -> None:
    rows = list(csv.DictReader((written / "turns.csv").read_text().splitlines()))
    assert [(row["task"], row["size"], row["contender"], row["ratio"]) for row in rows] == [
        ("scoring", "", "host", "1.0000"),
        ("scoring", "", "new", "0.5000"),
        ("vectors", "36", "host", "1.0000"),
        ("vectors", "36", "new", "1.0000"),
        ("vectors", "72", "host", "1.0000"),
        ("vectors", "72", "new", "2.0000"),
    ]


def test_made_twice_they_are_the_same_bytes_and_leftovers_go(written: Path) -> None:
    before = {path.name: path.read_bytes() for path in written.iterdir()}
    assert set(before) == {"turns.json", "turns.md", "turns.csv", "turns.svg"}
    assert b"new" in before["turns.svg"]
    write_study_tables(written)
    assert {path.name: path.read_bytes() for path in written.iterdir()} == before
    assert stale_study_tables(written) == []
    (written / "turns.csv").write_text("changed")
    assert stale_study_tables(written) == [written / "turns.csv"]
    (written / "turns.json").unlink()
    write_study_tables(written)
    assert [path.name for path in written.iterdir()] == ["turns.csv"], "what is not generated stays"


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([GROUPS[1], GROUPS[1]], "a task has a size twice"),
        (
            [GROUPS[1], {**GROUPS[2], "seconds": {"host": [1.0, 1.0, 1.0]}}],
            "not all sizes have the same contenders",
        ),
        ([{**GROUPS[0], "seconds": {"host": [1.0], "new": [1.0, 2.0]}}], "expected as many each"),
        ([{**GROUPS[0], "seconds": {"host": [0.0]}}], "greater than 0"),
        ([], "at least 1"),
    ],
)
def test_results_that_do_not_hold_together_are_refused(
    groups: list[dict[str, Any]], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "turns.json"
    path.write_text(json.dumps(document(groups=groups)))
    with pytest.raises(UserError, match=message):
        read_part(path, TimingResults)
