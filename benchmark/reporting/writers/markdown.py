"""Sheets as GitHub's Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tabulate import tabulate

from benchmark.reporting.sheet import Cell, Column, Page, Sheet, SheetRow, capital

EMPHASIS = {"best": "**{}**", "second": "<ins>{}</ins>", "": "{}"}


def page(page: Page, mark: str) -> str:
    """A whole page; `mark` says what generated it."""
    guide = f" [How to read this]({page.guide})." if page.guide else ""
    parts = [f"<!-- {mark} -->\n# {escape(page.title)}", escape(page.reading) + guide]
    for section in page.sections:
        parts += [f"## {escape(capital(section.title))}", *([escape(section.lead)] if section.lead else [])]
        for sheet in section.sheets:
            parts += [
                f"### {escape(capital(sheet.title))}",
                *below(sheet, f"{capital(sheet.subtitle)}." if sheet.subtitle else ""),
            ]
    if page.footnotes:
        notes = "\n".join(f"- **{mark}**: {escape(text)}" for mark, text in page.footnotes.items())
        parts += ["## Notes", notes]
    return "\n\n".join(parts) + "\n"


def below(sheet: Sheet, subtitle: str = "") -> list[str]:
    """The parts of a sheet under its title."""
    parts = [escape(subtitle)] if subtitle else []
    parts += [table(sheet)] if sheet.rows else []
    parts += [escape(note) for note in sheet.notes]
    items = [f"- {escape(name)}: {escape(text)}" for name, text in sheet.items.items()]
    parts += ["\n".join(items)] if items else []
    return [*parts, *([f"Signature: `{sheet.signature}`"] if sheet.signature else [])]


def sheets(found: Sequence[Sheet], level: int = 3) -> str:
    """Sheets one after the other, titles as headings of that level."""
    parts = []
    for sheet in found:
        title = escape(sheet.title)
        head = f"<details><summary>{title}</summary>" if sheet.folded else f"{'#' * level} {title}"
        parts += [head, *below(sheet, sheet.subtitle), *(["</details>"] if sheet.folded else [])]
    return "\n\n".join(parts) + "\n"


def table(sheet: Sheet) -> str:
    """The table alone; marks stand in a column of their own."""
    sheet = sheet.shown
    columns = list(sheet.columns)
    noted = any(row.marks for row in sheet.rows)
    if noted:
        columns.append(Column("notes", "notes", "text"))
    body = [_row(row, columns, noted) for row in sheet.rows]
    align = ["left" if column.kind == "text" else "right" for column in columns]
    heads = [escape(column.title) for column in columns]
    return tabulate(body, heads, tablefmt="pipe", colalign=align, disable_numparse=True)


def _row(row: SheetRow, columns: Sequence[Column], noted: bool) -> list[str]:
    cells = [_cell(cell, column) for cell, column in zip(row.cells, columns, strict=False)]
    if row.kind == "alarm":
        cells = [f"**{cell}**" if cell else "" for cell in cells]
    return [*cells, *([escape(" ".join(row.marks))] if noted else [])]


def _cell(cell: Cell, column: Column) -> str:
    text = f"[{escape(cell.text)}]({cell.link})" if cell.link else escape(cell.text)
    text = (EMPHASIS[cell.emphasis].format(text) if text else "") + escape(cell.tail)
    text += f" ± {escape(cell.spread)}" if column.spread and cell.spread else ""
    return f"{text} ≈" if cell.tied else text


def escape(text: str) -> str:
    """The text with whatever Markdown, HTML or GitHub would read as theirs made harmless, on one line."""
    space = " " if text.startswith(" ") else ""
    text = space + " ".join(text.split())
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*\[\]|~#$]|(?<!\w)[_@]|_(?!\w))", r"\\\1", text)
