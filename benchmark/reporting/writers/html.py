"""Tables as one self-contained HTML page a protocol: plain tables, light and dark, narrow screens, no scripts."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from benchmark.records.parts import RECALLS
from benchmark.reporting.leaderboard.content import Cell, GroupTable, Page, TableRow
from benchmark.reporting.writers.markdown import APART, MARK, capital

STYLE = """
:root { color-scheme: light dark; --ink: #1c2024; --soft: #5b6470; --rule: #cdd3da; --ground: #ffffff; --band: #f3f5f7;
  --link: #0b57a4; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ec; --soft: #a3adb8; --rule: #3a424b; --ground: #14171a; --band: #1d2126; --link: #7fb7f2; }
}
body { margin: 0 auto; padding: 1.5rem 1rem 3rem; max-width: 76rem; background: var(--ground); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.25rem; margin-top: 2.5rem; } p, li { max-width: 46rem; }
a { color: var(--link); } a:focus-visible, .wide:focus-visible { outline: 2px solid var(--link); }
code { font-size: .8rem; overflow-wrap: anywhere; }
.wide { overflow-x: auto; margin: 1.25rem 0 .5rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding-bottom: .5rem; font-weight: 600; }
caption small { display: block; font-weight: 400; color: var(--soft); }
sup { line-height: 0; } sup a { text-decoration: none; }
th, td { padding: .3rem .55rem; text-align: right; white-space: nowrap; font-weight: 400; }
thead th { border-bottom: 1px solid var(--rule); color: var(--soft); font-size: .875rem; vertical-align: bottom; }
thead th[colspan] { text-align: center; } thead tr:first-child th:first-child { text-align: left; }
tbody th { text-align: left; white-space: normal; min-width: 9rem;
  position: sticky; left: 0; background: var(--ground); }
tbody tr.ours > * { border-top: 1px solid var(--rule); } tbody tr.paper > * { color: var(--soft); }
tbody tr.paper th { padding-left: 1.5rem; } tbody th code { display: block; color: var(--soft); }
td.text { text-align: left; white-space: normal; }
td small, .soft { color: var(--soft); font-size: .8rem; } strong { font-weight: 700; }
u { text-underline-offset: .2em; } li:target { background: var(--band); }
"""
HEADS = {
    "n": "n",
    **{name: f"R@{name.split('_r')[1]}" for name in RECALLS},
    "rsum": "mean ± sd",
    "interval": "95 % interval",
    "query_ms": "query ms",
}
OVER = {"i2t_r1": (3, "image to text"), "t2i_r1": (3, "text to image"), "rsum": (2, "rsum")}
"""First column of those with a common title: their number, the title."""
TEXT = ("members", "verdict")
HOW_TO_READ = (
    "Recalls and rsum in percent: means over n seeds, ± the seeds' standard deviation (n/a: one seed has none); "
    "the interval is a bootstrap interval of rsum over test images. <strong>Best</strong> and <u>second</u> of each "
    "table. The papers' own rows stand below ours. Letters lead to the notes."
)


def html(page: Page) -> str:
    """A protocol's tables as one file that asks for nothing else."""
    parts = [f"<h1>{as_text(page.protocol)}</h1>", f"<p>{HOW_TO_READ}</p>"]
    number = 0
    for title, sheets in page.kinds():
        parts += [f"<h2>{as_text(title)}</h2>", *([f"<p>{APART}</p>"] if len(sheets) > 1 else [])]
        for sheet in sheets:
            number += 1
            parts.append(_table(sheet, number))
            parts += [f'<p class="soft">{as_text(remark)}</p>' for remark in sheet.remarks]
            figures = [
                f"<li><b>{as_text(run)}</b>: {as_text(text)}</li>" for run, text in sheet.figures.items()
            ]
            parts += ["<ul>", *figures, "</ul>"] if figures else []
            parts.append(f'<p class="soft">Signature: <code>{as_text(sheet.group.signature)}</code></p>')
    if page.notes:
        notes = [
            f'<li id="note-{_anchor(mark)}"><b>{as_text(mark)}</b> {as_text(text)}</li>'
            for mark, text in page.notes.items()
        ]
        parts += ["<h2>Notes</h2>", "<ul>", *notes, "</ul>"]
    return f"""<!doctype html>
<!-- {MARK} -->
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Rematch: {as_text(page.protocol)}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
{chr(10).join(parts)}
</main>
</body>
</html>
"""


def _table(sheet: GroupTable, number: int) -> str:
    """A table in a frame that scrolls sideways, with the keyboard too."""
    caption = f"{as_text(capital(sheet.setting))} <small>{as_text(capital(sheet.size))}</small>"
    rows = [_row(line, sheet.columns) for line in sheet.lines]
    return "\n".join(
        [
            f'<div class="wide" role="region" tabindex="0" aria-labelledby="table-{number}">',
            "<table>",
            f'<caption id="table-{number}">{caption}</caption>',
            "<thead>",
            *_heads(sheet.columns),
            "</thead>",
            "<tbody>",
            *rows,
            "</tbody>",
            "</table>",
            "</div>",
        ]
    )


def _heads(columns: Sequence[str]) -> list[str]:
    """Two rows: the directions and rsum over their columns; what has no common title spans both."""
    above, below = ['<th scope="col" rowspan="2">method</th>'], []
    under = 0
    for name in columns:
        head = HEADS.get(name, name)
        if name in OVER:
            under, title = OVER[name]
            above.append(f'<th scope="colgroup" colspan="{under}">{title}</th>')
        if under:
            below.append(f'<th scope="col">{head}</th>')
            under -= 1
        else:
            above.append(f'<th scope="col" rowspan="2">{head}</th>')
    return [f"<tr>{''.join(above)}</tr>", f"<tr>{''.join(below)}</tr>"]


def _row(line: TableRow, columns: Sequence[str]) -> str:
    links = [f'<a href="#note-{_anchor(mark)}">{as_text(mark)}</a>' for mark in line.marks]
    marks = f" <sup>{' '.join(links)}</sup>" if links else ""
    run = f"<code>{as_text(line.run)}</code>" if line.run else ""
    head = f'<th scope="row">{as_text(line.name)}{marks}{run}</th>'
    cells = [_cell(line.cells[column], column) for column in columns]
    return f'<tr class="{"ours" if line.run else "paper"}">{head}{"".join(cells)}</tr>'


def _cell(cell: Cell, column: str) -> str:
    text = {"best": "<strong>{}</strong>", "second": "<u>{}</u>", "": "{}"}[cell.rank].format(
        as_text(cell.text)
    )
    spread = f" <small>± {as_text(cell.spread)}</small>" if cell.spread else ""
    spread += " ≈" if cell.tied else ""
    return f'<td class="text">{text}</td>' if column in TEXT else f"<td>{text}{spread}</td>"


def _anchor(mark: str) -> str:
    """A mark as part of an id."""
    return mark if mark.isascii() else "members"


def as_text(text: str) -> str:
    """The text for use between tags; not for attributes, quotes stay."""
    return escape(text, quote=False)
