"""Sheets as LaTeX, to be included as they are: they need booktabs only, and each carries its own footnotes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import groupby

from benchmark.reporting.sheet import Cell, Column, Page, Section, Sheet, SheetRow, capital

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
    "†": r"\textdagger{}",
}
EMPHASIS = {"best": r"\textbf{{{}}}", "second": r"\underline{{{}}}", "": "{}"}
LONG = 30
"""A name of more characters is broken into lines."""


def tables(page: Page, mark: str) -> str:
    """A page's sheets as tables, numbered in their labels; `mark` says what generated them."""
    name = page.title.lower().replace(" ", "-")
    sheets = [(section, sheet) for section in page.sections for sheet in section.sheets]
    found = [
        _table(f"tab:{name}-{number}", page, section, sheet)
        for number, (section, sheet) in enumerate(sheets, start=1)
    ]
    return "\n".join([f"% {mark}; needs \\usepackage{{booktabs}}", *found])


def _table(label: str, page: Page, section: Section, sheet: Sheet) -> str:
    sheet = sheet.shown
    names = [row.cells[0].text for row in sheet.rows]
    broken = max(map(len, names), default=0) > LONG
    columns = [column for column in sheet.columns[1:] if not column.second_name]
    spec = ("p{40mm}" if broken else "l") + "".join("l" if c.kind == "text" else "r" for c in columns)
    words = f"{page.title}. {capital(section.title)}."
    used = {mark for row in sheet.rows for mark in row.marks}
    footnotes = {mark: text for mark, text in page.footnotes.items() if mark in used}
    return "\n".join(
        [
            r"\begin{table*}[t]",
            r"  \centering\footnotesize\setlength{\tabcolsep}{3.5pt}",
            rf"  \caption{{{escape(words)} {escape(page.reading)}}}",
            rf"  \label{{{label}}}",
            rf"  \begin{{tabular}}{{{spec}}}",
            r"    \toprule",
            *_heads(sheet.columns[0], columns),
            r"    \midrule",
            *[f"    {_row(row, sheet.columns, names, broken)} \\\\" for row in sheet.rows],
            r"    \bottomrule",
            r"  \end{tabular}",
            *_below(sheet, footnotes),
            r"\end{table*}",
            "",
        ]
    )


def _heads(first: Column, columns: Sequence[Column]) -> list[str]:
    """Two levels where columns share a heading, else one."""
    below = [first.title, *(column.under or column.title for column in columns)]
    lines = [f"    {' & '.join(map(escape, below))} \\\\"]
    if not any(column.over for column in columns):
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


def _row(row: SheetRow, columns: Sequence[Column], names: Sequence[str], broken: bool) -> str:
    """One line; rows of the same name carry their second name too."""
    cells = list(zip(row.cells, columns, strict=True))
    (name, first), *rest = cells
    second = " ".join(cell.text for cell, column in rest if column.second_name and cell.text)
    if row.kind == "reference":
        text = rf"\quad {escape(name.text or second)}"
    else:
        text = _cell(name, first) + (f" ({escape(second)})" if second and names.count(name.text) > 1 else "")
    marks = rf"\textsuperscript{{{','.join(map(escape, row.marks))}}}" if row.marks else ""
    start = r"\raggedright " if broken else ""
    shown = [_cell(cell, column) for cell, column in rest if not column.second_name]
    return " & ".join([f"{start}{text}{marks}", *shown])


def _cell(cell: Cell, column: Column) -> str:
    text = EMPHASIS[cell.emphasis].format(escape(cell.text)) + escape(cell.tail)
    text += rf" $\pm$ {escape(cell.spread)}" if column.spread and cell.spread else ""
    return text + r"\rlap{$^{\approx}$}" if cell.tied else text


def _below(sheet: Sheet, footnotes: Mapping[str, str]) -> list[str]:
    """Footnotes, notes and signature, in small print below the table."""
    signature = escape(sheet.signature).replace(r"\textbar{}", r"|\allowbreak{}")  # typewriters have a bar
    texts = [
        rf"\textsuperscript{{{escape(mark)}}}~{escape(text.rstrip('.'))}." for mark, text in footnotes.items()
    ]
    texts += [escape(note) for note in sheet.notes]
    texts += [rf"{escape(name)}: {escape(text.rstrip('.'))}." for name, text in sheet.items.items()]
    texts += [rf"Signature: \texttt{{{signature}}}."] if sheet.signature else []
    return [
        r"",
        r"  \smallskip",
        r"  \parbox{\linewidth}{\scriptsize\raggedright",
        *[f"    {text}" for text in texts],
        r"  }",
    ]


def escape(text: str) -> str:
    """Escape LaTeX's special characters; hyphens in a row stay hyphens, straight quotes become curved ones."""
    marked = re.sub("-(?=-)", "-\0", re.sub(r'(^|(?<=[\s(\[]))"', "\1", text))
    escaped = "".join(SPECIAL.get(character, character) for character in marked)
    return escaped.replace("\0", "{}").replace("\1", "``")
