"""Sheets as LaTeX, to be included as they are: they need booktabs only, and each carries its own footnotes.

A table sets its own size of type, so that its width does not depend on the class; widths.py estimates it, and the file
says in its first lines whether it fits.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import groupby

from benchmark.reporting.sheet import Cell, Column, Page, Section, Sheet, SheetRow
from benchmark.reporting.writers.widths import (
    QUAD,
    RAISED,
    ROOM,
    SIZE,
    Layout,
    column_widths,
    head_texts,
    lay_out,
    text_width,
    two_levels,
)

SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    '"': "''",
    "±": r"$\pm$",
    "×": r"$\times$",
    "≈": r"$\approx$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "∞": r"$\infty$",
    "−": r"$-$",
    "→": r"$\rightarrow$",
    "µ": r"$\mu$",
    "°": r"$^{\circ}$",
    "…": r"\ldots{}",
    "–": "--",
    "—": "---",
}
EMPHASIS = {"best": r"\textbf{{{}}}", "second": r"\underline{{{}}}", "": "{}"}
FLOAT = 300.0
"""Points: a table of up to so many stands in one column, a wider one across both."""


def tables(page: Page, mark: str, limit: float = ROOM["textwidth"]) -> str:
    """A page's sheets as tables, numbered in their labels; `mark` says what generated them, `limit` is in points."""
    name = page.title.lower().replace(" ", "-")
    parts = [(section, sheet.shown) for section in page.sections for sheet in section.sheets]
    found = [
        _table(f"tab:{name}-{number}", page, section, sheet, limit)
        for number, (section, sheet) in enumerate(parts, start=1)
    ]
    said = [f"% table {number}: {text}" for number, text in enumerate(fits(page, limit), start=1)]
    return "\n".join([f"% {mark}; needs \\usepackage{{booktabs}}", *said, *found])


def fits(page: Page, limit: float) -> list[Layout]:
    """How each table of a page is laid out within `limit` points."""
    return [_layout(sheet.shown, limit) for section in page.sections for sheet in section.sheets]


def _layout(sheet: Sheet, limit: float) -> Layout:
    columns, names = _columns(sheet), _names(sheet)
    raised = [RAISED * text_width(",".join(row.marks)) for row in sheet.rows]
    widths = [
        text_width(name) + above + (QUAD if row.kind == "reference" else 0.0)
        for name, above, row in zip(names, raised, sheet.rows, strict=True)
    ]
    words = [text_width(word) for name in names for word in name.split()]
    longest = max(words, default=0.0) + max(raised, default=0.0)
    places = [sheet.columns.index(column) for column in columns]
    cells = [[row.cells[place] for row in sheet.rows] for place in places]
    first = text_width(sheet.columns[0].title)
    return lay_out([first, *widths], longest, column_widths(columns, cells), limit)


def _columns(sheet: Sheet) -> list[Column]:
    """The columns after the first that are not another name of it."""
    return [column for column in sheet.columns[1:] if not column.second_name]


def _names(sheet: Sheet) -> list[str]:
    """The name of each row: where several share one, and where a paper's numbers stand alone, with its second name."""
    firsts = [row.cells[0].text for row in sheet.rows]
    found = []
    for row, first in zip(sheet.rows, firsts, strict=True):
        pairs = zip(row.cells[1:], sheet.columns[1:], strict=True)
        second = " ".join(cell.text for cell, column in pairs if column.second_name and cell.text)
        if row.kind == "waiting" and second:
            found.append(f"{first}, {second}")
        else:
            found.append(
                f"{first} ({second})" if first and second and firsts.count(first) > 1 else first or second
            )
    return found


