"""Charts as inline SVG: drawn in `currentColor` and the page's own colours, so that they follow light and dark.

Every text goes through `escape`; classes are the style sheet's; coordinates have one decimal, so that the bytes are the
same on every machine.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

Pair = tuple[float, float]


@dataclass(frozen=True)
class Axis:
    """A straight or logarithmic scale from values to pixels."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def at(self, value: float) -> float:
        """Return the place of a value, in pixels; values beyond the ends lie at the ends."""
        low, high, value = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        share = 0.5 if high == low else (value - low) / (high - low)
        return self.start + min(max(share, 0.0), 1.0) * (self.stop - self.start)

    @property
    def ticks(self) -> list[float]:
        """Round values within the axis."""
        return _decades(self.low, self.high) if self.log else _steps(self.low, self.high)


def _steps(low: float, high: float) -> list[float]:
    """Three to eight multiples of 1, 2 or 5 times a power of ten."""
    if high <= low:
        return [low]
    most = (high - low) / 3 * (1 + 1e-9)
    power = 10.0 ** math.floor(math.log10(most))
    step = max(power * factor for factor in (1, 2, 5) if power * factor <= most)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 10) for number in range(first, last + 1)]


def _decades(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten; where these are few, equal steps."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    values = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
    found = [value for value in values if low <= value * (1 + 1e-9) and value <= high * (1 + 1e-9)]
    return found if len(found) > 2 else _steps(low, high)


def span(values: Iterable[float], share: float = 0.06) -> Pair:
    """Lowest and highest of some values, with a margin on both sides."""
    found = list(values)
    low, high = min(found), max(found)
    margin = (high - low) * share or max(abs(high), 1.0) * 0.02
    return low - margin, high + margin


def number(value: float) -> str:
    """A tick's label: no more digits than it needs."""
    return f"{value:g}" if abs(value) < 1e5 else f"{value:.0f}"


def _px(value: float) -> str:
    """A coordinate with one decimal at most."""
    return f"{value:.1f}".removesuffix(".0")


Segment = tuple[float, float, float, float]
"""The x and y of one end and of the other."""


def rules(kind: str, segments: Iterable[Segment]) -> Markup:
    """Straight lines of one CSS class."""
    steps = "".join(
        f"M{_px(x1)} {_px(y1)}" + (f"V{_px(y2)}" if x1 == x2 else f"L{_px(x2)} {_px(y2)}")
        for x1, y1, x2, y2 in segments
    )
    return Markup(f'<path class="{kind}" d="{steps}"/>') if steps else Markup()


def text(x: float, y: float, content: str, anchor: str = "middle", kind: str = "") -> Markup:
    """A line of text; `anchor` is start, middle or end."""
    named = f' class="{kind}"' if kind else ""
    return Markup(f'<text{named} x="{_px(x)}" y="{_px(y)}" text-anchor="{anchor}">{escape(content)}</text>')


def dot(x: float, y: float, radius: float, title: str = "") -> Markup:
    """A point, with a tooltip where it has a title."""
    inner = f"<title>{escape(title)}</title>" if title else ""
    return Markup(f'<circle cx="{_px(x)}" cy="{_px(y)}" r="{_px(radius)}">{inner}</circle>')


def path(kind: str, points: Sequence[Pair]) -> Markup:
    """A line through points."""
    steps = "".join(f"{'L' if n else 'M'}{_px(x)} {_px(y)}" for n, (x, y) in enumerate(points))
    return Markup(f'<path class="{kind}" d="{steps}"/>')


def figure(width: int, height: int, parts: Iterable[Markup], label: str = "", kind: str = "chart") -> Markup:
    """A whole SVG; without a label it is left out by screen readers, since the table around it says the same."""
    named = f'role="img" aria-label="{escape(label)}"' if label else 'aria-hidden="true"'
    inner = Markup().join(parts)
    return Markup(f'<svg class="{kind}" viewBox="0 0 {width} {height}" {named}>{inner}</svg>')


GRID = re.compile(r'<path class="grid" d="[^"]+"/>')


def share_grids(text: str) -> tuple[str, str]:
    """Draw the grids that several charts have from one place; returns the text so, and what that place holds."""
    found = Counter(GRID.findall(text))
    shared = {grid: f"g{number}" for number, grid in enumerate(grid for grid, n in found.items() if n > 1)}
    drawn = GRID.sub(lambda grid: f'<use href="#{shared[grid[0]]}"/>' if grid[0] in shared else grid[0], text)
    held = "".join(grid.replace("<path", f'<path id="{name}"', 1) for grid, name in shared.items())
    return drawn, f"<defs>{held}</defs>"


# ----------------------------------------------------------------- strips: one row of a table each

STRIP, ROW, PAD = 240, 26, 8
"""Width and height of a strip, and its margin left and right, in pixels."""


@dataclass(frozen=True)
class Marks:
    """The marks of a strip, all on one scale."""

    mean: float | None = None
    interval: Pair | None = None
    dots: Sequence[float] = ()
    """One a seed."""
    paper: float | None = None
    """The paper's value, drawn as a line."""

    @property
    def values(self) -> list[float]:
        single = [value for value in (self.mean, self.paper) if value is not None]
        return [*single, *self.dots, *(self.interval or ())]


def strips(rows: Sequence[Marks], origin: float | None = None, low_high: Pair | None = None) -> list[Markup]:
    """An axis and then one strip a row, all on one scale.

    origin: a value to be on the scale and marked with a line, such as 0 for differences.
    low_high: the ends of the scale; else as far as the values reach.
    """
    values = [value for row in rows for value in row.values] + ([] if origin is None else [origin])
    low, high = low_high or (span(values) if values else (0.0, 1.0))
    axis = Axis(low, high, PAD, STRIP - PAD)
    return [_axis(axis), *(_strip(axis, row, origin) for row in rows)]


def _axis(axis: Axis) -> Markup:
    labels = max((len(number(tick)) for tick in axis.ticks), default=0)
    ticks = axis.ticks[:: 2 if len(axis.ticks) * labels > 20 else 1]
    places = [axis.at(tick) for tick in ticks]
    base: Segment = (axis.start, ROW - 4, axis.stop, ROW - 4)
    parts = [rules("axis", [base, *((x, ROW - 8, x, ROW) for x in places)])]
    parts += [
        text(min(max(x, 14), STRIP - 14), 12, number(tick)) for x, tick in zip(places, ticks, strict=True)
    ]
    return figure(STRIP, ROW, parts, kind="strip")


def _strip(axis: Axis, marks: Marks, origin: float | None) -> Markup:
    middle = ROW / 2

    def upright(kind: str, half: float, values: Iterable[float | None]) -> Markup:
        places = [axis.at(value) for value in values if value is not None]
        return rules(kind, [(x, middle - half, x, middle + half) for x in places])

    parts = [upright("grid", middle, axis.ticks), upright("axis", middle, [origin])]
    if marks.interval is not None:
        low, high = map(axis.at, marks.interval)
        parts.append(rules("interval", [(low, middle, high, middle)]))
        parts.append(upright("whisker", 4, marks.interval))
    parts.append(upright("mean", 7, [marks.mean]))
    parts += [dot(axis.at(value), middle, 3.2) for value in marks.dots]
    parts.append(upright("paper", middle, [marks.paper]))
    return figure(STRIP, ROW, parts, kind="strip")


# ------------------------------------------------------------------------------ lines and scatters


@dataclass(frozen=True)
class Series:
    """A line of a chart; dotted ones show each of their points."""

    points: Sequence[Pair]
    dotted: bool = False


def curves(series: Sequence[Series], label: str, x_name: str, marked: float | None = None) -> Markup:
    """Lines over one scale, 300 x 150; `marked` is an x that gets a vertical line."""
    width, height = 300, 150
    flat = [point for item in series for point in item.points]
    x_axis = Axis(*_ends(x for x, _ in flat), 44, width - 10)
    y_axis = Axis(*span(y for _, y in flat), height - 30, 8)
    parts = _frame(x_axis, y_axis, height - 30, x_name, [x for x in x_axis.ticks if x == int(x)])
    if marked is not None:
        parts.append(rules("paper", [(x_axis.at(marked), 8, x_axis.at(marked), height - 30)]))
    for number_of, item in enumerate(series):
        points = [(x_axis.at(x), y_axis.at(y)) for x, y in item.points]
        if len(points) > 1:
            parts.append(path(f"curve curve-{number_of % 3}", points))
        if item.dotted or len(points) == 1:
            parts += [dot(x, y, 2.6) for x, y in points]
    return figure(width, height, parts, label)


def _ends(values: Iterable[float]) -> Pair:
    """Whole numbers around some values."""
    found = list(values)
    low, high = math.floor(min(found)), math.ceil(max(found))
    return (low, high) if low < high else (low - 1, high + 1)


def _frame(x_axis: Axis, y_axis: Axis, bottom: float, x_name: str, x_ticks: Sequence[float]) -> list[Markup]:
    """Grid, ticks and the name of the x axis."""
    heights, places = [y_axis.at(tick) for tick in y_axis.ticks], [x_axis.at(tick) for tick in x_ticks]
    base: Segment = (x_axis.start, bottom, x_axis.stop, bottom)
    parts = [
        rules("grid", [(x_axis.start, y, x_axis.stop, y) for y in heights]),
        rules("axis", [base, *((x, bottom, x, bottom + 4) for x in places)]),
    ]
    for tick, y in zip(y_axis.ticks, heights, strict=True):
        parts.append(text(x_axis.start - 5, y + 4, number(tick), "end"))
    parts += [text(x, bottom + 15, number(tick)) for tick, x in zip(x_ticks, places, strict=True)]
    return [*parts, text((x_axis.start + x_axis.stop) / 2, bottom + 28, x_name)]


@dataclass(frozen=True)
class Point:
    """A named point of a scatter."""

    name: str
    x: float
    y: float
    interval: Pair | None = None
    """The interval of y."""
    link: str = ""


def scatter(points: Sequence[Point], label: str, x_name: str) -> Markup:
    """Points with their names over a logarithmic x axis, 640 x 340."""
    width, height = 640, 340
    low, high = min(p.x for p in points), max(p.x for p in points)
    x_axis = Axis(low / 1.35, high * 1.6, 52, width - 16, log=True)
    heights = [value for p in points for value in (p.y, *(p.interval or ()))]
    y_axis = Axis(*span(heights), height - 44, 12)
    parts = _frame(x_axis, y_axis, height - 44, x_name, x_axis.ticks)
    taken: list[tuple[float, float, float, float]] = []
    bars = [(x_axis.at(p.x), *map(y_axis.at, p.interval)) for p in points if p.interval is not None]
    parts.append(rules("interval thin", [(x, low, x, high) for x, low, high in bars]))
    for point in points:
        x, y = x_axis.at(point.x), y_axis.at(point.y)
        taken.append((x - 5, y - 5, x + 5, y + 5))
    for point in points:
        x, y = x_axis.at(point.x), y_axis.at(point.y)
        mark = dot(x, y, 5, f"{point.name}: {point.x:.2f} ms, {point.y:.1f}")
        place = _label(point.name, x, y, taken, width)
        parts.append(_linked(point.link, mark + place))
    return figure(width, height, parts, label, "chart wide")


def _linked(link: str, content: Markup) -> Markup:
    return Markup('<a href="{}">{}</a>').format(link, content) if link else content


def _label(
    name: str, x: float, y: float, taken: list[tuple[float, float, float, float]], width: float
) -> Markup:
    """The name beside its point, where it covers no other as far as that can be had."""
    length = 7.0 * len(name)
    places = [
        (x + 9, y + dy, "start") if right else (x - 9, y + dy, "end")
        for dy in (4, -9, 17, -22, 30, -35, 43)
        for right in (True, False)
    ]
    boxes = [
        (px, py - 11, px + length, py + 3) if anchor == "start" else (px - length, py - 11, px, py + 3)
        for px, py, anchor in places
    ]
    free = [
        n
        for n, box in enumerate(boxes)
        if box[0] > 40 and box[2] < width and not any(_overlap(box, other) for other in taken)
    ]
    best = free[0] if free else 0
    taken.append(boxes[best])
    px, py, anchor = places[best]
    return text(px, py, name, anchor, "name")


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
