"""What the tables show, whatever the format: settings in words, lines and cells, marks and their notes.

A page is a protocol, a sheet one table of it: runs whose signatures are the same. Why a run can't be held against its
paper stands in notes that runs share; a run carries their letters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Literal

from benchmark.records.paper import PAPER, find_paper
from benchmark.records.parts import RECALLS
from benchmark.records.record import RunRecord
from benchmark.records.signature import Signature, parse
from benchmark.reporting.leaderboard.rows import Group, Row
from benchmark.statistics.verdict import ENOUGH_SEEDS, explain_verdict

NONE = "n/a"
"""Not known, not measured, or not to be compared."""
NUMBERS = (*RECALLS, "rsum")
DAGGER = "†"
OF_MEMBERS = "and the departures of its members, whose marks stand with them among the single models"
KINDS = {
    "reported": ("paper", "Paper's row: {}"),
    "cited": ("paper (cited)", "Second-hand, read in another paper: {}"),
    "derived": ("paper (derived)", "No row of a table, computed from statements: {}"),
}
"""What a paper's line is called, and what its note says."""
ADDED_UP = "; it prints no rsum, which is the sum of its rounded recalls"
TESTS = (
    "a difference must hold over images (paired sign-flip test) and, where both runs have three seeds or more, over "
    "seeds (Welch's t test)"
)
"""How comparisons.tied_with_best tells rows apart."""
INPUTS = re.compile(r"(regions|guides) of '(\w+)': (.*) \(identity \w+\)")
"""A record's note about vectors that a model reads in place of pixels, or beside them."""
INPUT_NAMES = {"regions": "region features", "guides": "image vectors"}

Rank = Literal["", "best", "second"]


@dataclass(frozen=True)
class Cell:
    """One number or word; `spread`: the standard deviation over the seeds, where the column shows it."""

    text: str
    spread: str = ""
    rank: Rank = ""
    tied: bool = False
    """Not to be told from the best of the column."""


EMPTY = Cell("")


@dataclass(frozen=True)
class TableRow:
    """A run, or below it the paper's row; `cells` by column."""

    name: str
    """The variant, or `paper` with its kind."""
    run: str
    """Empty: the paper's."""
    marks: tuple[str, ...]
    cells: Mapping[str, Cell]


@dataclass(frozen=True)
class GroupTable:
    """One table."""

    group: Group
    setting: str
    """What it was measured on and how, as far as tables of one kind differ in it."""
    size: str
    """The test split in words."""
    columns: tuple[str, ...]
    lines: tuple[TableRow, ...]
    remarks: tuple[str, ...]
    """Sentences that belong below the table."""
    figures: Mapping[str, str]
    """By run: the figures behind its verdict; of the papers' set-up only."""


@dataclass(frozen=True)
class Page:
    """The tables of a protocol, and the notes that their marks lead to."""

    protocol: str
    sheets: tuple[GroupTable, ...]
    notes: Mapping[str, str]

    def kinds(self) -> list[tuple[str, list[GroupTable]]]:
        """The sheets by title: the papers' set-up or not, single models or ensembles."""
        found = groupby(self.sheets, key=lambda sheet: sheet.group.title)
        return [(title, list(sheets)) for title, sheets in found]


class Notes:
    """Letters for texts, in the order in which they are first asked for."""

    def __init__(self) -> None:
        self.by_text: dict[str, str] = {}

    def mark(self, text: str) -> str:
        """The mark of a text; that of the members is a dagger."""
        if text == OF_MEMBERS:
            return self.by_text.setdefault(text, DAGGER)
        letters = sum(mark != DAGGER for mark in self.by_text.values())
        return self.by_text.setdefault(text, letter(letters))

    def items(self) -> dict[str, str]:
        """Mark -> text, the dagger last."""
        found = {mark: text for text, mark in self.by_text.items()}
        return {mark: found[mark] for mark in sorted(found, key=_place)}


def letter(number: int) -> str:
    """0 -> a, 25 -> z, 26 -> aa."""
    high, low = divmod(number, 26)
    return (letter(high - 1) if high else "") + "abcdefghijklmnopqrstuvwxyz"[low]