def _table(label: str, page: Page, section: Section, sheet: Sheet, limit: float) -> str:
    layout, columns = _layout(sheet, limit), _columns(sheet)
    names = "l" if layout.names is None else rf"p{{{layout.names:.1f}pt}}"
    spec = names + "".join("l" if column.kind == "text" else "r" for column in columns)
    used = {mark for row in sheet.rows for mark in row.marks}
    footnotes = {mark: text for mark, text in page.footnotes.items() if mark in used}
    place = "table" if limit <= FLOAT else "table*"
    rows = [
        _row(row, name, sheet.columns, layout) for row, name in zip(sheet.rows, _names(sheet), strict=True)
    ]
    return "\n".join(
        [
            rf"\begin{{{place}}}[t]",
            rf"  \centering\fontsize{{{SIZE:g}}}{{9.5}}\selectfont\setlength{{\tabcolsep}}{{{layout.separation:g}pt}}",
            rf"  \caption{{{escape(page.title)}: {escape(section.title)}.}}",
            rf"  \label{{{label}}}\smallskip",
            rf"  \begin{{tabular}}{{@{{}}{spec}@{{}}}}",
            r"    \toprule",
            *_heads(sheet.columns[0], columns),
            r"    \midrule",
            *[rf"    {row} \\" for row in rows],
            r"    \bottomrule",
            r"  \end{tabular}",
            *_below(page.reading, sheet, footnotes),
            rf"\end{{{place}}}",
            "",
        ]
    )


def _heads(first: Column, columns: Sequence[Column]) -> list[str]:
    """Two levels where columns share a heading, else one."""
    below = [first.title, *head_texts(columns)]
    lines = [f"    {' & '.join(map(escape, below))} \\\\"]
    if not two_levels(columns):
        return lines
    above, rules = [""], []
    place = 2  # column 1 is the name
    for over, shared in groupby(columns, key=lambda column: column.over):
        width = len(list(shared))
        if over:
            above.append(rf"\multicolumn{{{width}}}{{c}}{{{escape(over)}}}")
            rules.append(rf"\cmidrule(lr){{{place}-{place + width - 1}}}")
        else:
            above += [""] * width
        place += width
    return [f"    {' & '.join(above)} \\\\", f"    {' '.join(rules)}", *lines]


def _row(row: SheetRow, name: str, columns: Sequence[Column], layout: Layout) -> str:
    """One line; a paper's row below ours is set in."""
    marks = rf"\textsuperscript{{{','.join(map(escape, row.marks))}}}" if row.marks else ""
    start = "" if layout.names is None else r"\raggedright "
    start += r"\quad " if row.kind == "reference" else ""
    cells = zip(row.cells[1:], columns[1:], strict=True)
    shown = [_cell(cell, column) for cell, column in cells if not column.second_name]
    return " & ".join([f"{start}{escape(name)}{marks}", *shown])


def _cell(cell: Cell, column: Column) -> str:
    text = EMPHASIS[cell.emphasis].format(escape(cell.text)) + escape(cell.tail)
    text += rf" $\pm$ {escape(cell.spread)}" if column.spread and cell.spread else ""
    return text + r"\rlap{$^{\approx}$}" if cell.tied else text


def _below(reading: str, sheet: Sheet, footnotes: Mapping[str, str]) -> list[str]:
    """How to read it, footnotes, notes and signature, in small print below the table."""
    signature = escape(sheet.signature).replace(r"\textbar{}", r"|\allowbreak{}")  # typewriters have a bar
    texts = [_breakable(reading)] if reading else []
    texts += [
        rf"\textsuperscript{{{escape(mark)}}}~{_breakable(text.rstrip('.'))}."
        for mark, text in footnotes.items()
    ]
    texts += [_breakable(note) for note in sheet.notes]
    texts += [f"{_breakable(name)}: {_breakable(text.rstrip('.'))}." for name, text in sheet.items.items()]
    texts += [rf"Signature: \texttt{{{signature}}}."] if sheet.signature else []
    if not texts:
        return []
    return [
        r"",
        r"  \smallskip",
        r"  \parbox{\linewidth}{\fontsize{7}{8.5}\selectfont\raggedright",
        *[f"    {text}" for text in texts],
        r"  }",
    ]


def _breakable(text: str) -> str:
    """The text escaped, with places in addresses and long names where a line may end."""
    return re.sub(r"(/|\\_)(?=\w)", r"\1\\allowbreak{}", escape(text))


def escape(text: str) -> str:
    """Escape LaTeX's special characters; hyphens in a row stay hyphens, straight quotes become curved ones."""
    marked = re.sub("-(?=-)", "-\0", re.sub(r'(^|(?<=[\s(\[]))"', "\1", text))
    escaped = "".join(SPECIAL.get(character, character) for character in marked)
    return escaped.replace("\0", "{}").replace("\1", "``")
