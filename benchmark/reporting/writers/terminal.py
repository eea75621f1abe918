"""Tables in the terminal: a short form of the groups, with the reasons below."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmark.records.paper import PAPER
from benchmark.reporting.leaderboard.content import GroupTable, Page, TableRow, make_page
from benchmark.reporting.leaderboard.rows import Group
from benchmark.reporting.writers.markdown import HEADS, LEFT, capital

SHOWN = ("n", "i2t_r1", "t2i_r1", "rsum", "interval", "difference", "verdict")
STYLES = {"best": "[bold]{}[/bold]", "second": "[underline]{}[/underline]", "": "{}"}


def show(groups: Sequence[Group], console: Console | None = None, paper_dir: Path = PAPER) -> None:
    """Print both R@1, rsum with its spread and interval, the verdict, and the notes of each protocol."""
    console = console or Console()
    for protocol, found in groupby(groups, key=lambda group: group.protocol):
        page = make_page(protocol, list(found), paper_dir)
        for sheet in page.sheets:
            console.print(_table(page, sheet))
        for mark, text in page.notes.items():
            console.print(f"[bold]{escape(mark)}[/bold] {escape(text)}", highlight=False)


def _table(page: Page, sheet: GroupTable) -> Table:
    title = f"{page.protocol}. {sheet.group.title}\n{capital(sheet.setting)}"
    table = Table(title=escape(title), caption=escape(sheet.size))
    columns = [name for name in SHOWN if name in sheet.columns]
    for name in ("run", *columns, "notes"):
        table.add_column(HEADS.get(name, name), justify="left" if name in LEFT else "right")
    for line in sheet.lines:
        table.add_row(*_row(line, columns))
    return table


def _row(line: TableRow, columns: Sequence[str]) -> list[str]:
    cells = []
    for name in columns:
        cell = line.cells[name]
        spread = f" ± {cell.spread}" if name == "rsum" and cell.spread else ""
        cells.append(STYLES[cell.rank].format(escape(cell.text)) + escape(spread))
    return [escape(line.run or line.name), *cells, escape(" ".join(line.marks))]
