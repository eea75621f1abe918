"""`rematch time`: a model's latency; scoring and training beside the published ways; the loading of pictures.

Heavy imports stand inside the commands.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark.cli.options import Profile, Report, ShowProgress, bundled, make_settings

if TYPE_CHECKING:
    from benchmark.run.job import Settings

time_app = typer.Typer(
    name="time",
    help="Time a model, a method's scoring or training, or the loading of pictures.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)


@time_app.command("model")
@bundled
def latency(
    recipe: Annotated[
        Path | None,
        typer.Argument(help="The recipe whose model is timed. Default: every single model of scenes."),
    ] = None,
    *,
    repeats: Annotated[int, typer.Option(min=30, help="Timed calls of every operation.")] = 30,
    profile: Profile = None,
    settings: Settings,
    report: Report,
) -> None:
    """Time encoding, scoring and ranking of a recipe's model (its trained weights where there are some).

    Example: rematch time model recipes/hat/scenes-i2t.yaml
    """
    from benchmark.reporting.timings import latency_sheet
    from benchmark.run.evaluate import time_weights
    from benchmark.run.resolve import single_models
    from benchmark.run.runs import read_run

    sheets = []
    for run in [read_run(recipe, profile)] if recipe else single_models("scenes", profile):
        found, weights = time_weights(run, settings, repeats)
        sheets.append(latency_sheet(found, f"{run.path.as_posix()}, weights {weights}"))
        if report == Report():  # one model after the other, as they are timed
            report.put(sheets.pop())
    if sheets:
        report.put(*sheets)


@time_app.command("scoring")
@bundled
def bench(
    method: Annotated[str, typer.Argument(help="The method whose scoring is timed.")],
    *,
    repeats: Annotated[int, typer.Option(min=1, help="Interleaved repeats of each case.")] = 5,
    threads: Annotated[int, typer.Option(min=1, help="Threads of torch.")] = 1,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    report: Report,
) -> None:
    """Time a method's scoring against the published loop over captions, and against the floor.

    A method that brings no cases is timed with its recipes for scenes.

    Example: rematch time scoring hat
    """
    from benchmark.registry import get_method
    from benchmark.reporting.timings import rank_sheet, scoring_sheet
    from benchmark.run.resolve import pick_device
    from benchmark.run.scoring import scenes_cases
    from benchmark.timing.scoring import rank_benchmark, scoring_benchmark

    brought, where = get_method(method).scoring_cases, pick_device(device)
    cases = scenes_cases(method, make_settings(device)) if brought is None else brought(where)
    rows = scoring_benchmark(cases, repeats=repeats, threads=threads, device=where)
    scoring = scoring_sheet(rows, f"scoring, {threads} thread(s), {where}")
    report.put(scoring, rank_sheet(rank_benchmark()))


@time_app.command("training")
@bundled
def training(
    method: Annotated[str, typer.Argument(help="The method whose training steps are timed.")],
    *,
    batch: Annotated[int, typer.Option(min=8, help="Pairs of a batch, a multiple of 4.")] = 32,
    repeats: Annotated[int, typer.Option(min=1, help="Interleaved repeats of each step.")] = 5,
    threads: Annotated[int, typer.Option(min=1, help="Threads of torch.")] = 1,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    progress: ShowProgress = True,
    report: Report,
) -> None:
    """Time a method's training steps at full size against steps that score their pairs as published.

    Memory is the peak of a step above what is there before it; the floor is the time of the step's matrix products.

    Example: rematch time training rcar --batch 32
    """
    from benchmark.reporting.timings import training_case, training_sheet
    from benchmark.run.resolve import pick_device
    from benchmark.timing.training import time_training

    where = pick_device(device)
    rows = time_training(
        method, batch, repeats=repeats, threads=threads, device=where, show_progress=progress
    )
    sheet = training_sheet(rows, f"training steps of {batch} pairs, {threads} thread(s), {where}")
    report.put(sheet, document=[training_case(row) for row in rows])
