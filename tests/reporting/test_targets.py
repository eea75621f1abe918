"""The table of speed: what is unknown is said so, and the page holds what was measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.errors import UserError
from benchmark.places import SPEED, SPEED_TARGETS
from benchmark.records.targets import Measured, Measurements, Target, read_measurements, read_targets
from benchmark.reporting.targets import BEGIN, END, PAGE, targets_block, targets_sheet, write_page
from tests.paths import ROOT

TARGETS = [
    Target(kind="step", method="a", case="slow", batch=128, target=2),
    Target(kind="memory", method="a", case="slow", batch=128, target=3),
    Target(kind="epoch", recipe="recipes/a/b.yaml", case="all negatives", target=0.95),
]
MEASURED = Measurements(
    hardware="a CPU",
    torch="2",
    threads=1,
    commit="0123456789abcdef",
    rows={
        TARGETS[0].name: Measured(reached=1.5, over_floor=1.25, extrapolated=True),
        TARGETS[1].name: Measured(reached=2.5),
    },
)


def test_each_target_has_what_was_reached() -> None:
    sheet = targets_sheet(TARGETS, MEASURED)
    cells = [[cell.text for cell in row.cells][1:] for row in sheet.rows]
    assert cells == [
        ["slow*", "128", "2.00", "1.50", "1.25", "no"],
        ["slow", "128", "3.00", "2.50", "-", "yes"],
        ["recipes/a/b.yaml, all negatives", "-", "0.95", "-", "-", "not measured"],
    ]
    assert "commit 0123456789ab" in sheet.notes[0]
    assert "extrapolated" in sheet.notes[1]


def test_a_table_takes_its_place_and_leaves_the_rest(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    write_page(TARGETS, MEASURED, page)
    text = page.read_text(encoding="utf-8")
    assert text == f"before\n\n{targets_block(TARGETS, MEASURED)}\nafter\n"
    assert "old" not in text
    page.write_text(f"{END}{BEGIN}", encoding="utf-8")
    with pytest.raises(UserError, match="no place"):
        write_page(TARGETS, MEASURED, page)
    assert page.read_text(encoding="utf-8") == f"{END}{BEGIN}"
    with pytest.raises(UserError, match="expected a clone"):
        write_page(TARGETS, MEASURED, tmp_path / "none.md")


def test_the_page_holds_what_was_measured() -> None:
    block = targets_block(read_targets(ROOT / SPEED_TARGETS), read_measurements(ROOT / SPEED))
    assert block in (ROOT / PAGE).read_text(encoding="utf-8")
