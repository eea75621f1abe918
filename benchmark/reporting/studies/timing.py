"""A study of latency as Markdown, CSV and a plot (SVG), beside its results; the same byte for byte each time."""

from __future__ import annotations

import io
import statistics
from collections.abc import Sequence
from itertools import cycle
from typing import Any

from benchmark.records.timed_study import TimedGroup, TimingResults
from benchmark.reporting.sheet import Cell, Column, Sheet, make_sheet
from benchmark.reporting.writers import markdown
from benchmark.timing.contenders import growth, ratio

READING = (
    "Times are medians over the rounds, in milliseconds. A ratio is a contender's time over that of the task's first "
    "contender, taken round by round (each round times all of them, one after the other, whoever begins): its median "
    "with a 95 % bootstrap interval over rounds. Below 1 is faster."
)


def write_page(results: TimingResults, mark: str) -> str:
    """Write the page of the study; `mark` says what generated it."""
    parts = [f"<!-- {mark} -->\n# Study: {results.study}", results.summary, *results.reading, READING]
    for task, groups in results.by_task().items():
        parts += [f"## {task}", markdown.table(ratios_sheet(groups))]
        if len(groups) > 1:
            plot = f"![{task}: time by size]({results.study}.svg)"
            parts += [markdown.table(growth_sheet(groups)), plot]
    return "\n\n".join([*parts, "## Where it ran", _machine(results)]) + "\n"


RATIOS = (
    Column("task", "task", "text"),
    Column("size", "size"),
    Column("contender", "contender", "text"),
    Column("median_ms", "ms"),
    Column("ratio", "ratio", spec=".3f"),
    Column("interval", "95 % interval"),
    Column("rounds", "rounds"),
)


def ratios_sheet(groups: Sequence[TimedGroup]) -> Sheet:
    """Every contender of every group: its median time, and its ratio to the first one."""
    rows: list[list[object]] = []
    for group in groups:
        for name, times in group.seconds.items():
            median = 1e3 * statistics.median(times)
            value, low, high = ratio(times, group.seconds[group.reference])
            first = name == group.reference
            shown = Cell("1", value) if first else value
            interval = "" if first else f"{low:.3f} to {high:.3f}"
            time = Cell(f"{median:.0f}" if median >= 100 else f"{median:.3g}", median)  # three digits or more
            rows.append([group.task, group.size, name, time, shown, interval, group.rounds])
    sheet = make_sheet(groups[0].task, RATIOS, rows)
    keys = [column.key for column in RATIOS if column.key != "size" or len(groups) > 1]
    return sheet.only(keys if len({group.task for group in groups}) > 1 else keys[1:])


def growth_sheet(groups: Sequence[TimedGroup]) -> Sheet:
    """The exponent with which each contender's time grows."""
    rows = []
    for name in groups[0].seconds:
        value, low, high = growth({group.size or 0: group.seconds[name] for group in groups})
        rows.append([name, value, f"{low:.2f} to {high:.2f}"])
    power = Column("exponent", "time grows as size to the power of", spec=".2f")
    columns = (Column("contender", "contender", "text"), power, Column("interval", "95 % interval"))
    return make_sheet(groups[0].task, columns, rows)


def _machine(results: TimingResults) -> str:
    where = results.environment
    system = f"{where.system}, Python {where.python}, torch {where.packages['torch']}"
    return (
        f"{where.device_name} ({where.device}), threads: {where.threads}, {where.precision}; {system}; "
        f"Rematch {results.version}; {results.warm_up} rounds of warm-up."
    )


def values_sheet(results: TimingResults) -> Sheet:
    """Every contender of every group with its numbers, for CSV."""
    keys = (
        "study",
        "kind",
        "task",
        "size",
        "contender",
        "reference",
        "rounds",
        "median_ms",
        "ratio",
        "low",
        "high",
    )
    rows: list[list[object]] = []
    for groups in results.by_task().values():
        for group in groups:
            for name, times in group.seconds.items():
                head = [results.study, "latency", group.task, group.size, name, group.reference, group.rounds]
                numbers = [1e3 * statistics.median(times), *ratio(times, group.seconds[group.reference])]
                rows.append([*head, *map(float, numbers)])
    return make_sheet(f"study {results.study}", [Column(key, decimals=4) for key in keys], rows)


def plot(results: TimingResults) -> str | None:
    """Time by size of the tasks that have several sizes, both axes logarithmic, as SVG; None without such a task."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    tasks = {task: groups for task, groups in results.by_task().items() if len(groups) > 1}
    if not tasks:
        return None
    fixed: dict[Any, object] = {"svg.hashsalt": results.study, "svg.fonttype": "none"}
    with mpl.rc_context(fixed):  # the same bytes each time
        figure = Figure(figsize=(6.4 * len(tasks), 4.2), layout="constrained")
        for number, (task, groups) in enumerate(tasks.items(), start=1):
            axes = figure.add_subplot(1, len(tasks), number, title=task, xlabel="size", ylabel="ms")
            axes.set_xscale("log", base=2)
            axes.set_yscale("log")
            sizes = [group.size or 0 for group in groups]
            for marker, name in zip(cycle("osD^v*"), groups[0].seconds, strict=False):
                medians = [1e3 * statistics.median(group.seconds[name]) for group in groups]
                axes.plot(sizes, medians, marker=marker, label=name)
            axes.set_xticks(sizes, [str(size) for size in sizes])
            axes.grid(visible=True, alpha=0.3)
            axes.legend()
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return out.getvalue()