def make_page(
    protocol: str,
    groups: Sequence[Group],
    paper_dir: Path = PAPER,
    tied: frozenset[str] | None = None,
    shown: Sequence[Group] | None = None,
) -> Page:
    """The page of a protocol's groups.

    tied: names of the rows whose rsum can't be told from the best of their group (comparisons.tied_with_best),
    None where that was not tested; shown: the groups that get a sheet (default: all).
    Raises UserError where a paper's file is at fault.
    """
    notes = Notes()
    remark = cache(lambda method: paper_remark(method, paper_dir))
    sheets = []
    for group in groups if shown is None else shown:
        marks = [_marks(row, groups, notes, remark(row.records[0].paper_row.method)) for row in group.rows]
        sheets.append(_sheet(group, groups, marks, notes, tied))
    return Page(protocol, tuple(sheets), notes.items())


def _sheet(
    group: Group,
    groups: Sequence[Group],
    marks: Sequence[tuple[str, ...]],
    notes: Notes,
    tied: frozenset[str] | None,
) -> GroupTable:
    columns = column_names(group)
    ranks = {name: _ranks(group, name) for name in NUMBERS}
    lines = []
    for number, (row, letters) in enumerate(zip(group.rows, marks, strict=True)):
        cells = _cells(row, {name: ranks[name][number] for name in NUMBERS})
        cells["rsum"] = replace(cells["rsum"], tied=tied is not None and row.name in tied)
        lines.append(TableRow(row.variant, row.name, letters, {name: cells[name] for name in columns}))
        lines += _paper_line(row, columns, notes)
    return GroupTable(
        group=group,
        setting=setting(group, groups),
        size=_size(parse(group.signature)),
        columns=columns,
        lines=tuple(lines),
        remarks=(*_tie_remark(group, tied), *_latency_remark(group)),
        figures={row.name: explain_verdict(row.judgement) for row in group.rows} if group.comparable else {},
    )


# ----------------------------------------------------------------------------------- columns and cells


def column_names(group: Group) -> tuple[str, ...]:
    """Which columns a group needs; names of leaderboard.RECALLS, `rsum`, and those spelled out here."""
    latency = ["query_ms"] if any(row.query_ms is not None for row in group.rows) else []
    members = ["members"] if group.ensemble else []
    judged = ["difference", "verdict"] if group.comparable else []
    return ("n", *NUMBERS, "interval", *latency, *members, *judged)


def number_text(value: float | None, digits: int, sign: bool = False) -> str:
    """Fixed digits; `n/a` for None."""
    if value is None:
        return NONE
    return f"{value:{'+' if sign else ''}.{digits}f}"


def _cells(row: Row, ranks: Mapping[str, Rank]) -> dict[str, Cell]:
    bounds = row.bounds("rsum")
    metric = " (mean R@1)" if row.headline == "mean_r1" and row.difference is not None else ""
    members = dict.fromkeys(member.run for member in row.records[0].members)
    spreads = {name: row.spread(name) for name in NUMBERS}
    numbers = {
        name: Cell(f"{row.mean(name):.1f}", "" if sd is None else f"{sd:.1f}", ranks[name])
        for name, sd in spreads.items()
    }
    numbers["rsum"] = replace(
        numbers["rsum"], spread=number_text(spreads["rsum"], 2)
    )  # always, if only `n/a`
    return numbers | {
        "n": Cell(str(len(row.records))),
        "interval": Cell(NONE if bounds is None else f"{bounds[0]:.1f} to {bounds[1]:.1f}"),
        "query_ms": Cell(number_text(row.query_ms, 2)),
        "members": Cell(" + ".join(members)),
        "difference": Cell(number_text(row.difference, 2, sign=True) + metric),
        "verdict": Cell(row.verdict),
    }


def _ranks(group: Group, name: str) -> list[Rank]:
    """Best and second of a column, as shown: equal texts share a place; alone there is no best, of two no second."""
    shown = [f"{row.mean(name):.1f}" for row in group.rows]
    places = sorted(set(shown), key=float, reverse=True)
    order: dict[str, Rank] = {}
    if len(shown) > 1:
        order[places[0]] = "best"
    if len(shown) > 2 and len(places) > 1:
        order[places[1]] = "second"
    return [order.get(text, "") for text in shown]


def _paper_line(row: Row, columns: Sequence[str], notes: Notes) -> list[TableRow]:
    """The paper's recalls, below the run that answers to them; [] where they are unknown."""
    if row.paper is None:
        return []
    title, note = KINDS[row.paper.kind]
    cells = dict.fromkeys(columns, EMPTY)
    cells |= {name: Cell(number_text(row.paper.value(name), 1)) for name in NUMBERS}
    added = ADDED_UP if row.paper.rsum_computed else ""
    return [TableRow(title, "", (notes.mark(note.format(row.paper.source) + added),), cells)]


