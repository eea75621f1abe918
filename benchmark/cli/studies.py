"""`rematch study`: sets of short trainings on scenes, compared over seeds; and latencies taken in turns.

A thin layer over `benchmark/studies`; heavy imports stand inside the command.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark.cli.options import Device, Report, ShowProgress, bundled, make_settings, sound_seeds, with_log
from benchmark.errors import UserError

if TYPE_CHECKING:
    from benchmark.run.job import Settings

StudySeeds = Annotated[
    list[int] | None,
    typer.Option(
        "--seeds",
        help="One or several: --seeds 0 1 2. Default: the study's. Others are added to it.",
        callback=sound_seeds,
    ),
]
Only = Annotated[
    list[str] | None,
    typer.Option("--only", metavar="VARIANT", help="Run this variant alone; may be given several times."),
]


@bundled
def study(
    name: Annotated[str, typer.Argument(help="A study: recipes/*/studies/NAME.yaml.", metavar="NAME")],
    *,
    seeds: StudySeeds = None,
    only: Only = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be run, with the total; do nothing.")
    ] = False,
    device: Device = None,
    progress: ShowProgress = True,
    report: Report,
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
    from benchmark.reporting.studies.runs import values_sheet
    from benchmark.studies.definition import find_study, load_study
    from benchmark.studies.run import StudyPlan, run_study, shares, study_plan_sheet, summary_sheets
    from benchmark.studies.run import write_results as write_tables
    from benchmark.studies.timing import is_timing_study

    path = find_study(name)
    settings = with_log(make_settings(device, progress=progress), report)
    if is_timing_study(path):
        if seeds or only:
            raise UserError(f"study {name} is about latency: it has neither --seeds nor --only")
        _latency(path, settings, report, dry_run=dry_run)
        return
    plan = StudyPlan(load_study(path))
    todo = shares(plan, only, seeds)
    if dry_run or report == Report():
        report.put(study_plan_sheet(plan, todo))
    if dry_run:
        return
    for run in run_study(plan, todo, settings):
        budget = f"over the {plan.study.seconds:g} s of a run"
        report.say(f"{run.variant}, seed {run.seed}: {run.seconds:.1f} s, {budget}; marked in the table")
    results = plan.results(seeds)
    report.put(*([values_sheet(results)] if report.for_program else summary_sheets(results)))
    missing = plan.missing()
    if missing:
        report.say(f"{len(missing)} runs of the study are still to be made; results/studies/ is as it was")
        return
    report.say(*(f"wrote {path.as_posix()}" for path in write_tables(results)))


def _latency(path: Path, settings: Settings, report: Report, *, dry_run: bool) -> None:
    """Time the contenders of a study of latency, or say which they are."""
    from benchmark.reporting.sheet import make_sheet
    from benchmark.reporting.studies.timing import ratios_sheet, values_sheet
    from benchmark.studies.run import write_results
    from benchmark.studies.timing import (
        TimingPlan,
        groups_of,
        load_timing_study,
        run_timing_study,
    )

    plan = TimingPlan(path.stem, load_timing_study(path), settings.device)
    if dry_run:
        groups, rounds = groups_of(plan), plan.study.warm_up + plan.study.rounds
        title = f"study {plan.name}: {len(groups)} groups of contenders, {rounds} rounds each, to be timed"
        report.put(make_sheet(title, ("task", "size"), groups))
        return
    results = run_timing_study(plan, show_progress=settings.show_progress)
    shown = [ratios_sheet(groups) for groups in results.by_task().values()]
    report.put(*([values_sheet(results)] if report.for_program else shown))
    report.say(*(f"wrote {written.as_posix()}" for written in write_results(results)))
