"""`rematch drift`: a thin layer over benchmark/drift; heavy imports stand inside the command."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from benchmark.cli_options import Output, ReportFormat, ShowProgress, console, put_report
from benchmark.errors import UserError


def drift(
    method: Annotated[
        str | None, typer.Argument(help="One method. Default: all that have references.")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Also train the scenes recipes in full.")] = False,
    seeds: Annotated[
        list[int] | None,
        typer.Option("--seeds", help="Also train these seeds, and test them against the committed seeds."),
    ] = None,
    runs: Annotated[
        Path | None,
        typer.Option("--runs", help="Only test the seeds of the run records in this folder; train nothing."),
    ] = None,
    update: Annotated[
        bool, typer.Option("--update", help="Write new references from this machine's results.")
    ] = False,
    ranks: Annotated[
        bool,
        typer.Option("--update-ranks", help="Write the ranks of the committed weights anew, nothing else."),
    ] = False,
    form: ReportFormat = "text",
    output: Output = None,
    progress: ShowProgress = True,
) -> None:
    """Re-score committed weights, query by query, and repeat the first training steps; exit 1 on drift.

    Examples:

      rematch drift

      rematch drift hat --full

      rematch drift --format markdown --output drift.md

      rematch drift sgraf --seeds 3 4 5
    """
    chosen = [flag for flag, on in (("--update", update), ("--update-ranks", ranks), ("--runs", runs)) if on]
    chosen += ["--full or --seeds"] if full or seeds else []
    if len(chosen) > 1:
        raise UserError(f"drift: {' and '.join(chosen)} don't go together; take one")
    if update or ranks:
        for path in new_references(method, ranks=ranks, progress=progress):
            console.print(f"wrote {path.as_posix()}")
        return
    from benchmark.drift.check import Trainings, compare_seeds, run_drift
    from benchmark.drift.show import render, text_sheets
    from benchmark.reporting.sheets import print_sheets

    if runs is not None:
        report = compare_seeds(method, runs)
    else:
        report = run_drift(method, Trainings(full, tuple(dict.fromkeys(seeds or ()))), show_progress=progress)
    if output is not None or form != "text":
        put_report(render(report, form), output)
    if output is not None or form == "text":  # a log wants the table even where a file has the report
        print_sheets(text_sheets(report), console)
    raise typer.Exit(0 if report.ok else 1)


def new_references(method: str | None, *, ranks: bool, progress: bool) -> Iterator[Path]:
    """Write references, or their ranks alone, and say which."""
    from benchmark.drift.update import update_ranks, update_references

    if ranks:
        return update_ranks(method, show_progress=progress)
    return update_references(method, console, show_progress=progress)
