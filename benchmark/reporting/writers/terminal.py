"""Sheets as text: in colour for a terminal, plain for a file."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmark.reporting.sheet import Cell, Column, Sheet, SheetRow

WIDTH = 160
"""Characters a line in files."""
EMPHASIS = {"best": "[bold]{}[/bold]", "second": "[underline]{}[/underline]", "": "{}"}


def print_sheets(
    sheets: Sequence[Sheet], console: Console, footnotes: Mapping[str, str] | None = None
) -> None:
    """Print sheets, and the footnotes that their marks lead to."""
    for sheet in sheets:
        if sheet.columns:
            console.print(_table(sheet))
        else:
            console.print(escape(sheet.title), highlight=False, style="bold")
        items = [f"{name}: {text}" for name, text in sheet.items.items()]
        for line in (*sheet.notes, *items, *([sheet.signature] if sheet.signature else [])):
            console.print(line, highlight=False, markup=False, soft_wrap=True)
    for mark, text in (footnotes or {}).items():
        console.print(f"[bold]{escape(mark)}[/bold] {escape(text)}", highlight=False)


def write_text(sheets: Sequence[Sheet], footnotes: Mapping[str, str] | None = None) -> str:
    """Sheets as plain text."""
    buffer = io.StringIO()
    print_sheets(sheets, Console(file=buffer, width=WIDTH, no_color=True, force_terminal=False), footnotes)
    return buffer.getvalue()


def _table(sheet: Sheet) -> Table:
    sheet = sheet.shown
    table = Table(title=escape(sheet.title), title_justify="left", show_header=sheet.headed)
    table.caption = escape(sheet.subtitle) or None
    for column in sheet.columns:
        table.add_column(
            escape(column.title), justify="left" if column.kind == "text" else "right", overflow="fold"
        )
    noted = any(row.marks for row in sheet.rows)
    if noted:
        table.add_column("notes")
    for place, row in enumerate(sheet.rows):
        if place and row.group != sheet.rows[place - 1].group:
            table.add_section()
        notes = [escape(" ".join(row.marks))] if noted else []
        table.add_row(*_cells(row, sheet.columns), *notes, style="red" if row.kind == "alarm" else None)
    return table


def _cells(row: SheetRow, columns: Sequence[Column]) -> list[str]:
    return [_cell(cell, column) for cell, column in zip(row.cells, columns, strict=True)]


def _cell(cell: Cell, column: Column) -> str:
    spread = f" ± {cell.spread}" if column.spread and cell.spread else ""
    tied = " ≈" if cell.tied else ""
    return EMPHASIS[cell.emphasis].format(escape(cell.text)) + escape(cell.tail + spread + tied)
