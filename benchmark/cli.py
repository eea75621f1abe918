"""The `rematch` command: one thin layer over the functions of the harness.

Bad input ends with one line on stderr and exit code 2; a check that fails (parity, drift, stale tables)
exits with 1. Heavy imports stand inside the commands, so that `rematch doctor` works where torch does not.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from benchmark.cli_data import data_app
from benchmark.cli_drift import drift
from benchmark.cli_extra import (
    BankFiles,
    CaptionIds,
    ImageIds,
    PostProcessing,
    RelevanceFile,
    RelevanceName,
    Transductive,
    load_hubs,
    load_labels,
    load_table,
    print_processed,
    print_relevance,
    print_run_relevance,
)
from benchmark.cli_options import (
    DataDir,
    Device,
    Profile,
    ScoredDataset,
    Seeds,
    ShowProgress,
    SkipCorrupt,
    TieRule,
    Unverified,
    Vocab,
    WordVectors,
    banner,
    console,
    make_settings,
    several_values,
)
from benchmark.cli_report import diff, leaderboard, list_
from benchmark.cli_share import export, query
from benchmark.cli_study import study
from benchmark.errors import UserError

if TYPE_CHECKING:
    from benchmark.job import Settings

app = typer.Typer(
    name="rematch",
    help="Reproducibility benchmark for image-text retrieval: train, evaluate, and compare with the papers.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.add_typer(data_app, name="data")
app.command()(study)
app.command()(leaderboard)
app.command()(diff)
app.command()(drift)
app.command(name="list")(list_)
app.command()(query)
app.command()(export)


def main() -> None:
    """Entry point of `rematch`: user errors become one line and exit code 2."""
    try:
        app(args=several_values(several_values(sys.argv[1:], "--seeds"), "--workers"), standalone_mode=True)
    except (UserError, PermissionError, IsADirectoryError, NotADirectoryError) as error:
        said = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)
        line = Text.assemble(("error:", "red"), " ", " ".join(said.splitlines()))  # Text: no markup in it
        Console(stderr=True, soft_wrap=True).print(line)
        raise SystemExit(2) from None


# -------------------------------------------------------------------------------------- running


@app.command()
def reproduce(
    target: Annotated[str, typer.Argument(help="A method, `all`, or the path of a recipe.")],
    dataset: Annotated[
        str | None,
        typer.Argument(help="A dataset, e.g. mscoco. Default: scenes without a GPU, else flickr30k."),
    ] = None,
    seeds: Seeds = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where an interrupted training stopped.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would happen, with estimates; do nothing.")
    ] = False,
    profile: Profile = None,
    device: Device = None,
    data_dir: DataDir = None,
    unverified: Unverified = False,
    skip_corrupt: SkipCorrupt = False,
    vocab: Vocab = None,
    word_vectors: WordVectors = None,
    latency: Annotated[bool, typer.Option(help="Measure latency after the evaluation.")] = True,
    tables: Annotated[bool, typer.Option(help="Write results/tables/ at the end.")] = True,
    progress: ShowProgress = True,
) -> None:
    """Train and evaluate recipes, and write run records and tables.

    Examples:

      rematch reproduce hat                          (embedded dataset where there is no GPU)

      rematch reproduce hat flickr30k --seeds 0 1 2

      rematch reproduce recipes/hat/scenes-i2t.yaml --resume

      rematch reproduce hat mscoco --dry-run

      rematch reproduce hat flickr30k --profile reduced     (a smoke run, in a minute)
    """
    from benchmark.select import check_folders, check_recipes, choose_dataset, recipe_paths

    flags = {"unverified": unverified, "skip_corrupt": skip_corrupt, "resume": resume, "latency": latency}
    settings = make_settings(device, data_dir, profile=profile, vocab=vocab, progress=progress, **flags)
    settings = replace(settings, word_vectors=word_vectors)
    if dataset is None and not Path(target).suffix:
        dataset = choose_dataset(settings.device)
        if dataset == "scenes":
            banner()
    paths = recipe_paths(target, dataset)
    check_recipes(paths, profile)
    if dry_run:
        from benchmark.plan import dry_run_tables

        for table in dry_run_tables(paths, seeds, data_dir, profile, vocab):
            console.print(table)
        return
    check_folders(paths, data_dir, profile)
    run_all(paths, seeds, settings)
    if tables:
        leaderboard(check=False)


@app.command()
def evaluate(
    recipe: Annotated[Path, typer.Option(help="The recipe that the weights belong to.")],
    checkpoint: Annotated[Path | None, typer.Option(help="Weights of Rematch (.safetensors).")] = None,
    official_checkpoint: Annotated[
        Path | None, typer.Option(help="A checkpoint of the method's authors.")
    ] = None,
    save_sims: Annotated[
        Path | None, typer.Option(help="Also write the similarity matrix to this .npy file.")
    ] = None,
    profile: Profile = None,
    device: Device = None,
    data_dir: DataDir = None,
    unverified: Unverified = False,
    skip_corrupt: SkipCorrupt = False,
    vocab: Vocab = None,
    seed: Annotated[
        int | None, typer.Option(help="Of the run that the weights come from. Default: the recipe's.")
    ] = None,
    latency: Annotated[bool, typer.Option(help="Measure latency too.")] = False,
    relevance: RelevanceName = None,
    relevance_file: RelevanceFile = None,
    progress: ShowProgress = True,
) -> None:
    """Evaluate weights on a recipe's test split, under the common protocol.

    Without a checkpoint, those of the recipe's last training are taken. An authors' checkpoint leaves a
    run record of its own (<run>-official); otherwise nothing but the matrix is written.

    Examples:

      rematch evaluate --recipe recipes/hat/scenes-i2t.yaml --save-sims sims.npy

      rematch evaluate --recipe recipes/hat/flickr30k-i2t.yaml --official-checkpoint epoch=68.ckpt

      rematch evaluate --recipe recipes/hat/mscoco-i2t.yaml --relevance eccv     (several right answers a query)
    """
    from benchmark.evaluation.show import results_table
    from benchmark.weights import evaluate_weights, single_recipe

    table = load_table(relevance, relevance_file, single_recipe(recipe, profile).data.name)
    flags = {"unverified": unverified, "skip_corrupt": skip_corrupt}
    settings = make_settings(
        device, data_dir, profile=profile, vocab=vocab, **flags, latency=latency, progress=progress
    )
    done = evaluate_weights(recipe, seed, settings, checkpoint, official_checkpoint, save_sims, console)
    title = recipe.stem if profile is None else f"{recipe.stem}, {profile}"
    console.print(results_table(done.results, title))
    if table is not None:
        print_run_relevance(done, table, relevance_file)


@app.command()
def score(
    matrix: Annotated[
        Path, typer.Argument(help="A .npy file: images in rows, captions in columns, higher is better.")
    ],
    dataset: ScoredDataset,
    protocol: Annotated[
        str | None, typer.Option(help="One protocol of the dataset. Default: all of them.")
    ] = None,
    caption_map: Annotated[
        Path | None, typer.Option(help="A .npy file: the image row of each caption.")
    ] = None,
    ties: Annotated[TieRule, typer.Option(help="How equal scores are ranked.")] = "lower_index",
    relevance: RelevanceName = None,
    relevance_file: RelevanceFile = None,
    image_ids: ImageIds = None,
    caption_ids: CaptionIds = None,
    postprocess: PostProcessing = None,
    bank: BankFiles = None,
    transductive: Transductive = False,
) -> None:
    """Give a similarity matrix from elsewhere the same metrics and intervals.

    Examples:

      rematch score sims.npy --dataset mscoco

      rematch score sims.npy --dataset mscoco --relevance cxc --relevance-file sits_test.csv --image-ids images.txt
      --caption-ids captions.txt

      rematch score sims.npy --dataset flickr30k --postprocess qbnorm --bank captions=train.npy
    """
    from benchmark.evaluation.protocol import read_matrix, score_matrix
    from benchmark.evaluation.show import results_table
    from benchmark.reporting.signature import foreign_signature

    labels = load_labels(relevance, relevance_file, dataset, image_ids, caption_ids)
    hubs = load_hubs(postprocess, bank, transductive)
    results = score_matrix(matrix, dataset, protocol=protocol, caption_map=caption_map, tie_rule=ties)
    console.print(results_table(results, matrix.name))
    sims, owner = read_matrix(matrix, dataset, caption_map)
    for result in results:
        print(foreign_signature(result, str(sims.dtype)))
    if labels is not None:
        print_relevance(sims, labels, ties)
    if hubs is not None:
        print_processed(sims, owner, dataset, protocol, hubs, ties)


# ---------------------------------------------------------------------------------------- checks


@app.command()
def parity(
    method: Annotated[str, typer.Argument(help="A method, `evaluation`, or `all`.")],
    files: Annotated[
        list[Path] | None, typer.Argument(help="Golden files or folders. Default: tests/golden/METHOD.")
    ] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Show only what is over its tolerance.")] = False,
) -> None:
    """Compare with what the published implementations computed; exit 1 where anything is over its tolerance.

    Examples:

      rematch parity hat

      rematch parity evaluation my_case.npz
    """
    from benchmark.baseline import method_names
    from benchmark.parity import run_parity

    names = ["evaluation", *method_names()] if method == "all" else [method]
    if method == "all" and files:
        raise UserError("parity all takes no files; name the method they belong to")
    reports = [run_parity(name, files) for name in names]
    for report in reports:
        console.print(report.table(only_failed=failed))
        console.print(report.summary())
    raise typer.Exit(max(report.exit_code for report in reports))


@app.command()
def latency(
    recipe: Annotated[
        Path | None,
        typer.Argument(help="The recipe whose model is timed. Default: every single model of scenes."),
    ] = None,
    repeats: Annotated[int, typer.Option(min=30, help="Timed calls of every operation.")] = 30,
    profile: Profile = None,
    device: Device = None,
    data_dir: DataDir = None,
    unverified: Unverified = False,
    skip_corrupt: SkipCorrupt = False,
    vocab: Vocab = None,
) -> None:
    """Time encoding, scoring and ranking of a recipe's model (its trained weights where there are some).

    Example: rematch latency recipes/hat/scenes-i2t.yaml
    """
    from benchmark.evaluation.latency import latency_table
    from benchmark.select import single_models
    from benchmark.weights import time_weights

    flags = {"unverified": unverified, "skip_corrupt": skip_corrupt}
    settings = make_settings(device, data_dir, profile=profile, vocab=vocab, **flags)
    for path in [recipe] if recipe else single_models("scenes"):
        report, weights = time_weights(path, settings, repeats)
        console.print(f"{path.as_posix()}, weights {weights}")
        console.print(latency_table(report))


@app.command()
def bench(
    method: Annotated[str, typer.Argument(help="The method whose scoring is timed.")],
    repeats: Annotated[int, typer.Option(min=1, help="Interleaved repeats of each case.")] = 5,
    threads: Annotated[int, typer.Option(min=1, help="Threads of torch.")] = 1,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> None:
    """Time a method's scoring against the published loop over captions, and against the floor.

    Example: rematch bench hat
    """
    from benchmark.baseline import get_method
    from benchmark.evaluation.speed import rank_benchmark, rank_table, scoring_benchmark, scoring_table
    from benchmark.select import pick_device

    cases = get_method(method).scoring_cases
    if cases is None:
        raise UserError(f"{method} brings no scoring cases to time")
    where = pick_device(device)
    rows = scoring_benchmark(cases(where), repeats=repeats, threads=threads, device=where)
    console.print(scoring_table(rows, title=f"scoring, {threads} thread(s), {where}"))
    console.print(rank_table(rank_benchmark()))


@app.command()
def doctor() -> None:
    """Check this machine: versions, GPU, disk, caches, the Hub; and say what to do about each fault."""
    from benchmark.doctor import report

    raise typer.Exit(report(console))


# --------------------------------------------------------------------------------------- helpers


def run_all(paths: Sequence[Path], seeds: Sequence[int] | None, settings: Settings) -> None:
    """Run every recipe with every seed, saying what came of each."""
    from benchmark.reproduce import reproduce as run_recipe
    from benchmark.select import default_seed, expectation_lines, headline

    for path in paths:
        for seed in dict.fromkeys(seeds or [default_seed(path, settings.profile)]):
            console.rule(f"{path.as_posix()}, seed {seed}")
            record = run_recipe(path, seed, settings)
            console.print(headline(record), highlight=False)
            for line in expectation_lines(path, record, settings.profile):
                console.print(line, highlight=False, markup=False)
