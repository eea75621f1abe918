"""`rematch time`: latency of a model; scoring, training, the detector beside the published ways; loading; estimates.

Heavy imports stand inside the commands.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark.cli.options import Profile, Report, ShowProgress, bundled, make_settings, say_device

if TYPE_CHECKING:
    from benchmark.run.job import Settings

time_app = typer.Typer(
    name="time",
    help="Time a model, a method's scoring or training, the detector, the loading of pictures; estimate trainings.",
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
    runs = [read_run(recipe, profile, settings.data_dir)] if recipe else single_models("scenes", profile)
    say_device(runs, settings, report)
    for run in runs:
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


@time_app.command("detector")
@bundled
def time_detector(
    *,
    proposals: Annotated[int, typer.Option(min=1, help="Proposals of a picture.")] = 300,
    height: Annotated[int, typer.Option(min=32, help="Pixels of a picture.")] = 600,
    width: Annotated[int, typer.Option(min=32, help="Pixels of a picture.")] = 800,
    pictures: Annotated[int, typer.Option(min=1, help="Pictures of one call; a GPU wants 8.")] = 1,
    repeats: Annotated[int, typer.Option(min=1, help="Interleaved repeats of each case.")] = 3,
    threads: Annotated[int, typer.Option(min=1, help="Threads of torch.")] = 1,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    report: Report,
) -> None:
    """Time the detector of regions against the recorded way of running it, and against the floor.

    The network has its full size, with weights by formula. On a GPU, TF32 is timed against float32 too.

    Examples:

      rematch time detector

      rematch time detector --pictures 8 --device cuda
    """
    from benchmark.reporting.timings import detector_sheet
    from benchmark.run.resolve import pick_device
    from benchmark.timing.detector import detector_benchmark

    where = pick_device(device)
    speed = detector_benchmark(
        height=height,
        width=width,
        proposals=proposals,
        pictures=pictures,
        repeats=repeats,
        threads=threads,
        device=where,
    )
    report.put(detector_sheet(speed, f"detector, {threads} thread(s), {where}"))


@time_app.command("estimates")
@bundled
def estimate_training(
    recipes: Annotated[
        list[Path] | None,
        typer.Argument(help="Recipes of single models. Default: all full-size ones without an estimate."),
    ] = None,
    *,
    update: Annotated[
        bool,
        typer.Option("--update", help="Write results/estimates.json, from which tables take them, and .md."),
    ] = False,
    report: Report,
) -> None:
    """Estimate time and memory of trainings from a few steps on synthetic batches; a large model takes a minute.

    Each is written as soon as it is known, so that the same command goes on after a stop. A recipe that is named is
    estimated again: the shorter time stays, as other work on the machine only adds to it.

    Examples:

      rematch time estimates recipes/hat/flickr30k-i2t.yaml

      rematch time estimates --update
    """
    from rich.progress import track

    from benchmark.files import write_text
    from benchmark.places import ESTIMATES
    from benchmark.records.estimate import read_estimates, write_estimates
    from benchmark.reporting.estimates import trainings_sheet
    from benchmark.reporting.writers.formats import write_sheets
    from benchmark.run.estimates import estimate_runs, reported_runs, unknown_runs
    from benchmark.run.runs import read_run

    kept = read_estimates()
    runs = [read_run(path) for path in recipes] if recipes else unknown_runs(reported_runs(), kept)
    found = {}
    bar = track(estimate_runs(runs), "estimating", len(runs), disable=not sys.stderr.isatty(), transient=True)
    for recipe, estimate in bar:
        found[recipe] = estimate.or_shorter(kept.get(recipe))
        if update:
            write_estimates(kept | found)
            write_text(
                ESTIMATES.with_suffix(".md"), write_sheets([trainings_sheet(kept | found)], "markdown")
            )
    report.put(trainings_sheet(found))


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


@time_app.command("targets")
@bundled
def targets(
    *,
    show: Annotated[bool, typer.Option("--show", help="Measure nothing: print what is known.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Measure everything anew.")] = False,
    repeats: Annotated[int, typer.Option(min=1, help="Interleaved repeats of each case.")] = 3,
    progress: ShowProgress = True,
    report: Report,
) -> None:
    """Measure every speed that has a target, and write it to results/speed.json and docs/papers/speed.md.

    The targets, in results/speed-targets.yaml, are for training steps and their memory, scoring, ranks, and epochs on
    scenes; one thread, about 25 minutes on an idle machine. Each figure is written as soon as it is known, so that the
    same command goes on after a stop.

    Examples:

      rematch time targets

      rematch time targets --show      (what was measured so far)
    """
    from tqdm import tqdm

    from benchmark.records.targets import read_measurements, read_targets, write_measurements
    from benchmark.reporting.targets import targets_sheet, write_page
    from benchmark.run.targets import begin_measurements, measure_targets

    wanted, known = read_targets(), read_measurements()
    if not show:
        known = begin_measurements(known, wanted, again=again)
        write_page(wanted, known)  # now, and not after half an hour: it may be at fault
        lacking = [target for target in wanted if target.name not in known.rows]
        with tqdm(
            total=len(lacking), desc="measuring", leave=False, disable=None if progress else True
        ) as bar:
            for target, found in zip(lacking, measure_targets(lacking, repeats), strict=True):
                known = known.model_copy(update={"rows": known.rows | found})
                write_measurements(known)
                bar.set_postfix_str(target.name)
                bar.update()
        write_page(wanted, known)
    report.put(targets_sheet(wanted, known))
