"""Commands that run recipes: `rematch reproduce` trains and evaluates, `rematch evaluate` takes weights that are there.

Heavy imports stand inside the commands.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from benchmark.cli.extra import (
    RelevanceFile,
    RelevanceName,
    load_table,
    score_run_relevance,
)
from benchmark.cli.options import (
    Profile,
    Report,
    Seeds,
    WordVectors,
    banner,
    bundled,
    next_step,
    say_device,
    sound_seeds,
    with_log,
)
from benchmark.errors import UserError

if TYPE_CHECKING:
    from benchmark.reporting.leaderboard.made import MadeRun
    from benchmark.run.job import Settings
    from benchmark.run.runs import Run

TrackerNames = Annotated[
    list[str] | None,
    typer.Option(
        "--log", help="Show the epochs there, too: tensorboard, trackio, wandb or jsonl; several times."
    ),
]


Resume = Annotated[bool, typer.Option("--resume", help="Go on where an interrupted training stopped.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would happen, with estimates; do nothing.")]
Latency = Annotated[bool, typer.Option(help="Measure latency after the evaluation.")]
Tables = Annotated[bool, typer.Option(help="Write results/tables/ at the end.")]
Processes = Annotated[
    int | None,
    typer.Option(
        "--processes",
        min=1,
        help="Divide the work by so many processes of this machine, each with a GPU of its own: torchrun's.",
    ),
]


@bundled
def reproduce(
    target: Annotated[str, typer.Argument(help="A method, `all`, or the path of a recipe.")],
    dataset: Annotated[
        str | None,
        typer.Argument(help="A dataset, e.g. mscoco. Default: scenes without a GPU, else flickr30k."),
    ] = None,
    *,
    seeds: Seeds = None,
    resume: Resume = False,
    processes: Processes = None,
    dry_run: DryRun = False,
    profile: Profile = None,
    settings: Settings,
    word_vectors: WordVectors = None,
    latency: Latency = True,
    tables: Tables = True,
    trackers: TrackerNames = None,
    report: Report,
) -> None:
    """Train and evaluate recipes, and write run records and tables.

    Examples:

      rematch reproduce hat                          (embedded dataset where there is no GPU)

      rematch reproduce hat flickr30k --seeds 0 1 2 --dry-run

      rematch reproduce recipes/hat/scenes-i2t.yaml --resume

      rematch reproduce hat flickr30k --profile reduced --device cpu     (a smoke run, in a minute)

      rematch reproduce sgraf --log tensorboard      (then: tensorboard --logdir .rematch/logs/tensorboard)

      rematch reproduce hat mscoco --processes 4     (four GPUs for one training; docs/distributed.md)
    """
    from benchmark.data.published.catalogue import get_entry
    from benchmark.run.resolve import check_folders, check_runs, check_wanted, choose_dataset, find_runs
    from benchmark.training.trackers import check_trackers

    settings = replace(settings, word_vectors=word_vectors, resume=resume, latency=latency)
    settings = replace(settings, trackers=check_trackers(trackers or ()))
    if dataset is None and not Path(target).suffix:
        dataset = choose_dataset(settings.device)
        if get_entry(dataset).embedded:
            banner(report.console)
    runs = find_runs(target, dataset, profile, data_dir=settings.data_dir)
    check_runs(runs, settings.data_dir)
    if dry_run:
        put_plans(runs, seeds, settings, report)
        return
    check_wanted(runs, settings)
    check_folders(runs, settings.data_dir)
    if launched(processes):
        return
    with divided(with_log(settings, report), report) as (settings, first):
        made = run_all(runs, seeds, settings, report.console)
    if tables and first:
        put_tables(made, report)
    if first and get_entry(runs[0].dataset).own is not None:
        report.say(next_step(f"table {runs[0].dataset}"))


@bundled
def evaluate(
    *,
    recipe: Annotated[Path, typer.Option(help="The recipe that the weights belong to.")],
    checkpoint: Annotated[Path | None, typer.Option(help="Weights of Rematch (.safetensors).")] = None,
    official_checkpoint: Annotated[
        Path | None, typer.Option(help="A checkpoint of the method's authors.")
    ] = None,
    processes: Processes = None,
    save_sims: Annotated[
        Path | None, typer.Option(help="Also write the similarity matrix to this .npy file.")
    ] = None,
    profile: Profile = None,
    settings: Settings,
    seed: Annotated[
        int | None,
        typer.Option(
            help="The seed of the run that the weights come from. Default: the recipe's.",
            callback=sound_seeds,
        ),
    ] = None,
    latency: Annotated[bool, typer.Option(help="Measure latency too.")] = False,
    relevance: RelevanceName = None,
    relevance_file: RelevanceFile = None,
    report: Report,
) -> None:
    """Evaluate weights on a recipe's test split, under the common protocol.

    Without a checkpoint, those of the recipe's last training are taken. An authors' checkpoint leaves a
    run record of its own (<run>-official); otherwise nothing but the matrix is written.

    Examples:

      rematch evaluate --recipe recipes/hat/scenes-i2t.yaml --save-sims sims.npy

      rematch evaluate --recipe recipes/hat/flickr30k-i2t.yaml --official-checkpoint epoch=68.ckpt

      rematch evaluate --recipe recipes/hat/mscoco-i2t.yaml --relevance eccv     (several right answers a query)
    """
    from benchmark.reporting.scores import results_sheet
    from benchmark.run.evaluate import evaluate_weights
    from benchmark.run.runs import read_run

    run = read_run(recipe, profile, settings.data_dir)
    table = load_table(relevance, relevance_file, run.single.data.name)
    settings = replace(settings, latency=latency)
    if launched(processes):
        return
    with divided(settings, report) as (settings, first):
        say_device([run], settings, report)
        run = run if seed is None else run.with_seed(seed)
        done = evaluate_weights(run, settings, checkpoint, official_checkpoint, save_sims, report.console)
    if not first:
        return
    title = recipe.stem if profile is None else f"{recipe.stem}, {profile}"
    sheets = [results_sheet(done.results, title)]
    if table is not None:
        sheets.append(score_run_relevance(done, table, relevance_file))
    report.put(*sheets)


def put_plans(runs: Sequence[Run], seeds: Sequence[int] | None, settings: Settings, report: Report) -> None:
    """Print what the runs would download, train and write."""
    from benchmark.reporting.estimates import estimate_sheets

    report.put(*estimate_sheets(runs, seeds, settings.data_dir, settings.vocabulary))


def put_tables(made: Sequence[MadeRun], report: Report) -> None:
    """Write the tables anew, and print the rows of the runs just made."""
    from benchmark.reporting.generated import write_generated
    from benchmark.reporting.leaderboard.made import made_sheet

    write_generated()
    report.put(made_sheet(made))


def launched(processes: int | None) -> bool:
    """Run this command in several processes, where that is asked for; False: it is to be run in this one.

    Raises UserError where `torchrun` has started this one.
    """
    from benchmark.distributed.launch import launch, place

    if processes is not None and place() is not None:
        raise UserError(
            f"option '--processes': found {processes} in a process that torchrun started; give one of the two"
        )
    if processes is None or processes == 1:
        return False
    given = sys.argv[1:]
    where = next(at for at, word in enumerate(given) if word.split("=")[0] == "--processes")
    launch(processes, given[:where] + given[where + (1 if "=" in given[where] else 2) :])
    return True


@contextmanager
def divided(settings: Settings, report: Report) -> Iterator[tuple[Settings, bool]]:
    """Be one of the processes that torchrun started, if it did: settings with its device, and whether it is the first.

    The others say nothing.
    """
    from benchmark.distributed.launch import joined
    from benchmark.distributed.processes import processes

    with joined(settings.device) as device:
        first = processes().first
        if not first:
            report.console.quiet = True
            settings = replace(settings, show_progress=False, log=None, trackers=())
        yield replace(settings, device=device), first


def run_all(
    runs: Sequence[Run], seeds: Sequence[int] | None, settings: Settings, console: Console
) -> list[MadeRun]:
    """Make every run with every seed, saying what came of each."""
    from benchmark.reporting.leaderboard.made import MadeRun
    from benchmark.run.reproduce import reproduce as make_run
    from benchmark.run.resolve import expectation_lines, headline

    made = []
    for run in runs:
        for seed in dict.fromkeys(seeds or [run.seed]):
            console.rule(f"{run.path.as_posix()}, seed {seed}")
            record = make_run(run.with_seed(seed), settings)
            console.print(headline(record), highlight=False)
            for line in expectation_lines(run, record):
                console.print(line, highlight=False, markup=False)
            made.append(MadeRun(record, run.recipe.expected))
    return made
