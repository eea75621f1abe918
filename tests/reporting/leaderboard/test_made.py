"""The runs just made: beside the paper's row, beside what the recipe expects, a fault in red."""

from __future__ import annotations

from benchmark.recipe.schema import Expected
from benchmark.reporting.leaderboard.made import MadeRun, made_sheet
from benchmark.reporting.sheet import Cell, Sheet
from tests.reporting import factory
from tests.reporting.leaderboard.test_rows import PAPERS, sgr


def expected(value: float, protocol: str = "flickr30k") -> Expected:
    return Expected(protocol=protocol, metric="rsum", value=value, tolerance=2.0, source="seed 0")


def cells(sheet: Sheet, row: int = 0) -> dict[str, Cell]:
    return dict(zip((column.key for column in sheet.columns), sheet.rows[row].cells, strict=True))


def test_a_run_stands_beside_its_papers_row_and_its_expected_value() -> None:
    sheet = made_sheet([MadeRun(sgr(3), [expected(490.0)]), MadeRun(sgr(4), [expected(480.0)])], PAPERS)
    first, second = cells(sheet), cells(sheet, 1)
    assert (first["run"].text, first["seed"].value, first["rsum"].text) == ("sgr", 3, "490.9")
    assert first["paper"].value == 490.9
    assert first["expected"].text == "rsum 490 ± 2: 490.9, kept"
    assert second["expected"].text == "rsum 480 ± 2: 490.9, NOT kept"
    assert [row.kind for row in sheet.rows] == ["", "alarm"]
    assert first["verdict"].text.startswith("too few seeds (2")
    assert any("--seeds 1 2 3" in note and "rematch doctor" in note for note in sheet.notes)
    assert len(sheet.notes) <= 5
    kept = made_sheet([MadeRun(sgr(3), [expected(490.0)])], PAPERS)
    assert not any("--seeds" in note for note in kept.notes)


def test_a_row_for_each_protocol_and_few_notes() -> None:
    both = sgr(protocols=("mscoco-1k", "mscoco-5k"))
    sheet = made_sheet([MadeRun(both, [expected(490.0, "mscoco-5k")])], PAPERS)
    assert [cells(sheet, row)["protocol"].text for row in (0, 1)] == ["mscoco-1k", "mscoco-5k"]
    assert [cells(sheet, row)["expected"].text[:4] for row in (0, 1)] == ["n/a", "rsum"]
    assert len(sheet.notes) <= 5
    assert any("results/tables/mscoco-1k.md" in note for note in sheet.notes)


def test_a_run_on_embedded_data_is_called_a_smoke_test() -> None:
    sheet = made_sheet([MadeRun(factory.record(departures=["embedded data"]))], PAPERS)
    assert cells(sheet)["verdict"].text == "not comparable: embedded data"
    assert (cells(sheet)["paper"].text, cells(sheet)["expected"].text) == ("n/a", "n/a")
    assert sheet.notes[0].startswith("The embedded dataset is a smoke test")
