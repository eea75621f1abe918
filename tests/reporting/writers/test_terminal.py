"""The short form in the terminal."""

from __future__ import annotations

import io

from rich.console import Console

from benchmark.reporting.leaderboard.boards import make_boards
from benchmark.reporting.leaderboard.content import brief_pages
from benchmark.reporting.sheet import Sheet
from benchmark.reporting.writers.terminal import print_sheets, write_text
from tests.reporting.leaderboard.test_rows import PAPERS, sgr
from tests.reporting.writers.samples import FOOTNOTES, RECORDS, SMALL


def shown(width: int) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    boards = make_boards([*RECORDS, sgr(run="odd2", departures=["[red]x"])], PAPERS)
    for page in brief_pages(boards):
        print_sheets(page.sheets, console, page.footnotes)
    return console.export_text()


def test_numbers_and_verdict() -> None:
    text = shown(160)
    row = next(line for line in text.splitlines() if "491.5 ± 0.60" in line)
    assert "sgr" in row
    assert "reproduced" in row
    assert text.count("not comparable") == 3
    assert "Flickr30K. Test split of 1,000 images" in text
    assert "A smoke test on embedded data" in text
    assert "10 of 30 epochs" not in text  # the files have the reasons
    assert "rows of the papers wait for a run." in text


def test_it_fits_a_narrow_terminal() -> None:
    assert max(map(len, shown(80).splitlines())) <= 80


TEXT = """\
one <b>
┏━━━━━┳━━━━━━━┳━━━━━━━━━┳━━━━━━━━━┳━━━━━━━━━┳━━━━━━━┓
┃ run ┃ name  ┃ i2t R@1 ┃ i2t R@5 ┃ time ms ┃ notes ┃
┡━━━━━╇━━━━━━━╇━━━━━━━━━╇━━━━━━━━━╇━━━━━━━━━╇━━━━━━━┩
│ a_1 │ A & B │   1.5 ≈ │  9 of 9 │ 2 ± 0.1 │ a b   │
├─────┼───────┼─────────┼─────────┼─────────┼───────┤
│ a_1 │ C     │     0.5 │       8 │       3 │       │
│     │ paper │     0.4 │       7 │         │       │
├─────┼───────┼─────────┼─────────┼─────────┼───────┤
│ z   │       │     0.1 │       1 │       5 │       │
└─────┴───────┴─────────┴─────────┴─────────┴───────┘
                     two images
A note_.
a: first
b: second
k:1|m:2
bare [x]
said
a why
b of <members>.
"""


def test_small_sheets_are_this_text() -> None:
    found = write_text([SMALL, Sheet("bare [x]", notes=("said",))], FOOTNOTES)
    assert "".join(f"{line.rstrip()}\n" for line in found.splitlines()) == TEXT
    long = write_text([Sheet("t", notes=("word " * 60,))])
    assert long.splitlines() == ["t", ("word " * 60)]


def test_colours_are_for_a_terminal() -> None:
    console = Console(width=160, file=io.StringIO(), force_terminal=True, color_system="standard")
    with console.capture() as caught:
        print_sheets([SMALL, Sheet("bare")], console, FOOTNOTES)
    text = caught.get()
    assert "\x1b[1m1.5\x1b[0m ≈" in text, "the best is bold"
    assert "\x1b[4m9\x1b[0m of 9" in text, "the second underlined"
    assert "\x1b[31mz" in text, "an alarm is red"
    assert "\x1b[1mbare\x1b[0m" in text
    assert "\x1b[1ma\x1b[0m why" in text
