"""The parts that all commands share: the console, the types of their options, and the settings made of them.

Heavy imports stand inside the functions.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.panel import Panel

if TYPE_CHECKING:
    from benchmark.reporting.sheet import Sheet
    from benchmark.reporting.writers.formats import Format
    from benchmark.run.job import Settings

console = Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 160)  # room in logs

TieRule = Literal["lower_index", "pessimistic"]
ScoredDataset = Annotated[
    str | None,
    typer.Option(
        "--dataset", help="Whose protocols: scenes, flickr30k, mscoco, flickr8k. Default: own sizes."
    ),
]
Seeds = Annotated[
    list[int] | None, typer.Option("--seeds", help="One or several: --seeds 0 1 2. Default: the recipe's.")
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N. Default: a GPU where there is one.")]
DataDir = Annotated[Path | None, typer.Option(help="Local data in place of the Hub's.")]
Profile = Annotated[
    str | None, typer.Option(help="Another size of the recipes: recipes/METHOD/profiles/PROFILE.yaml.")
]
Unverified = Annotated[
    bool,
    typer.Option("--unverified", help="Take data that are not the published split; every table says so."),
]
SkipCorrupt = Annotated[
    bool, typer.Option("--skip-corrupt", help="Leave out pictures that cannot be decoded, and record which.")
]
Vocab = Annotated[
    Path | None,
    typer.Option(
        "--vocab",
        "--dictionary",
        help="A word vocabulary in the authors' layout (.json), or a dictionary of word vectors (.mat, .txt, .json).",
    ),
]
WordVectors = Annotated[
    Path | None,
    typer.Option(
        help="word2vec's vectors in a local file, in place of the Hub's, for recipes that begin with them."
    ),
]
ReportFormat = Annotated[
    Literal["text", "json", "csv", "markdown"],
    typer.Option("--format", help="text, json, csv or markdown; csv and json have the numbers unrounded."),
]
Output = Annotated[
    Path | None, typer.Option("--output", help="Write the report to this file in place of the terminal.")
]
ShowProgress = Annotated[bool, typer.Option("--progress/--no-progress", help="Show progress bars.")]


def several_values(arguments: Sequence[str], option: str) -> list[str]:
    """Let `option` take several numbers: `--seeds 0 1 2` becomes `--seeds 0 --seeds 1 --seeds 2`."""
    spread: list[str] = []
    open_option = False
    for argument in arguments:
        number = argument.lstrip("-").isdigit()
        if open_option and number and spread[-1] != option:
            spread.append(option)
        open_option = argument.split("=")[0] == option or (open_option and number)
        spread.append(argument)
    return spread


def make_settings(
    device: str | None,
    data_dir: Path | None,
    *,
    unverified: bool = False,
    skip_corrupt: bool = False,
    vocab: Path | None = None,
    resume: bool = False,
    latency: bool = False,
    progress: bool = False,
) -> Settings:
    """Settings of a run on the named device, else on a GPU where there is one."""
    from benchmark.run.job import Settings
    from benchmark.run.resolve import pick_device

    return Settings(
        pick_device(device),
        data_dir,
        unverified=unverified,
        skip_corrupt=skip_corrupt,
        vocabulary=vocab,
        resume=resume,
        latency=latency,
        show_progress=progress,
    )


def put_sheets(sheets: Sequence[Sheet], form: Format, output: Path | None) -> None:
    """Print sheets in a format, in colour where it is text, or write them to a file and say so."""
    from benchmark.reporting.writers.formats import write_sheets
    from benchmark.reporting.writers.terminal import print_sheets

    if form == "text" and output is None:
        print_sheets(sheets, console)
    else:
        put_report(write_sheets(sheets, form), output)


def talk(form: Format, output: Path | None) -> Console:
    """Return the console for messages beside a report: stderr where the report on stdout is for a program."""
    return console if form == "text" or output is not None else Console(stderr=True)


def put_report(text: str, output: Path | None) -> None:
    """Print a finished report as it is, or write it to a file and say so."""
    from benchmark.files import write_text

    text = text if text.endswith("\n") else f"{text}\n"
    if output is None:
        print(text, end="")
        return
    write_text(output, text)
    console.print(f"wrote {output.as_posix()}", highlight=False, markup=False, soft_wrap=True)


def banner() -> None:
    """Say that this is not the paper's data."""
    console.print(
        Panel(
            "No CUDA device in use: running on [bold]scenes[/], the small dataset that Rematch makes itself, with "
            "scaled-down models.\nThe same pipeline, in minutes; the numbers are not comparable with the papers'.\n"
            "With a GPU, name the dataset: [bold]flickr30k[/] or [bold]mscoco[/].",
            title="embedded dataset",
            border_style="yellow",
        )
    )
