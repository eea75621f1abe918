"""Studies as tables with a strip for each interval; the numbers are study_table's and timing_table's."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from benchmark.records.study import StudyResults
from benchmark.records.timed_study import TimedGroup, TimingResults
from benchmark.reporting.page.board import between, fixed
from benchmark.reporting.page.svg import Marks, strips
from benchmark.reporting.studies.runs import SHOWN, VariantRow, lines
from benchmark.timing.contenders import ratio


@dataclass(frozen=True)
class Table:
    """A table whose rows have a strip each."""

    caption: str
    heads: list[str]
    axis: Markup
    rows: list[tuple[list[str], Markup]]
    """The row's texts, the first one its name, and its strip, which comes second."""


@dataclass(frozen=True)
class StudySection:
    """A study as the page shows it."""

    name: str
    summary: str
    tables: list[Table]


def studies(results: Sequence[StudyResults], timings: Sequence[TimingResults]) -> list[StudySection]:
    """All studies by name, those of accuracy first."""
    found = []
    for item in results:
        kinds = {
            kind: [line for line in lines(item) if line.kind == kind] for kind in ("variant", "difference")
        }
        tables = [_table(kind, found_lines) for kind, found_lines in kinds.items() if found_lines]
        found.append(StudySection(item.study, item.summary, tables))
    for timing in timings:
        tables = [_timed(task, groups) for task, groups in timing.by_task().items()]
        found.append(StudySection(timing.study, timing.summary, tables))
    return found


def _table(kind: str, found: Sequence[VariantRow]) -> Table:
    difference = kind == "difference"
    marks = [Marks(line.mean("mean_r1"), line.bounds("mean_r1"), line.values["mean_r1"]) for line in found]
    axis, *drawn = strips(marks, origin=0.0 if difference else None)
    rows = []
    for line, strip in zip(found, drawn, strict=True):
        cells = [line.name]
        for metric in SHOWN:
            cells += [fixed(line.mean(metric), 2, difference), between(line.bounds(metric), 2, difference)]
        rows.append(([*cells, str(len(line.seeds))], strip))
    heads = [kind]
    for name in SHOWN.values():
        heads += [name, "95 % interval"]
    caption = "Differences, seed by seed" if difference else "Variants"
    return Table(f"{caption}; the strips show mean R@1", [*heads, "pairs" if difference else "n"], axis, rows)


def _timed(task: str, groups: Sequence[TimedGroup]) -> Table:
    """Ratios to the first contender; below 1 is faster."""
    rows, marks = [], []
    for group in groups:
        for name, times in group.seconds.items():
            value, low, high = ratio(times, group.seconds[group.reference])
            alone = name == group.reference
            marks.append(Marks(value, None if alone else (low, high)))
            size = "" if group.size is None else f", size {group.size}"
            bounds = "reference" if alone else between((low, high), 3)
            taken = 1e3 * statistics.median(times)
            median = f"{taken:.0f}" if taken >= 100 else f"{taken:.3g}"
            rows.append([f"{name}{size}", fixed(value, 3), bounds, median, str(group.rounds)])
    axis, *drawn = strips(marks, origin=1.0)
    heads = ["contender", "ratio", "95 % interval", "ms", "rounds"]
    return Table(
        f"{task}; ratio of times, below 1 is faster", heads, axis, list(zip(rows, drawn, strict=True))
    )
