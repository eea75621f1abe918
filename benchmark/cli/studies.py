"""`rematch study`: sets of short trainings on scenes, compared over seeds; and latencies taken in turns.

A thin layer over `benchmark/studies`; heavy imports stand inside the command.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmark.cli.options import Device, ShowProgress, console, make_settings, put_sheets
from benchmark.errors import UserError

StudySeeds = Annotated[
    list[int] | None,
    typer.Option(
        "--seeds", help="One or several: --seeds 0 1 2. Default: the study's. Others are added to it."
    ),
]
Only = Annotated[
    list[str] | None,
    typer.Option("--only", metavar="VARIANT", help="Run this variant alone; may be given several times."),
]


def study(
    name: Annotated[str, typer.Argument(help="A study: recipes/*/studies/NAME.yaml.", metavar="NAME")],
    seeds: StudySeeds = None,
    only: Only = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be run, with the total; do nothing.")
    ] = False,
    device: Device = None,
    progress: ShowProgress = True,
) -> None:
    """Train the variants of a study on scenes with several seeds, and write one table with n and intervals.

    Killed, it goes on where it stopped: finished runs are kept in .rematch/studies/ until their recipe changes.
    results/studies/ is written when all runs of the study are there. An analogue: never the papers' numbers.
    A study of latency times its contenders in turns instead, on an otherwise quiet machine.

    Examples:

      rematch study regulators --dry-run      (the runs and their total)

      rematch study regulators --only saf --seeds 0

      rematch study regulators
    """
    from benchmark.studies.definition import find_study, load_study
    from benchmark.studies.run import (
        StudyPlan,
        run_study,
        shares,
        study_plan_sheet,
        summary_sheets,
        write_results,
    )
    from benchmark.studies.timing import is_timing_study

    path = find_study(name)
    if is_timing_study(path):
        if seeds or only:
            raise UserError(f"study {name} is about latency: it has neither --seeds nor --only")
        _latency(path, device, dry_run=dry_run, progress=progress)
        return
    plan = StudyPlan(load_study(path))
    todo = shares(plan, only, seeds)
    put_sheets([study_plan_sheet(plan, todo)], "text", None)
    if dry_run:
        return
    for run in run_study(plan, todo, make_settings(device, None, progress=progress)):
        budget = f"over the {plan.study.seconds:g} s of a run"
        console.print(f"{run.variant}, seed {run.seed}: {run.seconds:.1f} s, {budget}; marked in the table")
    results = plan.results(seeds)
    put_sheets(summary_sheets(results), "text", None)
    missing = plan.missing()
    if missing:
        console.print(f"{len(missing)} runs of the study are still to be made; results/studies/ is as it was")
        return
    for path in write_results(results):
        console.print(f"wrote {path.as_posix()}")


def _latency(path: Path, device: str | None, *, dry_run: bool, progress: bool) -> None:
    """The same for a study of latency."""
    from benchmark.reporting.studies.timing import ratios_sheet
    from benchmark.studies.timing import (
        TimingPlan,
        groups_of,
        load_timing_study,
        run_timing_study,
        write_timing_results,
    )

    settings = make_settings(device, None, progress=progress)
    plan = TimingPlan(path.stem, load_timing_study(path), settings.device)
    if dry_run:
        groups, rounds = groups_of(plan), plan.study.warm_up + plan.study.rounds
        console.print(
            f"study {plan.name}: {len(groups)} groups of contenders, {rounds} rounds each, to be timed:"
        )
        for task, size in groups:
            console.print(f"  {task}" if size is None else f"  {task}: {size}")
        return
    results = run_timing_study(plan, show_progress=settings.show_progress)
    sheets = [ratios_sheet(groups) for groups in results.by_task().values()]
    put_sheets(sheets, "text", None)
    for written in write_timing_results(results):
        console.print(f"wrote {written.as_posix()}")
