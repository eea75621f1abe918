"""The leaderboard's tables, results/tables/: Markdown, LaTeX (booktabs), CSV, HTML and JSON, one of each a board.

They are made of the run records, the papers' numbers, the recipes and their estimates, and are the same byte for byte
each time; leaderboard/content.py makes the sheets, and the writers turn them into text.
"""

from __future__ import annotations

from collections.abc import Iterable

from benchmark.reporting.leaderboard.boards import Board
from benchmark.reporting.leaderboard.content import MARK, PRINTED, make_page
from benchmark.reporting.leaderboard.values import values_sheet
from benchmark.reporting.writers import html, latex, markdown
from benchmark.reporting.writers.csv import write_csv
from benchmark.reporting.writers.json import write_json


def table_files(boards: Iterable[Board]) -> dict[str, str]:
    """File name -> content of the tables; raises UserError where a paper's file is at fault."""
    files: dict[str, str] = {}
    for board in boards:
        page, values, name = make_page(board), values_sheet([board]), board.protocol
        files[f"{name}.md"] = markdown.page(page, MARK)
        files[f"{name}.html"] = html.page(page, MARK)
        files[f"{name}.tex"] = latex.tables(make_page(board, PRINTED), MARK)
        files[f"{name}.csv"] = write_csv([values])
        files[f"{name}.json"] = write_json([values])
    return files
