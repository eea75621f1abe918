"""Sheets as CSV: the values behind the cells, with the columns' keys as heads.

A spreadsheet computes a cell that begins with `=`, `+`, `-` or `@` (also in their full-width forms), and may drop a tab
or a carriage return before it. Names and captions come from data of other people, so a text that begins so gets an
apostrophe in front. Numbers stay numbers, and a sign by itself, or before a blank at the end, stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from benchmark.reporting.sheet import Cell, Column, Sheet, Value

FORMULA = re.compile(r"\s*[=+\-@＝＋－＠]\s*\S|[\t\r]")
"""The beginning of a text that a spreadsheet would compute; a sign alone is none."""


def write_csv(sheets: Sequence[Sheet]) -> str:
    """One table; of several sheets all columns, with the title of each row's sheet before them."""
    from pandas import DataFrame  # its import takes longer than a list

    several = len(sheets) > 1
    keys = list(dict.fromkeys(column.key for sheet in sheets for column in sheet.columns))
    rows: list[dict[str, Value]] = []
    for sheet in sheets:
        for row in sheet.rows:
            cells = zip(sheet.columns, row.cells, strict=True)
            values = {column.key: _plain(column, cell) for column, cell in cells}
            rows.append(values | {"table": harmless(sheet.title)})
    frame = DataFrame(rows, columns=[*(["table"] if several else []), *keys], dtype=object)
    return frame.to_csv(index=False, lineterminator="\n")


def _plain(column: Column, cell: Cell) -> Value:
    value = cell.value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return str(value) if column.decimals is None else f"{value:.{column.decimals}f}"
    return harmless(value) if isinstance(value, str) else value


def harmless(text: str) -> str:
    """The text; with an apostrophe before it where a spreadsheet would take it for a formula."""
    mark = "'" if FORMULA.match(text) else ""
    return mark + text.replace("\r\n", "\n").replace("\r", "\n")
