"""What is said below the leaderboard's tables: how to read them, departures by run, what tests and papers tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from benchmark.places import PAPER
from benchmark.records.paper import ReportedRow, find_paper
from benchmark.records.parts import RECALLS
from benchmark.reporting.leaderboard.cells import CHANCE
from benchmark.reporting.leaderboard.rows import Group, Row
from benchmark.reporting.leaderboard.waiting import Waiting
from benchmark.reporting.sheet import NONE, Sheet, SheetRow
from benchmark.statistics.verdict import ENOUGH_SEEDS, explain_verdict

READING = (
    "Recalls and rsum in percent: means over n seeds, ± the seeds' standard deviation (n/a: one seed has none); the "
    "interval is a bootstrap interval of rsum over test images. The best of ours is bold, the second underlined."
)
BELOW = "The paper's row stands below ours."
SMOKE = (
    "The embedded dataset is a smoke test: small models, trained from scratch on drawn pictures. It shows that every "
    "method runs and learns, and says nothing about the papers' numbers."
)
BRIEF_SMOKE = "A smoke test on embedded data: comparable with no paper."
OWN_DATA = "An own dataset: comparable with no paper; chance is what a random order scores."
SOURCES = {
    "reported": "Paper's row: {}",
    "cited": "Second-hand, read in another paper: {}",
    "derived": "No row of a table, computed from statements: {}",
}
"""The note on a paper's line, by the kind of its numbers."""
ADDED_UP = "; it prints no rsum, which is the sum of its rounded recalls"
TESTS = (
    "a difference must hold over images (paired sign-flip test) and, where both runs have three seeds or more, over "
    "seeds (Welch's t test)"
)
"""The tests by which comparisons.tied_with_best tells rows apart."""


class Notes:
    """Letters for texts, in the order in which they are first asked for."""

    def __init__(self) -> None:
        self.by_text: dict[str, str] = {}

    def mark(self, text: str) -> str:
        """The mark of a text."""
        return self.by_text.setdefault(text, letter(len(self.by_text)))

    def items(self) -> dict[str, str]:
        """Mark -> text."""
        return {mark: text for text, mark in self.by_text.items()}


def letter(number: int) -> str:
    """0 -> a, 25 -> z, 26 -> aa."""
    high, low = divmod(number, 26)
    return (letter(high - 1) if high else "") + "abcdefghijklmnopqrstuvwxyz"[low]


# ------------------------------------------------------------------------------------- the papers


def source_note(paper: ReportedRow, title: str, variant: str, *, printed: bool) -> str:
    """Return the source of a paper's line; the paper's own name of it is said to people who look into our files."""
    called = "" if printed or title == variant else f"; its own name of the row: {variant}"
    return SOURCES[paper.kind].format(paper.source) + (ADDED_UP if paper.rsum_computed else "") + called


def paper_remark(method: str, paper_dir: Path = PAPER) -> str | None:
    """Return the caution about a paper's numbers where none could be read, or some are second-hand."""
    paper = find_paper(method, paper_dir)
    if paper is None:
        return f"No paper's numbers are known for {method}."
    if paper.status != "missing" and all(row.kind == "reported" for row in paper.rows):
        return None
    add = ""
    if paper.status == "missing":
        file = f"{PAPER.as_posix()}/{method}.yaml"
        add = f" Whoever can read them adds one entry a row, with its source, under `rows` in {file}."
    return f"On the numbers of the paper ({paper.title}): {' '.join(paper.notes)}{add}"


def needs_remark(waiting: Iterable[Waiting]) -> list[str]:
    """Say what the time and memory of rows that wait are; [] where none is known."""
    found = [row.needs for row in waiting if row.needs is not None]
    where = " and ".join(dict.fromkeys(name for needs in found for name in needs.hardware))
    if not found:
        return []
    return [
        "Needs: time and memory of the row's training, estimated and not measured: a few steps on synthetic batches, "
        f"on one thread of {where}, scaled up; a GPU is far faster. Of an ensemble: its members one after the other."
    ]


# -------------------------------------------------------------------------------------- our runs


def members(row: Row) -> str:
    """The runs that an ensemble is made of, each once."""
    return " + ".join(dict.fromkeys(member.run for member in row.records[0].members))


def shared_remark(group: Group) -> list[str]:
    """The departures that all rows of a table share, where there are several rows."""
    shared = _shared_departures(group)
    return [f"Every run of this table departs from its paper: {'; '.join(shared)}."] if shared else []


