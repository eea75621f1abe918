"""The runs that a command has just made, each beside its paper's row and its recipe's expected value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.places import PAPER, TABLES
from benchmark.recipe.schema import Expected
from benchmark.records.record import RunRecord
from benchmark.reporting.leaderboard.rows import Row, leaderboard
from benchmark.reporting.leaderboard.waiting import BENCHMARKS
from benchmark.reporting.leaderboard.words import SMOKE
from benchmark.reporting.sheet import NONE, Column, Sheet, Value, make_sheet

COLUMNS = (
    Column("run", "run", "text"),
    Column("seed", "seed"),
    Column("protocol", "protocol", "text"),
    *(Column(name, name.replace("_r", " R@"), spec=".1f") for name in ("i2t_r1", "t2i_r1")),
    Column("rsum", "rsum", spec=".1f"),
    Column("paper", "paper's rsum", spec=".1f", missing=NONE),
    Column("expected", "expected", "text"),
    Column("verdict", "verdict", "text"),
)


@dataclass(frozen=True)
class MadeRun:
    """A record that was just written, and what its recipe expects of it."""

    record: RunRecord
    expected: Sequence[Expected] = ()


def made_sheet(made: Sequence[MadeRun], paper_dir: Path = PAPER) -> Sheet:
    """One row a record and protocol, and at most five lines on how to read them and where to look next."""
    groups = leaderboard([run.record for run in made], paper_dir)
    found = {
        (record.path, row.protocol): row for group in groups for row in group.rows for record in row.records
    }
    rows: list[list[Value]] = []
    alarms: list[int] = []
    for run in made:
        for protocol in run.record.results:
            row = found[run.record.path, protocol]
            expected, kept = _expected(run, protocol)
            alarms += [] if kept else [len(rows)]
            rows.append(_cells(run.record, row, expected))
    return make_sheet("runs just made", COLUMNS, rows, notes=_notes(made, bool(alarms)), alarms=alarms)


def _cells(record: RunRecord, row: Row, expected: str) -> list[Value]:
    metrics = record.results[row.protocol].metrics
    return [
        record.run,
        record.seed,
        row.protocol,
        *(metrics.value(name) for name in ("i2t_r1", "t2i_r1", "rsum")),
        None if row.paper is None else row.paper.rsum,
        expected,
        row.verdict,
    ]


def _expected(run: MadeRun, protocol: str) -> tuple[str, bool]:
    """The expected values under a protocol in words, and whether all were kept."""
    told, kept = [], True
    for item in run.expected:
        if item.protocol == protocol:
            found = run.record.results[protocol].metrics.value(item.metric)
            holds = item.holds(found)
            kept &= holds
            word = "kept" if holds else "NOT kept"
            told.append(f"{item.metric} {item.value:g} ± {item.tolerance:g}: {found:.1f}, {word}")
    return "; ".join(told) or NONE, kept


def _notes(made: Sequence[MadeRun], missed: bool) -> list[str]:
    protocols = list(dict.fromkeys(name for run in made for name in run.record.results))
    notes = [SMOKE] if not set(protocols) & set(BENCHMARKS) else []
    notes += ["expected: what the recipe has given before, within a tolerance; it is no number of a paper"]
    if missed:
        notes += [
            "NOT kept: another processor or number of threads rounds otherwise, and moves a run as another seed does; "
            "take more seeds (`--seeds 1 2 3`), and where their mean stays outside too, look with `rematch doctor` and "
            "`rematch parity METHOD`"
        ]
    files = ", ".join(f"{TABLES.as_posix()}/{name}.md" for name in protocols)
    notes += [
        f"beside the papers' rows, with reasons and intervals: {files}; all on one page: results/report.html"
    ]
    return [*notes, f'ask a run: rematch query {made[0].record.run} "a sentence"'] if made else notes
