"""The parts that all commands share: the console, the types of their options, and the settings made of them.

Heavy imports stand inside the functions.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer
from rich.console import Console
from rich.panel import Panel

from benchmark.errors import UserError, shown
from benchmark.reporting.writers.formats import Format, PageFormat, write_sheets
from benchmark.reporting.writers.json import write_document
from benchmark.reporting.writers.terminal import print_sheets

if TYPE_CHECKING:
    from benchmark.reporting.sheet import Sheet
    from benchmark.run.job import Settings
    from benchmark.run.runs import Run

console = Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 160)  # room in logs

TieRule = Literal["lower_index", "pessimistic"]
ScoredDataset = Annotated[
    str | None,
    typer.Option(
        "--dataset",
        help="Whose protocols: scenes, flickr30k, mscoco, flickr8k, or your own's name. Default: own sizes.",
    ),
]


chosen_folder: list[str] = []
"""The folder that `rematch -C FOLDER` named, as it was given; [] where none was."""


def next_step(command: str) -> str:
    """Return the line that says which command comes next."""
    where = f"-C {shlex.join(chosen_folder)} " if chosen_folder else ""
    return f"next: rematch {where}{command}"


def sound_seeds(given: Any) -> Any:
    """Return what an option of seeds was given, one or several; raises UserError for what no generator takes."""
    from benchmark.strict import LARGEST_SEED

    for seed in given if isinstance(given, list | tuple) else [] if given is None else [given]:
        if not 0 <= seed <= LARGEST_SEED:
            raise UserError(f"a seed: found {shown(seed)}, expected a whole number from 0 to {LARGEST_SEED}")
    return given


Seeds = Annotated[
    list[int] | None,
    typer.Option(
        "--seeds", help="One or several: --seeds 0 1 2. Default: the recipe's.", callback=sound_seeds
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        help="cpu, cuda or cuda:N. Default: a GPU where there is one; else scenes alone is trained unasked."
    ),
]
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
    Format,
    typer.Option("--format", help="text, json, csv or markdown; csv and json have the numbers unrounded."),
]
AnyFormat = Annotated[
    PageFormat,
    typer.Option(
        "--format", help="text, json, csv, markdown, html or latex (booktabs, to be included as it is)."
    ),
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


RUN_OPTIONS: dict[str, tuple[Any, Any]] = {
    "device": (Device, None),
    "data_dir": (DataDir, None),
    "unverified": (Unverified, False),
    "skip_corrupt": (SkipCorrupt, False),
    "vocab": (Vocab, None),
    "progress": (ShowProgress, True),
}
"""The options of `make_settings`, with their defaults."""
REPORT_OPTIONS: dict[str, tuple[Any, Any]] = {"form": (ReportFormat, "text"), "output": (Output, None)}
"""The options of a `Report`, with their defaults."""
PAGE_OPTIONS = {**REPORT_OPTIONS, "form": (AnyFormat, "text")}
"""The same of a report of pages."""


def make_settings(
    device: str | None,
    data_dir: Path | None = None,
    *,
    unverified: bool = False,
    skip_corrupt: bool = False,
    vocab: Path | None = None,
    progress: bool = False,
) -> Settings:
    """Settings of a run on the named device, else on a GPU where there is one."""
    from benchmark.run.job import Settings
    from benchmark.run.resolve import left_over, pick_device

    picked = pick_device(device)
    return Settings(
        picked,
        left_over(device, picked),
        data_dir,
        unverified=unverified,
        skip_corrupt=skip_corrupt,
        vocabulary=vocab,
        show_progress=progress,
    )


@dataclass(frozen=True)
class Report:
    """The place of a command's report, a file or the terminal, and its format."""

    form: PageFormat = "text"
    output: Path | None = None

    @property
    def for_program(self) -> bool:
        """True where the report is every number for a program to read."""
        return self.form in ("csv", "json")

    @property
    def console(self) -> Console:
        """The console for messages beside the report: stderr where the report on stdout is for a program."""
        return console if self.form == "text" or self.output is not None else Console(stderr=True)

    def say(self, *lines: str) -> None:
        """Print messages beside the report, as they are."""
        for line in lines:
            self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def put(self, *sheets: Sheet, document: Any = None) -> None:
        """Print sheets, in colour where they are text, or write them to the file and say so.

        document: stands for the sheets in JSON.
        """
        if document is not None and self.form == "json":
            self.put_text(write_document(document))
        elif self.form == "text" and self.output is None:
            print_sheets(sheets, console)
        else:
            self.put_text(write_sheets(sheets, self.form))

    def put_text(self, text: str) -> None:
        """Print a finished report as it is, or write it to the file and say so."""
        from benchmark.files import write_text

        text = text if text.endswith("\n") else f"{text}\n"
        if self.output is None:
            print(text, end="")
            return
        write_text(self.output, text)
        self.say(f"wrote {self.output.as_posix()}")

    def put_checks(self, *sheets: Sheet) -> None:
        """Put the sheets of checks; the command ends with 1 where one of them failed."""
        self.put(*sheets)
        raise typer.Exit(int(any(sheet.passed is False for sheet in sheets)))


BUNDLES: dict[str, tuple[Callable[..., object], dict[str, tuple[Any, Any]]]] = {
    "settings": (make_settings, RUN_OPTIONS),
    "report": (Report, REPORT_OPTIONS),
    "pages": (Report, PAGE_OPTIONS),
}
"""Parameters of commands that stand for several options, and how they are made of these."""


def bundled(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that its parameters `settings`, `report` and `pages` stand for."""
    hints = get_type_hints(command, localns={"Settings": object}, include_extras=True)
    bundles = {name: BUNDLES[name] for name in signature(command).parameters if name in BUNDLES}
    options: dict[str, tuple[Any, Any]] = {}
    for name, parameter in signature(command).parameters.items():
        options |= bundles[name][1] if name in bundles else {name: (hints[name], parameter.default)}

    @wraps(command)
    def run(**given: Any) -> None:
        for name, (make, parts) in bundles.items():
            given[name] = make(**{part: given.pop(part) for part in parts})
        command(**given)

    run.__annotations__ = {name: hint for name, (hint, _) in options.items()}
    parameters = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=hint)
        for name, (hint, default) in options.items()
    ]
    run.__signature__ = Signature(parameters)  # type: ignore[attr-defined]  # typer reads it
    return run


def with_log(settings: Settings, report: Report) -> Settings:
    """The settings with a line an epoch beside the report, where no progress bar is shown."""
    shown = settings.show_progress and sys.stderr.isatty()
    return settings if shown else replace(settings, log=report.say)


def say_device(runs: Sequence[Run], settings: Settings, report: Report) -> None:
    """Say that the processor is what is left over, where a run's data are made for a GPU and no device was named."""
    from benchmark.run.resolve import is_embedded

    if settings.no_gpu is not None and not all(map(is_embedded, runs)):
        report.say(f"note: on the processor, for want of a GPU: {settings.no_gpu}")


def banner(console: Console) -> None:
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
