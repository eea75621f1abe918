"""A study of latency as Markdown, CSV and a plot (SVG), beside its results; the same byte for byte each time."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Sequence
from itertools import cycle
from typing import Any

from tabulate import tabulate

from benchmark.records.timed_study import TimedGroup, TimingResults
from benchmark.timing.contenders import growth, ratio

READING = (
    "Times are medians over the rounds, in milliseconds. A ratio is a contender's time over that of the task's first "
    "contender, taken round by round (each round times all of them, one after the other, whoever begins): its median "
    "with a 95 % bootstrap interval over rounds. Below 1 is faster."
)
COLUMNS = (
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


def markdown(results: TimingResults, mark: str) -> str:
    """The page of the study; `mark` says what generated it."""
    parts = [f"<!-- {mark} -->\n# Study: {results.study}", results.summary, *results.reading, READING]
    for task, groups in results.by_task().items():
        parts += [f"## {task}", _table(groups)]
        if len(groups) > 1:
            parts += [_growth_table(groups), f"![{task}: time by size]({results.study}.svg)"]
    return "\n\n".join([*parts, "## Where it ran", _machine(results)]) + "\n"


def _table(groups: Sequence[TimedGroup]) -> str:
    sized = len(groups) > 1
    heads = [*(["size"] if sized else []), "contender", "ms", "ratio", "95 % interval", "rounds"]
    body = []
    for group in groups:
        for name, times in group.seconds.items():
            value, low, high = ratio(times, group.seconds[group.reference])
            cells = [name, _milliseconds(times)]
            cells += (
                ["1", "", ""] if name == group.reference else [f"{value:.3f}", f"{low:.3f} to {high:.3f}", ""]
            )
            cells[-1] = str(group.rounds)
            body.append([*([str(group.size)] if sized else []), *cells])
    align = ["left" if head == "contender" else "right" for head in heads]
    return tabulate(body, heads, tablefmt="pipe", colalign=align, disable_numparse=True)


def _milliseconds(times: Sequence[float]) -> str:
    """The median with three digits or more."""
    value = 1e3 * statistics.median(times)
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _growth_table(groups: Sequence[TimedGroup]) -> str:
    """The exponent of each contender that has every size."""
    body = []
    for name in groups[0].seconds:
        value, low, high = growth({group.size or 0: group.seconds[name] for group in groups})
        body.append([name, f"{value:.2f}", f"{low:.2f} to {high:.2f}"])
    heads = ["contender", "time grows as size to the power of", "95 % interval"]
    return tabulate(body, heads, tablefmt="pipe", colalign=["left", "right", "right"], disable_numparse=True)


def _machine(results: TimingResults) -> str:
    where = results.environment
    system = f"{where.system}, Python {where.python}, torch {where.packages['torch']}"
    return (
        f"{where.device_name} ({where.device}), threads: {where.threads}, {where.precision}; {system}; "
        f"Rematch {results.version}; {results.warm_up} rounds of warm-up."
    )


def comma_separated(results: TimingResults) -> str:
    """Every contender of every group."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for groups in results.by_task().values():
        for group in groups:
            for name, times in group.seconds.items():
                numbers = [1e3 * statistics.median(times), *ratio(times, group.seconds[group.reference])]
                size = "" if group.size is None else group.size
                head = [results.study, "latency", group.task, size, name, group.reference, group.rounds]
                writer.writerow([*head, *(f"{number:.4f}" for number in numbers)])
    return out.getvalue()


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