def _shared_departures(group: Group) -> list[str]:
    if len(group.rows) < 2:
        return []
    counts = Counter(text for row in group.rows for text in dict.fromkeys(row.departures))
    return [text for text, count in counts.items() if count == len(group.rows)]


def run_remarks(group: Group) -> dict[str, str]:
    """For each run why it cannot be held against its paper, or how the verdict came about."""
    shared, known = (
        set(_shared_departures(group)),
        {row.records[0].run: set(row.departures) for row in group.rows},
    )
    items = {}
    for row in group.rows:
        if row.comparable:
            items[row.name] = explain_verdict(row.judgement)
            continue
        own = [text for text in row.departures if text not in shared]
        told = [text for text in own if not _stands_with_a_member(text, row, known)]
        rest = [f"those of its members {members(row)}"] if len(told) < len(own) else []
        if told or rest:
            items[row.name] = "; ".join([*told, *rest])
    return items


def _stands_with_a_member(text: str, row: Row, known: Mapping[str, set[str]]) -> bool:
    """Return True if the table says an ensemble's departure, `<member>: <reason>`, with that member."""
    runs = [member.run for member in row.records[0].members]
    return any(text == f"{run}: {reason}" for run in runs for reason in known.get(run, ()))


def departing_remark(group: Group) -> list[str]:
    """Say of a printed table that some of its runs are not the papers' set-up, without the reasons."""
    counts = [len(row.departures) for row in group.rows if row.departures]
    if not counts:
        return []
    some = "All of our runs depart" if len(counts) == len(group.rows) else "Runs called not comparable depart"
    return [f"{some} from their paper's set-up."]


def tie_remark(group: Group, tied: frozenset[str] | None) -> list[str]:
    """Return the outcome of the tests against the best row; [] where none was made."""
    if tied is None or len(group.rows) < 2:
        return []
    some = any(row.name in tied for row in group.rows)
    found = (
        "≈: tests do not tell it apart from the best rsum"
        if some
        else "Tests tell every other rsum apart from the best"
    )
    told = [f"{found}: level 5 %, Holm-corrected over all pairs; {TESTS}."]
    if min(len(row.records) for row in group.rows) < ENOUGH_SEEDS:
        few = f"Where a run has fewer seeds than {ENOUGH_SEEDS}"
        told.append(f"{few}, the tests speak of the trained models alone: other seeds may differ.")
    return [" ".join(told)]


def latency_remark(group: Group) -> list[str]:
    """Say on which machines the latency was measured."""
    measured = [record.latency for row in group.rows for record in row.records if record.latency is not None]
    machines = []
    for at in measured:
        threads = "one thread" if at.threads == 1 else f"{at.threads} threads"
        machines.append(f"{at.hardware} ({at.device}, {threads}, {at.precision})")
    where = "; ".join(dict.fromkeys(machines))
    return [f"Query ms: median time to score one caption against the images, on {where}."] if where else []


def printed_reading(sheets: Sequence[Sheet]) -> str:
    """How to read printed tables, no more than their columns and rows need."""
    keys = {column.key for sheet in sheets for column in sheet.columns}
    rows = [row for sheet in sheets for row in sheet.rows]
    kinds, waits = [row.kind for row in rows], [row for row in rows if row.kind == "waiting"]
    unknown = any(cell.text == NONE for row in waits for cell in row.cells)
    ours, numbers = kinds.count(""), keys.intersection((*RECALLS, "rsum"))
    told = {
        "recalls at K in percent": keys.intersection(RECALLS),
        "rsum is the sum of the six recalls": "rsum" in keys,
        "ours are means over n seeds": ours and numbers,
        "± their standard deviation (n/a: one seed)": ours and "rsum" in keys,
        "the interval is a bootstrap interval of rsum over test images": ours and "interval" in keys,
        "the best of ours is bold, the second underlined": ours > 1 and numbers,
        "below ours stands the paper's row": any(map(_is_paper, rows)),
        "chance: a random order": any(row.kind == "reference" and not _is_paper(row) for row in rows),
        "n/a: no run of ours, and no number of the paper that could be read": unknown,
        "the difference is ours less the paper's": ours and "difference" in keys,
        "the verdict holds the paper's number against where one further seed of ours would lie (95 %)": ours
        and "verdict" in keys,
    }
    return "; ".join(text for text, needed in told.items() if needed)


def _is_paper(row: SheetRow) -> bool:
    """Return True for the line of a paper below our run."""
    return row.kind == "reference" and all(cell.value != CHANCE for cell in row.cells)


def sentence(text: str) -> str:
    """The text as a sentence."""
    return f"{text[:1].upper()}{text[1:].rstrip('.')}." if text else ""
