"""The `rematch` command itself: its verbs, gathered, and how an error that a user can cause ends.

Bad input ends with one line on stderr and exit code 2; a check that fails (parity, drift, stale tables) exits with 1.
"""

from __future__ import annotations

import errno
import os
import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from benchmark import __version__
from benchmark.cli.checks import doctor, drift, gpu_check, parity
from benchmark.cli.cluster import jobs, submit
from benchmark.cli.data import data_app
from benchmark.cli.features import compare_features, features
from benchmark.cli.models import evaluate_model
from benchmark.cli.options import chosen_folder, several_values
from benchmark.cli.own import import_, recipe_app
from benchmark.cli.run import evaluate, reproduce
from benchmark.cli.scores import score
from benchmark.cli.share import export, new, query
from benchmark.cli.studies import study
from benchmark.cli.tables import diff, leaderboard, list_, table
from benchmark.cli.timing import bench, latency, time_app
from benchmark.errors import UserError

app = typer.Typer(
    name="rematch",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
FIRST, RUNS, CHECKS = "Begin here", "Runs and scores", "Checks and timings"
"""Panels of `rematch --help`."""

app.command(rich_help_panel=FIRST)(reproduce)
app.command(rich_help_panel=FIRST)(leaderboard)
app.command(rich_help_panel=RUNS)(submit)
app.command(rich_help_panel=RUNS)(jobs)
app.command(rich_help_panel=RUNS)(table)
app.command(name="list", rich_help_panel=RUNS)(list_)
app.command(rich_help_panel=RUNS)(evaluate)
app.command(name="evaluate-model", rich_help_panel=RUNS)(evaluate_model)
app.command(rich_help_panel=RUNS)(score)
app.command(rich_help_panel=RUNS)(query)
app.command(rich_help_panel=RUNS)(diff)
app.command(rich_help_panel=RUNS)(study)
app.command(rich_help_panel=RUNS)(export)
app.command(rich_help_panel=RUNS)(new)
data_app.command(name="import")(import_)
data_app.command()(features)
data_app.command()(compare_features)
app.add_typer(data_app, name="data", rich_help_panel=RUNS)
app.add_typer(recipe_app, name="recipe", rich_help_panel=RUNS)
app.command(rich_help_panel=CHECKS)(doctor)
app.command(rich_help_panel=CHECKS)(parity)
app.command(rich_help_panel=CHECKS)(drift)
app.command(name="gpu-check", rich_help_panel=CHECKS)(gpu_check)
app.add_typer(time_app, name="time", rich_help_panel=CHECKS)
app.command(hidden=True)(latency)  # the names of version 0.1
app.command(hidden=True)(bench)


def print_version(wanted: bool) -> None:
    """Print the version and stop, if it is asked for."""
    if wanted:
        print(f"rematch {__version__}")
        raise typer.Exit


TOGETHER = ("reproduce", "evaluate")
"""The commands that several processes can run together."""


@app.callback()
def options(
    context: typer.Context,
    folder: Annotated[
        Path | None,
        typer.Option("-C", "--folder", help="Work in this folder: data, recipes and results below it."),
    ] = None,
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and stop.", callback=print_version, is_eager=True),
    ] = False,
) -> None:
    """Reproducibility benchmark for image-text retrieval: train, evaluate, and compare with the papers.

    Examples:

      rematch doctor                               (is this machine ready?)

      rematch reproduce sgraf scenes               (minutes on a laptop)

      rematch reproduce hat flickr30k --dry-run    (what it would download and take)
    """
    del version  # its callback has seen to it
    if os.environ.get("WORLD_SIZE", "1") != "1" and context.invoked_subcommand not in TOGETHER:
        raise UserError(
            f"`rematch {context.invoked_subcommand}`: found {os.environ['WORLD_SIZE']} processes (WORLD_SIZE), "
            f"expected one; torchrun divides {' and '.join(TOGETHER)}"
        )
    chosen_folder.clear()
    if folder is None:
        return
    if context.invoked_subcommand == "data":  # where own data begin
        folder.mkdir(parents=True, exist_ok=True)
    if not folder.is_dir():
        raise UserError(f"option -C: {folder.as_posix()}: no such folder")
    chosen_folder.append(folder.as_posix())
    os.chdir(folder)