# ----------------------------------------------------------------------------------- words and notes


def _marks(row: Row, groups: Sequence[Group], notes: Notes, remark: str | None) -> tuple[str, ...]:
    """Letters of the run's departures, and of a remark about its paper."""
    known: dict[str, set[str]] = {}
    for other in (row for group in groups for row in group.rows):
        known.setdefault(other.records[0].run, set()).update(other.departures)
    members = [member.run for member in row.records[0].members]
    texts = [OF_MEMBERS if _stands_with_a_member(text, members, known) else text for text in row.departures]
    texts += [] if remark is None else [remark]
    return tuple(sorted((notes.mark(text) for text in dict.fromkeys(texts)), key=_place))


def _stands_with_a_member(text: str, members: Sequence[str], known: Mapping[str, set[str]]) -> bool:
    """Whether an ensemble's departure, `<member>: <reason>`, is one that the page shows with that member."""
    return any(text == f"{run}: {reason}" for run in members for reason in known.get(run, ()))


def _place(mark: str) -> tuple[bool, int, str]:
    """Order of the marks: a, b, ... z, aa, ..., and the dagger last."""
    return mark == DAGGER, len(mark), mark


def paper_remark(method: str, paper_dir: Path = PAPER) -> str | None:
    """What is to be known of a paper's numbers where none could be read, or some are second-hand."""
    paper = find_paper(method, paper_dir)
    if paper is None:
        return f"No paper's numbers are known for {method}."
    if paper.status != "missing" and all(row.kind == "reported" for row in paper.rows):
        return None
    return f"On the numbers of the paper ({paper.title}): {' '.join(paper.notes)}"


def setting(group: Group, groups: Iterable[Group]) -> str:
    """What sets this table apart from others of its kind, in words."""
    mine = parse(group.signature)
    alike = [parse(other.signature) for other in groups if other.title == group.title]
    averaged = f", averaged over {mine.ensemble} models" if group.ensemble else ""
    parts = [features(group.rows[0].records[0]), f"similarities in {mine.precision}{averaged}"]
    told = ("fingerprint", "precision", "ensemble")
    differing = [name for name in vars(mine) if len({vars(other)[name] for other in alike}) > 1]
    parts += [f"{name} {vars(mine)[name]}" for name in differing if name not in told]
    return ", ".join(parts)


def features(record: RunRecord) -> str:
    """What the models look at: pixels, or which region features, and image vectors that guide these."""
    notes = [INPUTS.fullmatch(note) for note in record.notes]
    found = [note for note in notes if note is not None and note[2] == record.split]
    return " and ".join(f"{INPUT_NAMES[note[1]]} ({note[3]})" for note in found) or "pixels"


def _size(signature: Signature) -> str:
    split = f"{signature.split} split {signature.fingerprint}"
    folds = f", {signature.folds} folds" if signature.folds > 1 else ""
    return f"{split}: {signature.images:,} images, {signature.captions:,} captions{folds}"


def _tie_remark(group: Group, tied: frozenset[str] | None) -> list[str]:
    """What the tests against the best row say; [] where none was made."""
    if tied is None or len(group.rows) < 2:
        return []
    some = any(row.name in tied for row in group.rows)
    found = "≈: can't be told from the best rsum" if some else "Every other rsum can be told from the best"
    told = [f"{found}: level 5 %, Holm-corrected over all pairs; {TESTS}."]
    if min(len(row.records) for row in group.rows) < ENOUGH_SEEDS:
        few = f"Where a run has fewer seeds than {ENOUGH_SEEDS}"
        told.append(f"{few}, that is about the trained models alone, and others may come out otherwise.")
    return [" ".join(told)]


def _latency_remark(group: Group) -> list[str]:
    """Where the latency was measured."""
    measured = [record.latency for row in group.rows for record in row.records if record.latency is not None]
    machines = []
    for at in measured:
        threads = "one thread" if at.threads == 1 else f"{at.threads} threads"
        machines.append(f"{at.hardware} ({at.device}, {threads}, {at.precision})")
    where = "; ".join(dict.fromkeys(machines))
    return [f"Query ms: median time to score one caption against the images, on {where}."] if where else []
