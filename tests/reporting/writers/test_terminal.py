"""The short form in the terminal."""

from __future__ import annotations

import io

from rich.console import Console

from benchmark.reporting.leaderboard.content import brief_pages
from benchmark.reporting.leaderboard.rows import leaderboard
from benchmark.reporting.writers.terminal import print_sheets
from tests.reporting.leaderboard.test_rows import PAPERS, sgr
from tests.reporting.writers.samples import RECORDS


def shown(width: int) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    groups = leaderboard([*RECORDS, sgr(run="odd2", departures=["[red]x"])], PAPERS)
    for page in brief_pages(groups, PAPERS):
        print_sheets(page.sheets, console, page.footnotes)
    return console.export_text()


def test_numbers_and_verdict() -> None:
    text = shown(160)
    row = next(line for line in text.splitlines() if "491.5 ± 0.60" in line)
    assert "SGR (repository)" in row
    assert "reproduced" in row
    assert text.count("not comparable") == 3
    assert "Flickr30K. Test split of 1,000 images" in text
    assert "A smoke test on embedded data" in text
    assert "10 of 30 epochs" not in text  # the files have the reasons
    assert "rows of the papers wait for a run." in text


def test_it_fits_a_narrow_terminal() -> None:
    assert max(map(len, shown(80).splitlines())) <= 80
