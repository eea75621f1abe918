"""Studies as sheets with a strip for each interval; the numbers are those of the studies' own tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from benchmark.records.study import StudyResults
from benchmark.records.timed_study import TimedGroup, TimingResults
from benchmark.reporting.page.svg import Marks, strips
from benchmark.reporting.sheet import Sheet
from benchmark.reporting.studies.runs import lines, runs_sheet
from benchmark.reporting.studies.timing import ratios_sheet
from benchmark.timing.contenders import ratio


@dataclass(frozen=True)
class DrawnSheet:
    """A sheet whose rows have a strip each."""

    caption: str
    sheet: Sheet
    axis: Markup
    strips: list[Markup]


@dataclass(frozen=True)
class StudySection:
    """A study as the page shows it."""

    name: str
    summary: str
    tables: list[DrawnSheet]


def studies(results: Sequence[StudyResults], timings: Sequence[TimingResults]) -> list[StudySection]:
    """Return all studies by name, the studies of accuracy first."""
    found = []
    for item in results:
        tables = [_draw_runs("variant", "Variants", item)]
        tables += [_draw_runs("difference", "Differences, seed by seed", item)] if item.comparisons else []
        found.append(StudySection(item.study, item.summary, tables))
    for timing in timings:
        drawn = [_draw_ratios(task, groups) for task, groups in timing.by_task().items()]
        found.append(StudySection(timing.study, timing.summary, drawn))
    return found


def _draw_runs(kind: str, caption: str, results: StudyResults) -> DrawnSheet:
    found = [line for line in lines(results) if line.kind == kind]
    marks = [Marks(line.mean("mean_r1"), line.bounds("mean_r1"), line.values["mean_r1"]) for line in found]
    axis, *drawn = strips(marks, origin=0.0 if kind == "difference" else None)
    sheet = runs_sheet(kind, found, results).only(
        [kind, "mean_r1", "mean_r1_interval", "rsum", "rsum_interval", "n"]
    )
    return DrawnSheet(f"{caption}; the strips show mean R@1", sheet, axis, drawn)


def _draw_ratios(task: str, groups: Sequence[TimedGroup]) -> DrawnSheet:
    """Ratios to the first contender; below 1 is faster."""
    marks = []
    for group in groups:
        for name, times in group.seconds.items():
            value, low, high = ratio(times, group.seconds[group.reference])
            marks.append(Marks(value, None if name == group.reference else (low, high)))
    axis, *drawn = strips(marks, origin=1.0)
    sheet = ratios_sheet(groups).only(["contender", "size", "ratio", "interval", "median_ms", "rounds"])
    return DrawnSheet(f"{task}; ratio of times, below 1 is faster", sheet, axis, drawn)
