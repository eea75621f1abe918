"""The leaderboard's tables, results/tables/: Markdown, LaTeX (booktabs), CSV and HTML, one of each a protocol.

They are made of the run records alone and are the same byte for byte each time; content.py makes the sheets, and
the writers turn them into text.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from benchmark.errors import UserError
from benchmark.places import PAPER, RUNS
from benchmark.records.record import RunRecord, read_all
from benchmark.reporting.leaderboard.comparisons import tied_with_best
from benchmark.reporting.leaderboard.content import MARK, make_page, values_sheet
from benchmark.reporting.leaderboard.rows import Group, leaderboard
from benchmark.reporting.writers import html, latex, markdown
from benchmark.reporting.writers.csv import write_csv


def render(
    records: Sequence[RunRecord], paper_dir: Path = PAPER, runs_dir: Path | None = None
) -> dict[str, str]:
    """File name -> content of the tables.

    runs_dir: where the records' sidecars lie; None: rows are not tested against each other.
    Raises UserError where a paper's file is at fault, a record's `paper_row` names none of its variants, or a
    sidecar is missing or changed.
    """
    files: dict[str, str] = {}
    for protocol, found in groupby(leaderboard(records, paper_dir), key=lambda group: group.protocol):
        groups = list(found)
        tied = None if runs_dir is None else _tied(groups, runs_dir)
        page = make_page(protocol, groups, paper_dir, tied)
        files[f"{protocol}.md"] = markdown.page(page, MARK)
        files[f"{protocol}.html"] = html.page(page, MARK)
        alone = [make_page(protocol, groups, paper_dir, tied, [group]) for group in groups]
        files[f"{protocol}.tex"] = latex.tables(alone, MARK)
        files[f"{protocol}.csv"] = write_csv([values_sheet(groups, paper_dir)])
    return files


def _tied(groups: Sequence[Group], runs_dir: Path) -> frozenset[str]:
    """Names of the rows that tests do not tell apart from the best of their group."""
    return frozenset().union(*(tied_with_best(group, "rsum", runs_dir) for group in groups))


def table_files(root: Path = Path()) -> dict[str, str]:
    """`render` of the run records below `root`; raises UserError where there is none or one is at fault."""
    records = read_all(root / RUNS)
    if not records:
        raise UserError(f"{(root / RUNS).as_posix()}: no run records; make some with `rematch reproduce hat`")
    return render(records, root / PAPER, root / RUNS)
