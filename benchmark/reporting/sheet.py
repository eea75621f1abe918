"""Sheets: small tables that are printed as text, as Markdown and in files, for reports such as diff's and drift's.

A report is a list of sheets; what stands in their cells is text already. The tables of results/tables/ are not
made of these: they have groups, marks and footnotes of their own.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table

Format = Literal["text", "markdown", "json"]
WIDTH = 160
"""Of text in files."""


@dataclass(frozen=True)
class Sheet:
    """A table with a title and lines below it; one without a header is its title and its lines alone."""

    title: str
    header: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    notes: tuple[str, ...] = ()
    left: int = 1
    """So many of the first columns are text, the others are numbers."""
    loud: frozenset[int] = frozenset()
    """Rows to look at."""
    folded: bool = False
    """In Markdown: shown when asked for."""


def number(value: float | None, sign: bool = False) -> str:
    """A number with at most six digits; with `sign`, a change."""
    if value is None:
        return ""
    return f"{value + 0.0:+.6g}" if sign and value else f"{value + 0.0:.6g}"


def print_sheets(sheets: Sequence[Sheet], console: Console) -> None:
    """Sheets as text."""
    for sheet in sheets:
        if sheet.header:
            console.print(_table(sheet))
        else:
            console.print(escape(sheet.title), highlight=False, style="bold")
        for note in sheet.notes:
            console.print(f"  {note}", highlight=False, markup=False, soft_wrap=True)


def _table(sheet: Sheet) -> Table:
    table = Table(title=escape(sheet.title), title_justify="left")
    for place, name in enumerate(sheet.header):
        table.add_column(escape(name), justify="left" if place < sheet.left else "right")
    for place, row in enumerate(sheet.rows):
        table.add_row(*map(escape, row), style="red" if place in sheet.loud else None)
    return table


def text_of(sheets: Sequence[Sheet]) -> str:
    """Sheets as plain text, for a file."""
    buffer = io.StringIO()
    print_sheets(sheets, Console(file=buffer, width=WIDTH, no_color=True, force_terminal=False))
    return buffer.getvalue()


def markdown_of(sheets: Sequence[Sheet], level: int = 3) -> str:
    """Sheets as GitHub's Markdown, titles as headings of that level."""
    return "\n".join(_markdown(sheet, level) for sheet in sheets)


def _markdown(sheet: Sheet, level: int) -> str:
    title = _plain(sheet.title)
    lines = [f"<details><summary>{title}</summary>" if sheet.folded else f"{'#' * level} {title}", ""]
    if sheet.header:
        rule = (":--" if place < sheet.left else "--:" for place in range(len(sheet.header)))
        lines += [_row(sheet.header), _row(rule)]
        for place, row in enumerate(sheet.rows):
            cells = [_plain(cell) for cell in row]
            lines.append(_row(f"**{cell}**" if cell and place in sheet.loud else cell for cell in cells))
        lines.append("")
    lines += [f"{_plain(note)}\n" for note in sheet.notes]
    return "\n".join([*lines, "</details>\n"] if sheet.folded else lines)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _plain(text: str) -> str:
    """`text` with what Markdown and HTML would read as theirs made harmless: captions may say anything."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*\[\]|~@#]|(?<!\w)_|_(?!\w))", r"\\\1", " ".join(text.split()))
