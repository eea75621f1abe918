"""The one model of a table: whatever is listed, scored or compared is a Sheet, and writers/ turn sheets into text.

A cell holds its text and the value behind it: text, Markdown, HTML and LaTeX show the text, CSV and JSON the value.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Literal

Value = str | int | float | None
Emphasis = Literal["", "best", "second"]
RowKind = Literal["", "reference", "waiting", "alarm"]
NONE = "n/a"
"""Stands for a value that is not known, was not measured, or does not exist."""


@dataclass(frozen=True)
class Cell:
    """One number or text of a table."""

    text: str = ""
    value: Value = None
    emphasis: Emphasis = ""
    """The best of the column is shown bold, the second underlined."""
    spread: str = ""
    """The standard deviation over the seeds; HTML shows it in every column, the others where the column asks for it."""
    tied: bool = False
    """True where tests do not tell the number apart from the best of the column."""
    link: str = ""
    """The target of the text's link, in Markdown and HTML."""
    tail: str = ""
    """Text that follows without emphasis and link."""


@dataclass(frozen=True)
class Column:
    """One column: its key in CSV and JSON, its heading elsewhere, and how its values become text."""

    key: str
    heading: str = ""
    kind: Literal["text", "number"] = "number"
    """Text stands to the left, numbers to the right."""
    unit: str = ""
    """Follows the heading, and is named in JSON."""
    over: str = ""
    """A heading that neighbouring columns share, in formats with two levels of headings."""
    under: str = ""
    """The heading below a shared one."""
    spec: str = ".6g"
    """The format of floating-point numbers as text, e.g. `.1f`."""
    missing: str = ""
    """The text of a value that is None."""
    decimals: int | None = None
    """Decimals of floating-point numbers in CSV; None: all digits."""
    spread: bool = False
    """True where every format shows the spread of its cells."""
    hidden: bool = False
    """True where only CSV and JSON have the column."""
    second_name: bool = False
    """True where the column is another name of the first one: HTML and LaTeX show both in one column."""

    @property
    def title(self) -> str:
        """The heading with its unit."""
        return f"{self.heading} {self.unit}".strip()

    def cell(self, value: object) -> Cell:
        """The value with its text; numbers of any library become Python's own."""
        if isinstance(value, Cell):
            return value
        if value is None:
            return Cell(self.missing)
        if isinstance(value, bool):
            return Cell("yes" if value else "no", value)
        if isinstance(value, Integral):
            return Cell(f"{value:,}" if self.kind == "number" else str(value), int(value))
        if isinstance(value, Real):
            return Cell(format(float(value) + 0.0, self.spec), float(value))
        return Cell(str(value), str(value))


@dataclass(frozen=True)
class SheetRow:
    """One row; `cells` has one a column."""

    cells: tuple[Cell, ...]
    marks: tuple[str, ...] = ()
    """Letters or signs that lead to the footnotes."""
    kind: RowKind = ""
    """A reference belongs to the row above it, e.g. the paper's numbers; a waiting row has no number of ours yet; an
    alarm is a row to look at."""
    group: str = ""
    """Rows of one group stand together; a line is drawn between groups."""


@dataclass(frozen=True)
class Sheet:
    """A table; one without columns is its title and its notes alone."""

    title: str
    columns: tuple[Column, ...] = ()
    rows: tuple[SheetRow, ...] = ()
    notes: tuple[str, ...] = ()
    """Sentences below the table."""
    subtitle: str = ""
    items: Mapping[str, str] = field(default_factory=dict)
    """Names with a remark on each, listed below the notes."""
    signature: str = ""
    passed: bool | None = None
    """The verdict of a sheet of checks; None: it checks nothing."""
    folded: bool = False
    """True where Markdown shows the table only when asked to."""

    @property
    def headed(self) -> bool:
        """True where any column has a heading."""
        return any(column.title for column in self.columns)

    @property
    def shown(self) -> Sheet:
        """The sheet without its hidden columns."""
        return self.only([column.key for column in self.columns if not column.hidden])

    def only(self, keys: Sequence[str]) -> Sheet:
        """The sheet with the named columns, those that it has, in the order of `keys`."""
        places = {column.key: place for place, column in enumerate(self.columns)}
        chosen = [places[key] for key in keys if key in places]
        rows = tuple(
            dataclasses.replace(row, cells=tuple(row.cells[place] for place in chosen)) for row in self.rows
        )
        return dataclasses.replace(self, columns=tuple(self.columns[place] for place in chosen), rows=rows)


@dataclass(frozen=True)
class Section:
    """Sheets under one heading."""

    title: str
    sheets: tuple[Sheet, ...]
    lead: str = ""
    """A sentence before them."""


@dataclass(frozen=True)
class Page:
    """Sections under a title, and the footnotes that the marks of all their rows lead to."""

    title: str
    sections: tuple[Section, ...]
    reading: str = ""
    """The text on reading the tables."""
    guide: str = ""
    """A page that says more about it."""
    footnotes: Mapping[str, str] = field(default_factory=dict)

    @property
    def sheets(self) -> list[Sheet]:
        """All sheets in their order."""
        return [sheet for section in self.sections for sheet in section.sheets]


def make_sheet(
    title: str,
    columns: Sequence[Column | str],
    rows: Iterable[Sequence[object]],
    *,
    left: int = 1,
    notes: Sequence[str] = (),
    alarms: Collection[int] = (),
    group: int | None = None,
    signature: str = "",
    passed: bool | None = None,
) -> Sheet:
    """Make a sheet from values.

    columns: a heading stands for a column of that key, of text among the first `left`, of numbers after them.
    alarms: the rows to look at, by number; group: the column whose value tells the groups of rows apart.
    """
    made = tuple(
        column
        if isinstance(column, Column)
        else Column(column.replace(" ", "_"), column, "text" if place < left else "number")
        for place, column in enumerate(columns)
    )
    lines = []
    for number, row in enumerate(rows):
        cells = tuple(column.cell(value) for column, value in zip(made, row, strict=True))
        group_name = "" if group is None else cells[group].text
        lines.append(SheetRow(cells, kind="alarm" if number in alarms else "", group=group_name))
    return Sheet(title, made, tuple(lines), tuple(notes), signature=signature, passed=passed)


def list_facts(title: str, facts: Mapping[str, object], notes: Sequence[str] = ()) -> Sheet:
    """A sheet of names and values, without headings."""
    columns = (Column("field", kind="text"), Column("value", kind="text"))
    return make_sheet(title, columns, list(facts.items()), notes=notes)


def number(value: float | None, sign: bool = False) -> str:
    """A number with at most six digits; with `sign`, a change."""
    if value is None:
        return ""
    return f"{value + 0.0:+.6g}" if sign and value else f"{value + 0.0:.6g}"


def show_bytes(count: float) -> str:
    """A number of bytes with its unit."""
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if count >= 10 or unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def show_duration(seconds: float) -> str:
    """A time with the unit that suits it."""
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} seconds"


def capital(text: str) -> str:
    """The text with a capital first letter."""
    return text[:1].upper() + text[1:]
