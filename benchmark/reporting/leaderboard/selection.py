"""A part of a board as a table of its own: the benchmark, the rows and the columns, by the names that people type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from benchmark.errors import UserError, nearest
from benchmark.evaluation.protocol import find_protocol
from benchmark.reporting.leaderboard.boards import Board
from benchmark.reporting.leaderboard.cells import COLUMNS, OVER

SEVERAL = {
    **{f"r{k}": tuple(f"{way}_r{k}" for way in OVER) for k in (1, 5, 10)},
    **{way: tuple(f"{way}_r{k}" for k in (1, 5, 10)) for way in OVER},
    "rsum": ("rsum", "sd"),
}
"""Names that stand for several columns."""
CHOICES = (*SEVERAL, *(key for key in COLUMNS if key not in ("method", "run", "sd", *SEVERAL)))
"""Everything that `choose_columns` knows."""


def choose_boards(name: str, boards: Sequence[Board]) -> list[Board]:
    """The board of a protocol, or all of a dataset; raises UserError with the nearest name for any other."""
    known: dict[str, list[Board]] = {}
    for board in boards:
        protocol = find_protocol(board.protocol)
        for key in {board.protocol, board.protocol if protocol is None else protocol.dataset}:
            known.setdefault(key, []).append(board)
    if name not in known:
        raise UserError(f"unknown table '{name}'{nearest(name, known)}")
    return known[name]


def choose_columns(names: Sequence[str]) -> tuple[str, ...]:
    """The keys that column names stand for, in the order of a table; raises UserError with the nearest valid name."""
    for name in names:
        if name not in CHOICES:
            raise UserError(f"unknown column '{name}'{nearest(name, CHOICES)}")
    wanted = {key for name in names for key in SEVERAL.get(name, (name,))}
    return tuple(key for key in COLUMNS if key in wanted)


def choose_rows(board: Board, names: Sequence[str], *, papers: bool) -> Board:
    """The rows of some methods and runs (none named: all); without `papers`, our runs alone.

    Raises UserError for a name that no row has, and where nothing is left.
    """
    chosen = board.only(names) if names else board
    if papers:
        return chosen
    if not chosen.groups:
        commands = dict.fromkeys(row.command for row in chosen.waiting if row.command)
        hint = f": `{next(iter(commands))}` makes one" if commands else ""
        raise UserError(f"table '{board.protocol}': no run of ours yet{hint}")
    return replace(chosen, waiting=())
