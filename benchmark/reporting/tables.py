"""The leaderboard's tables, results/tables/: Markdown, LaTeX (booktabs), CSV, HTML and JSON, one of each a protocol.

They are made of the run records, the papers' numbers and the recipes, and are the same byte for byte each time;
leaderboard/content.py makes the sheets, and the writers turn them into text.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmark.errors import UserError
from benchmark.places import PAPER, RECIPES, RUNS
from benchmark.records.record import RunRecord, read_all
from benchmark.reporting.leaderboard.comparisons import tied_with_best
from benchmark.reporting.leaderboard.content import (
    MARK,
    board_protocols,
    make_page,
    of_protocol,
    print_page,
    values_sheet,
)
from benchmark.reporting.leaderboard.rows import Group, leaderboard
from benchmark.reporting.leaderboard.waiting import waiting_rows
from benchmark.reporting.writers import html, latex, markdown
from benchmark.reporting.writers.csv import write_csv
from benchmark.reporting.writers.json import write_json


def render(
    records: Sequence[RunRecord],
    paper_dir: Path = PAPER,
    runs_dir: Path | None = None,
    recipes: Path = RECIPES,
) -> dict[str, str]:
    """File name -> content of the tables.

    runs_dir: where the records' sidecars lie; None: rows are not tested against each other.
    Raises UserError where a paper's file or a recipe is at fault, a record's `paper_row` names none of the paper's
    variants, or a sidecar is missing or changed.
    """
    files: dict[str, str] = {}
    groups = leaderboard(records, paper_dir)
    for protocol in board_protocols(groups, paper_dir, recipes):
        found = of_protocol(groups, protocol)
        tied = None if runs_dir is None else _tied(found, runs_dir)
        page = make_page(protocol, found, paper_dir, tied, recipes)
        rows = [row for group in found for row in group.rows]
        values = values_sheet(found, paper_dir, waiting_rows(protocol, rows, paper_dir, recipes))
        files[f"{protocol}.md"] = markdown.page(page, MARK)
        files[f"{protocol}.html"] = html.page(page, MARK)
        files[f"{protocol}.tex"] = latex.tables(print_page(page), MARK)
        files[f"{protocol}.csv"] = write_csv([values])
        files[f"{protocol}.json"] = write_json([values])
    return files


def _tied(groups: Sequence[Group], runs_dir: Path) -> frozenset[str]:
    """Names of the rows that tests do not tell apart from the best of their group."""
    return frozenset().union(*(tied_with_best(group, "rsum", runs_dir) for group in groups))


def table_files(root: Path = Path()) -> dict[str, str]:
    """`render` of the run records below `root`; raises UserError where there is none or one is at fault."""
    records = read_all(root / RUNS)
    if not records:
        own = "scores of your own go there with `rematch score MATRIX --dataset scenes --record NAME`"
        raise UserError(
            f"{(root / RUNS).as_posix()}: no run records; make some with `rematch reproduce hat`; {own}"
        )
    return render(records, root / PAPER, root / RUNS, root / RECIPES)
