"""`rematch study`: sets of short trainings on scenes, compared over seeds.

A thin layer over `benchmark/study.py` and `study_run.py`; heavy imports stand inside the command.
"""

from __future__ import annotations

from typing import Annotated

import typer

from benchmark.cli_options import Device, ShowProgress, console, make_settings

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

    Examples:

      rematch study regulators --dry-run      (the runs and their total)

      rematch study regulators --only saf --seeds 0

      rematch study regulators
    """
    from benchmark.study import load_study
    from benchmark.study_run import Plan, plan_table, run_study, shares, summary_table, write_results

    plan = Plan(load_study(name))
    todo = shares(plan, only, seeds)
    console.print(plan_table(plan, todo))
    if dry_run:
        return
    for run in run_study(plan, todo, make_settings(device, None, progress=progress)):
        budget = f"over the {plan.study.seconds:g} s of a run"
        console.print(f"{run.variant}, seed {run.seed}: {run.seconds:.1f} s, {budget}; marked in the table")
    results = plan.results(seeds)
    console.print(summary_table(results))
    missing = plan.missing()
    if missing:
        console.print(f"{len(missing)} runs of the study are still to be made; results/studies/ is as it was")
        return
    for path in write_results(results):
        console.print(f"wrote {path.as_posix()}")