def main() -> None:
    """Run the command line; what a user or the system can cause becomes one line on stderr and exit code 2.

    A run that is stopped ends with 130 (SIGINT) or 143 (SIGTERM), and with a line that says how to go on.
    """
    arguments = several_values(several_values(sys.argv[1:], "--seeds"), "--workers")
    try:
        with stopping_in_order() as stopped:
            try:
                app(args=arguments, prog_name="rematch", standalone_mode=True)
            finally:
                sys.stdout.flush()  # now, and not where nobody hears of a full disk
    except (UserError, OSError, RuntimeError, MemoryError) as error:
        said = explain_fault(error)
        if said is None:
            raise
        if not _heard_elsewhere(error, said):
            _say("error", said)
        if isinstance(error, OSError):
            _drop_output()
        raise SystemExit(2) from None
    except SystemExit as end:
        if end.code != 130:
            raise
        number = signal.Signals(stopped[0] if stopped else signal.SIGINT)
        said = f"by {number.name}; {how_to_go_on(arguments)}"
        if not _heard_elsewhere(end, f"stopped {said}"):
            _say("stopped", said)
        raise SystemExit(128 + number) from None


def _heard_elsewhere(error: BaseException, said: str) -> bool:
    """Return True where another process of the run says what went wrong, or has said it."""
    if "RANK" not in os.environ:
        return False
    # torchrun stops all others once a process has ended; this one speaks first
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    from benchmark.distributed.launch import report_end, says_first
    from benchmark.distributed.processes import LostProcessError, TogetherError

    ours = not isinstance(error, LostProcessError | TogetherError | SystemExit)
    return report_end(said, ours=ours) or not says_first(said, ours=ours)


def how_to_go_on(arguments: Sequence[str]) -> str:
    """Return what to do after a stop; the command is spelled out, since it may have been given by a session of nox."""
    verb = "" if "--dry-run" in arguments else _verb(arguments)
    if verb == "reproduce":
        command = shlex.join(["rematch", *(part for part in arguments if part != "--resume"), "--resume"])
        return f"`{command}` goes on after the last epoch that was finished"
    if verb == "data":
        return "files that came or were made whole are kept, and the same command goes on"
    if verb == "study":
        return "the same command goes on with the runs that are not finished (a study needs no --resume)"
    return "nothing half-written is left behind"


def _verb(arguments: Sequence[str]) -> str:
    """Return the verb of a command, which may come after a folder."""
    words = list(arguments)
    while words and words[0].startswith("-"):
        words = words[2 if words[0] in ("-C", "--folder") else 1 :]
    return words[0] if words else ""


EXHAUSTED = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""What libraries turn into errors of their own, with the system's words for it inside."""


def explain_fault(error: BaseException) -> str | None:
    """Put an error in one line; None where it is a fault of ours, which keeps its traceback."""
    if isinstance(error, UserError):
        said = str(error)
    elif isinstance(error, MemoryError):
        said = "out of memory; take smaller sizes, or close other programs"
    elif isinstance(error, OSError) and error.strerror and error.errno is not None:
        said = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    else:  # of a library, with or without the traceback of another process in it
        said = next(
            (line for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__
        )
        spent = any(os.strerror(number) in str(error) for number in EXHAUSTED) or "out of memory" in str(
            error
        )
        if not isinstance(error, OSError) and not spent:
            return None
    return str(UserError(" ".join(said.split())))


def _say(what: str, said: str) -> None:
    line = Text.assemble((f"{what}:", "red"), " ", said)  # Text: no markup in it
    with suppress(OSError):  # stderr may lie on the disk that is full
        Console(stderr=True, soft_wrap=True).print(line)


def _drop_output() -> None:
    """Leave nothing for Python to write when it ends, which it would complain about in a traceback."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def stopping_in_order() -> Iterator[list[int]]:
    """Let SIGTERM end a command as SIGINT does, files put in order; the list then holds its number."""
    received: list[int] = []
    own = os.getpid()

    def stop(number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)  # a second one ends it at once
        if os.getpid() != own:  # a loader process: it has nothing to put in order
            os.kill(os.getpid(), number)
            return
        received.append(number)
        raise KeyboardInterrupt

    former = signal.signal(signal.SIGTERM, stop)
    try:
        yield received
    finally:
        signal.signal(signal.SIGTERM, former)
