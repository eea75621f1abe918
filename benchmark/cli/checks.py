"""Commands that check: `rematch parity`, `rematch drift`, `rematch doctor`; they exit with 1 where a check fails.

Heavy imports stand inside the commands, so that `rematch doctor` works where torch does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from benchmark.cli.options import Report, ShowProgress, bundled, console, sound_seeds
from benchmark.errors import UserError


@bundled
def parity(
    method: Annotated[str, typer.Argument(help="A method, `evaluation`, `detector`, or `all`.")],
    files: Annotated[
        list[Path] | None, typer.Argument(help="Golden files or folders. Default: tests/golden/METHOD.")
    ] = None,
    *,
    failed: Annotated[bool, typer.Option("--failed", help="Show only what is over its tolerance.")] = False,
    report: Report,
) -> None:
    """Compare with what the published implementations computed; exit 1 where anything is over its tolerance.

    Examples:

      rematch parity hat

      rematch parity evaluation my_case.npz
    """
    from benchmark.checks.parity.report import SHARED, run_parity
    from benchmark.registry import method_names

    names = [*SHARED, *method_names()] if method == "all" else [method]
    if method == "all" and files:
        raise UserError("parity all takes no files; name the method they belong to")
    report.put_checks(*(run_parity(name, files).sheet(only_failed=failed) for name in names))


NewSeeds = Annotated[
    list[int] | None,
    typer.Option(
        "--seeds",
        help="Also train these seeds, and test them against the committed seeds.",
        callback=sound_seeds,
    ),
]


@bundled
def drift(
    method: Annotated[
        str | None, typer.Argument(help="One method. Default: all that have references.")
    ] = None,
    *,
    full: Annotated[bool, typer.Option("--full", help="Also train the scenes recipes in full.")] = False,
    seeds: NewSeeds = None,
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
    report: Report,
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
        raise UserError(f"drift: {' and '.join(chosen)} do not go together; take one")
    if update or ranks:
        for path in new_references(method, ranks=ranks, progress=progress):
            console.print(f"wrote {path.as_posix()}")
        return
    from benchmark.checks.drift.check import Trainings, compare_seeds, run_drift
    from benchmark.checks.drift.show import document, markdown_sheets, text_sheets

    if runs is not None:
        found = compare_seeds(method, runs)
    else:
        found = run_drift(method, Trainings(full, tuple(dict.fromkeys(seeds or ()))), show_progress=progress)
    if report != Report():
        sheets = markdown_sheets if report.form == "markdown" else text_sheets
        report.put(*sheets(found), document=document(found))
    if report.output is not None or report.form == "text":  # a log wants the table even where a file has it
        Report().put(*text_sheets(found))
    raise typer.Exit(0 if found.ok else 1)


def new_references(method: str | None, *, ranks: bool, progress: bool) -> Iterator[Path]:
    """Write references, or their ranks alone, and say which."""
    from benchmark.checks.drift.update import update_ranks, update_references

    if ranks:
        return update_ranks(method, show_progress=progress)
    return update_references(method, console, show_progress=progress)


@bundled
def doctor(*, report: Report) -> None:
    """Check this machine: versions, GPU, disk, caches, the Hub; and say what to do about each fault.

    Example: rematch doctor --format json
    """
    from benchmark.checks.doctor import examine, findings_sheet

    report.put_checks(findings_sheet(examine()))
