"""The widths of texts as LaTeX sets them in Computer Modern at 8 pt, and a table's layout within a limit.

The rule. A text is as wide as its characters, from the metrics of cmr8, without kerning, which mostly makes it
narrower; characters that are not in the list count as wide ones. Bold takes 1.23 times as much, a superscript 0.9
times, each the most for any letter or digit. A column is as wide as its widest cell, and between two columns lie two
column separations, of 6, 4.5 or 3 pt: the widest that fits. Where none does, names are broken into lines. So estimates
are a little too wide, and a table that is said to fit does: tests compile it. Times and its like are narrower than
Computer Modern.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from benchmark.errors import UserError, nearest, shown
from benchmark.reporting.sheet import Cell, Column

SIZE = 8.0
"""Points: the size of the type, which tables set themselves, so that it is the same in whatever class."""
EM = {
    **dict.fromkeys("!',.:;[]`il", 0.295),
    **dict.fromkeys("fj", 0.325),
    **dict.fromkeys("- \u00a0", 0.3542),
    **dict.fromkeys("It()_", 0.413),
    **dict.fromkeys("rs", 0.419),
    **dict.fromkeys("cez", 0.472),
    **dict.fromkeys("?0123456789/*$ago", 0.5313),
    **dict.fromkeys("JkqvxySbdhnpu", 0.59),
    **dict.fromkeys("ZLFEP", 0.723),
    **dict.fromkeys("BCTwRAHNUVXYD", 0.811),
    **dict.fromkeys("K&+=@OQG±×≈−≤≥", 0.834),
    **dict.fromkeys("#%mM", 0.973),
}
"""Width of a character in sizes of the type; any other has OTHER."""
OTHER = 1.1
BOLD, RAISED = 1.23, 0.9
SEPARATIONS = (6.0, 4.5, 3.0)
"""Points on either side of the space between two columns, best first."""
NARROWEST = 60.0
"""Points that names must have, where they are broken into lines."""
QUAD = 1.0625 * SIZE


ROOM = {"textwidth": 455.0, "column": 219.0}
"""Points: both columns and one of ACL's style, the narrowest of the common two-column ones."""
UNITS = {"pt": 1.0, "mm": 72.27 / 25.4, "cm": 72.27 / 2.54, "in": 72.27}


def read_width(text: str) -> float:
    """The points of `textwidth`, `column` or a length; raises UserError for anything else."""
    found = re.fullmatch(r"(\d{1,5}(?:\.\d{1,5})?) ?(pt|mm|cm|in)", text.strip())
    if text in ROOM:
        return ROOM[text]
    if found is None:
        raise UserError(
            f"--width: found {shown(text)}, expected a length such as 455pt, 160mm or 6.3in"
            f", or a name{nearest(text, ROOM)}"
        )
    return float(found[1]) * UNITS[found[2]]


def text_width(text: str) -> float:
    """The width of a text in points."""
    return SIZE * sum(EM.get(character, OTHER) for character in text)


def cell_width(cell: Cell, column: Column) -> float:
    """The width of a cell in points, with its spread where the column shows it."""
    spread = f" ± {cell.spread}" if column.spread and cell.spread else ""
    bold = BOLD if cell.emphasis == "best" else 1.0
    return bold * text_width(cell.text) + text_width(cell.tail + spread)


@dataclass(frozen=True)
class Layout:
    """How a table is set."""

    separation: float
    """Points on either side of the space between two columns."""
    names: float | None
    """The width of the first column in points, where its texts are broken into lines."""
    width: float
    """Of the whole table in points, as estimated."""
    limit: float

    @property
    def fits(self) -> bool:
        return self.width <= self.limit

    def __str__(self) -> str:
        """The layout in a line."""
        found = f"about {self.width:.0f} pt wide in {SIZE:g} pt type"
        if self.fits:
            return f"{found}: fits {self.limit:.0f} pt"
        return f"{found}: does NOT fit {self.limit:.0f} pt; choose fewer columns"


def lay_out(names: Sequence[float], longest_word: float, columns: Sequence[float], limit: float) -> Layout:
    """Fit a table into `limit` points: names as they are, else broken into lines, else too wide.

    names: the width of each; longest_word: the widest part of one that cannot be broken; columns: the others' widths.
    """
    whole = max(names, default=0.0)
    for separation in SEPARATIONS:
        rest = sum(columns) + 2 * separation * len(columns)
        if whole + rest <= limit:
            return Layout(separation, None, whole + rest, limit)
    room = limit - rest  # of the smallest separation
    if room >= max(NARROWEST, longest_word):
        return Layout(separation, room, limit, limit)
    return Layout(separation, None, whole + rest, limit)


def column_widths(columns: Sequence[Column], cells: Sequence[Sequence[Cell]]) -> list[float]:
    """The width of each column in points; one head over several widens the last of them, as LaTeX does.

    cells: those of each column.
    """
    heads = head_texts(columns)
    found = [
        max([text_width(head), *(cell_width(cell, column) for cell in some)])
        for head, column, some in zip(heads, columns, cells, strict=True)
    ]
    place = 0
    for over, shared in groupby(columns, key=lambda column: column.over) if two_levels(columns) else ():
        count = len(list(shared))
        under = sum(found[place : place + count]) + 2 * SEPARATIONS[-1] * (count - 1)
        place += count
        found[place - 1] += max(0.0, text_width(over) - under)
    return found


def two_levels(columns: Sequence[Column]) -> bool:
    """Return True where neighbouring columns share a head, so that heads have two levels."""
    return any(
        over and len(list(shared)) > 1 for over, shared in groupby(columns, key=lambda column: column.over)
    )


def head_texts(columns: Sequence[Column]) -> list[str]:
    """The head of each column, below a shared one or alone."""
    below = two_levels(columns)
    return [(column.under if below else "") or column.title for column in columns]
