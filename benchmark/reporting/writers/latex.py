"""Tables as LaTeX, to be included as they are: they need booktabs only, and each carries its own notes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from benchmark.records.parts import RECALLS
from benchmark.reporting.leaderboard.content import DAGGER, Cell, GroupTable, Page, TableRow
from benchmark.reporting.writers.markdown import MARK, capital

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
    DAGGER: r"\textdagger{}",
}
HEADS = {
    "n": "$n$",
    **{name: f"R@{name.split('_r')[1]}" for name in RECALLS},
    "rsum": r"mean $\pm$ sd",
    "interval": r"95 \% interval",
    "query_ms": "query ms",
}
LEFT = ("members", "verdict")
LONG = 30
"""A method's name of more characters is broken into lines."""


def latex(pages: Sequence[Page]) -> str:
    """Tables of one sheet each, numbered in their labels."""
    tables = [_table(f"tab:{page.protocol}-{number}", page) for number, page in enumerate(pages, start=1)]
    return "\n".join([f"% {MARK}; needs \\usepackage{{booktabs}}", *tables])


def _table(label: str, page: Page) -> str:
    (sheet,) = page.sheets
    names = [line.name for line in sheet.lines]
    method = "p{40mm}" if max(map(len, names)) > LONG else "l"
    spec = method + "".join("l" if name in LEFT else "r" for name in sheet.columns)
    body = [_row(line, sheet.columns, names, method != "l") for line in sheet.lines]
    return "\n".join(
        [
            r"\begin{table*}[t]",
            r"  \centering\footnotesize\setlength{\tabcolsep}{3.5pt}",
            rf"  \caption{{{_caption(page)}}}",
            rf"  \label{{{label}}}",
            rf"  \begin{{tabular}}{{{spec}}}",
            r"    \toprule",
            *_heads(sheet.columns),
            r"    \midrule",
            *[f"    {line} \\\\" for line in body],
            r"    \bottomrule",
            r"  \end{tabular}",
            *_below(sheet, page.notes),
            r"\end{table*}",
            "",
        ]
    )


def _caption(page: Page) -> str:
    (sheet,) = page.sheets
    words = f"{page.protocol}. {sheet.group.title}; {sheet.setting}. {capital(sheet.size)}."
    reading = (
        r"Recalls and their sum in percent: means over $n$ seeds, sd over the seeds, bootstrap interval over test "
        r"images. Best in bold, second underlined."
    )
    return f"{tex(words)} {reading}"


def _heads(columns: Sequence[str]) -> list[str]:
    """Two levels: the directions and the sum above their columns."""
    over = {"i2t_r1": (3, "Image-to-text"), "t2i_r1": (3, "Text-to-image"), "rsum": (2, "Sum of recalls")}
    above, rules = [""], []
    place = 2  # column 1 is the method
    for name in columns:
        if name in over:
            width, title = over[name]
            above.append(rf"\multicolumn{{{width}}}{{c}}{{{title}}}")
            rules.append(rf"\cmidrule(lr){{{place}-{place + width - 1}}}")
        elif name not in (*RECALLS, "interval"):
            above.append("")
        place += 1
    below = ["Method", *(HEADS.get(name, name) for name in columns)]
    return [f"    {' & '.join(above)} \\\\", f"    {' '.join(rules)}", f"    {' & '.join(below)} \\\\"]


def _row(line: TableRow, columns: Sequence[str], names: Sequence[str], broken: bool) -> str:
    """Runs that share a method's name carry theirs."""
    name = tex(line.name) if line.run else rf"\quad {tex(line.name)}"
    if line.run and names.count(line.name) > 1:
        name += f" ({tex(line.run)})"
    marks = rf"\textsuperscript{{{','.join(map(tex, line.marks))}}}" if line.marks else ""
    start = r"\raggedright " if broken else ""
    return " & ".join([f"{start}{name}{marks}", *(_cell(line.cells[column], column) for column in columns)])


def _cell(cell: Cell, column: str) -> str:
    text = {"best": r"\textbf{{{}}}", "second": r"\underline{{{}}}", "": "{}"}[cell.rank].format(
        tex(cell.text)
    )
    text += rf" $\pm$ {tex(cell.spread)}" if column == "rsum" and cell.spread else ""
    return text + r"\rlap{$^{\approx}$}" if cell.tied else text


def _below(sheet: GroupTable, notes: Mapping[str, str]) -> list[str]:
    """Notes and signature, in small print below the table."""
    signature = tex(sheet.group.signature).replace(r"\textbar{}", r"|\allowbreak{}")  # typewriters have a bar
    texts = [rf"\textsuperscript{{{tex(mark)}}}~{tex(text.rstrip('.'))}." for mark, text in notes.items()]
    texts += [tex(remark) for remark in sheet.remarks]
    return [
        r"",
        r"  \smallskip",
        r"  \parbox{\linewidth}{\scriptsize\raggedright",
        *[f"    {text}" for text in texts],
        rf"    Signature: \texttt{{{signature}}}.}}",
    ]


def tex(text: str) -> str:
    """Escape LaTeX's special characters; hyphens in a row stay hyphens, straight quotes become curved ones."""
    marked = re.sub("-(?=-)", "-\0", re.sub(r'(^|(?<=[\s(\[]))"', "\1", text))
    escaped = "".join(SPECIAL.get(character, character) for character in marked)
    return escaped.replace("\0", "{}").replace("\1", "``")
