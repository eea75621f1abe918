"""The `rematch` command itself: its verbs, gathered, and how an error that a user can cause ends.

Bad input ends with one line on stderr and exit code 2; a check that fails (parity, drift, stale tables) exits with 1.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from benchmark import __version__
from benchmark.cli.checks import doctor, drift, parity
from benchmark.cli.data import data_app
from benchmark.cli.options import several_values
from benchmark.cli.run import evaluate, reproduce
from benchmark.cli.scores import score
from benchmark.cli.share import export, new, query
from benchmark.cli.studies import study
from benchmark.cli.tables import diff, leaderboard, list_
from benchmark.cli.timing import bench, latency, time_app
from benchmark.errors import UserError

app = typer.Typer(
    name="rematch",
    help="Reproducibility benchmark for image-text retrieval: train, evaluate, and compare with the papers.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
FIRST, RUNS, CHECKS = "Begin here", "Runs and scores", "Checks and timings"
"""Panels of `rematch --help`."""

app.command(rich_help_panel=FIRST)(reproduce)
app.command(rich_help_panel=FIRST)(leaderboard)
app.command(name="list", rich_help_panel=RUNS)(list_)
app.command(rich_help_panel=RUNS)(evaluate)
app.command(rich_help_panel=RUNS)(score)
app.command(rich_help_panel=RUNS)(query)
app.command(rich_help_panel=RUNS)(diff)
app.command(rich_help_panel=RUNS)(study)
app.command(rich_help_panel=RUNS)(export)
app.command(rich_help_panel=RUNS)(new)
app.add_typer(data_app, name="data", rich_help_panel=RUNS)
app.command(rich_help_panel=CHECKS)(doctor)
app.command(rich_help_panel=CHECKS)(parity)
app.command(rich_help_panel=CHECKS)(drift)
app.add_typer(time_app, name="time", rich_help_panel=CHECKS)
app.command(hidden=True)(latency)  # the names of version 0.1
app.command(hidden=True)(bench)


def print_version(wanted: bool) -> None:
    """Print the version and stop, if it is asked for."""
    if wanted:
        print(f"rematch {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and stop.", callback=print_version, is_eager=True),
    ] = False,
) -> None:
    """Reproducibility benchmark for image-text retrieval: train, evaluate, and compare with the papers."""


def main() -> None:
    """Run the command line; errors that a user can cause become one line on stderr and exit code 2."""
    arguments = several_values(several_values(sys.argv[1:], "--seeds"), "--workers")
    try:
        app(args=arguments, prog_name="rematch", standalone_mode=True)
    except (UserError, PermissionError, IsADirectoryError, NotADirectoryError) as error:
        said = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)
        line = Text.assemble(("error:", "red"), " ", " ".join(said.splitlines()))  # Text: no markup in it
        Console(stderr=True, soft_wrap=True).print(line)
        raise SystemExit(2) from None
