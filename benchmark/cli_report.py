"""Commands about what the run records say: `rematch leaderboard`, `rematch list`.

A thin layer over `benchmark/reporting`; heavy imports stand inside the commands.
"""

from __future__ import annotations

from typing import Annotated

import typer

from benchmark.cli_options import console
from benchmark.errors import UserError, nearest


def leaderboard(
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit 1 where a table is out of date.")
    ] = False,
) -> None:
    """Write results/tables/ (Markdown, LaTeX, CSV) from the run records.

    Example: rematch leaderboard --check
    """
    from benchmark.reporting.leaderboard import leaderboard as rows
    from benchmark.reporting.record import read_all
    from benchmark.reporting.study_table import check_study_tables, write_study_tables
    from benchmark.reporting.tables import check_tables, show, write_tables

    if check:
        stale = [*check_tables(), *check_study_tables()]
        for path in stale:
            console.print(f"out of date: {path.as_posix()}; run `rematch leaderboard`")
        raise typer.Exit(1 if stale else 0)
    written = write_tables()
    show(rows(read_all()), console)
    console.print(f"{len(written)} files in results/tables/")
    write_study_tables()


def list_(
    what: Annotated[
        str | None, typer.Argument(help="methods, recipes, datasets or runs. Default: all four.")
    ] = None,
) -> None:
    """List methods, recipes, datasets and runs.

    Example: rematch list recipes
    """
    from benchmark.select import LISTS, inventory

    if what is not None and what not in LISTS:
        raise UserError(f"unknown list '{what}'{nearest(what, LISTS)}")
    for table in inventory([what] if what else LISTS):
        console.print(table)
