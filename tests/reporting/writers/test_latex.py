"""LaTeX: balanced, columns filled, special characters escaped, widths as TeX has them; compiled where there is one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from benchmark.errors import UserError
from benchmark.places import RUNS
from benchmark.records.record import RunRecord, read_all
from benchmark.reporting.leaderboard.boards import boards_below
from benchmark.reporting.leaderboard.content import MARK, PRINTED, Wanted, make_page
from benchmark.reporting.leaderboard.selection import choose_columns
from benchmark.reporting.sheet import Column, Page, Section, make_sheet
from benchmark.reporting.writers import latex as writer
from benchmark.reporting.writers.latex import escape as tex
from benchmark.reporting.writers.widths import ROOM, Layout, lay_out, read_width
from tests.paths import ROOT
from tests.reporting.leaderboard.test_rows import sgr
from tests.reporting.writers.samples import ODD, RECORDS, SMALL, SMALL_PAGE, board, ensemble

LONG = "USER without external knowledge (presumably SGE, the released code)"
SAMPLES: dict[str, tuple[str, Sequence[RunRecord]]] = {
    "flickr30k": ("flickr30k", RECORDS),
    "scenes": ("scenes", RECORDS),
    "ensemble": ("flickr30k", [RECORDS[4], RECORDS[5], ensemble(RECORDS[4], RECORDS[5])]),
    "long name": ("flickr30k", [sgr(run="user", method="user", variant=LONG)]),
}


def latex(records: Sequence[RunRecord], protocol: str = "flickr30k", wanted: Wanted = PRINTED) -> str:
    return writer.tables(make_page(board(records, protocol), wanted), MARK)


def text_of(name: str) -> str:
    protocol, records = SAMPLES[name]
    return latex(records, protocol)


SMALL_TABLE = r"""% made by x; needs \usepackage{booktabs}
% table 1: about 169 pt wide in 8 pt type: fits 455 pt
\begin{table*}[t]
  \centering\fontsize{8}{9.5}\selectfont\setlength{\tabcolsep}{6pt}
  \caption{scenes: Part.}
  \label{tab:scenes-1}\smallskip
  \begin{tabular}{@{}lrrr@{}}
    \toprule
     & \multicolumn{2}{c}{image to text} &  \\
    \cmidrule(lr){2-3}
    run & R@1 & R@5 & time ms \\
    \midrule
    a\_1 (A \& B)\textsuperscript{a,b} & \textbf{1.5}\rlap{$^{\approx}$} & \underline{9} of 9 & 2 $\pm$ 0.1 \\
    a\_1 (C) & 0.5 & 8 & 3 \\
    \quad paper & 0.4 & 7 &  \\
    z & 0.1 & 1 & 5 \\
    \bottomrule
  \end{tabular}

  \smallskip
  \parbox{\linewidth}{\fontsize{7}{8.5}\selectfont\raggedright
    Read it.
    \textsuperscript{a}~why.
    \textsuperscript{b}~of \textless{}members\textgreater{}.
    A note\_.
    a: first.
    b: second.
    Signature: \texttt{k:1|\allowbreak{}m:2}.
  }
\end{table*}
"""


def test_a_small_table_is_this_text() -> None:
    assert writer.tables(SMALL_PAGE, "made by x") == SMALL_TABLE
    first, *rest = SMALL.rows
    long = replace(first, cells=(replace(first.cells[0], text="many words " * 9), *first.cells[1:]))
    section = replace(SMALL_PAGE.sections[0], sheets=(replace(SMALL, rows=(long, *rest)),))
    both = replace(SMALL_PAGE, sections=(*SMALL_PAGE.sections, section))
    broken = writer.tables(both, "made by x", 219.0)
    assert "\n% table 2: about 219 pt wide in 8 pt type: fits 219 pt\n" in broken
    assert r"\begin{tabular}{@{}p{" in broken
    assert r"\label{tab:scenes-2}" in broken
    assert r"\begin{table}[t]" in broken  # in one column
    for start in (r"\raggedright many words ", r"\raggedright a\_1 & ", r"\raggedright z & "):
        assert f"    {start}" in broken


@pytest.mark.parametrize(
    ("text", "written"),
    [
        *(("\\", r"\textbackslash{}"), ("~", r"\textasciitilde{}"), ("^", r"\textasciicircum{}")),
        *(("<", r"\textless{}"), (">", r"\textgreater{}"), ("|", r"\textbar{}"), ("`", r"\textasciigrave{}")),
        *((mark, f"\\{mark}") for mark in "{}&%$#_"),
        *(("±", r"$\pm$"), ("×", r"$\times$"), ("≈", r"$\approx$"), ("≤", r"$\leq$"), ("≥", r"$\geq$")),
        *(("∞", r"$\infty$"), ("−", "$-$"), ("→", r"$\rightarrow$"), ("µ", r"$\mu$"), ("°", r"$^{\circ}$")),
        *(("…", r"\ldots{}"), ("–", "--"), ("—", "---"), ('"', "''")),
    ],
)
def test_each_character_is_written_so(text: str, written: str) -> None:
    assert tex(f"a{text}b") == f"a{written}b"


@pytest.mark.parametrize("name", SAMPLES)
def test_it_is_balanced(name: str) -> None:
    text = text_of(name)
    bare = re.sub(r"\\[\\{}&%$#_]|^%.*", "", text, flags=re.MULTILINE)
    depth = 0
    for character in bare:
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0
    assert bare.count("$") % 2 == 0
    assert not set("#~%") & set(bare.replace("}~", "}"))
    begun, ended = re.findall(r"\\begin\{(\S+?)\}", text), re.findall(r"\\end\{(\S+?)\}", text)
    assert sorted(begun) == sorted(ended)
    rules = {text.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")}
    assert rules == {begun.count("tabular")} == {begun.count("table*")}


@pytest.mark.parametrize("name", SAMPLES)
def test_rows_fill_all_columns_below_two_levels_of_heads(name: str) -> None:
    for table in text_of(name).split(r"\begin{tabular}{")[1:]:
        spec = table.split("}\n", 1)[0]
        width = len(re.sub(r"p\{[\w.]+\}|@\{\}", lambda part: part[0][0].strip("@"), spec))
        lines = [line.strip() for line in table.splitlines() if line.endswith(r" \\")]
        assert len(lines) >= 3
        for line in lines:
            spans = [int(span) for span in re.findall(r"\\multicolumn\{(\d+)\}", line)]
            cells = len(re.findall(r"(?<!\\)&", line)) + 1
            assert cells + sum(spans) - len(spans) == width
        assert r"\multicolumn{3}{c}{image to text} & \multicolumn{3}{c}{text to image}" in lines[0]
        assert re.match(r"method & (models & )?n & R@1 & R@5 & R@10 & R@1 & R@5 & R@10", lines[1])
        over = [cell for cell in lines[0].removesuffix(r" \\").split("&") if cell.strip()]
        ends = [int(end) for end in re.findall(r"\\cmidrule\(lr\)\{\d+-(\d+)\}", table)]
        assert len(ends) == len(over) == 2 + ("rsum" in lines[0])
        assert max(ends) <= width


@pytest.mark.parametrize("character", "\\{}&%$#_~^<>|`\"±×≈≤≥∞−→µ°…–—-'")
def test_every_special_character_is_escaped(character: str) -> None:
    text = tex(f"a{character}b{character}{character}c")
    bare = re.sub(r"\\[a-zA-Z]+(\{\})?|\\[{}&%$#_]|\$\\?[a-z^{}\\-]+\$|-\{\}-", "", text)
    assert not set('\\{}&%$#_~^<>|"') & set(bare), text
    assert "`" not in bare.replace("``", "")
    assert bare.isascii()
    assert "--" not in bare or character in "–—"
    assert text.startswith("a")
    assert text.endswith("c")


def test_hyphens_in_a_row_stay_hyphens() -> None:
    assert tex("--data-dir ---") == "-{}-data-dir -{}-{}-"


def test_quotes_open_and_close() -> None:
    assert tex('"t2i" ("x")') == "``t2i'' (``x'')"


def test_marks_best_second_and_paper() -> None:
    text = text_of("flickr30k")
    assert r"\textbf{76.7}" in text
    assert r"\quad paper\textsuperscript{a} &" in text
    assert "SGR (repository) (sgr) & 3 & " in text
    assert r"\underline{491.5} $\pm$ 0.60" in text
    assert r"\textsuperscript{a}~Paper's row: " in text
    three = [sgr(run=str(place), shift=-float(place)) for place in range(3)]
    assert r"\underline{75.6}" in latex(three)


def test_runs_of_one_variant_are_told_apart() -> None:
    text = latex([sgr(run="a_1"), sgr(run="b", shift=1.0)])
    assert r"SGR (repository) (a\_1)" in text
    assert "(repository) (" not in latex([sgr(run="a_1")])


def test_a_printed_table_says_what_it_must_and_nothing_of_our_files() -> None:
    text = text_of("flickr30k")
    assert "& not comparable" in text
    assert "Runs called not comparable depart from their paper's set-up." in text
    assert "not run" in text
    assert "smoke test" in text_of("scenes")
    committed = [make_page(found, PRINTED) for found in boards_below(ROOT, read_all(ROOT / RUNS))]
    for said in (text, *(writer.tables(page, "") for page in committed)):
        for word in (
            "results/",
            "recipes/",
            ".yaml",
            "nox",
            "rematch",
            "Signature",
            "fingerprint",
            "half of the data",
        ):
            assert word not in said.split("\n", 1)[1], word


def test_heads_have_one_level_where_no_columns_share_one() -> None:
    text = latex([sgr()], wanted=Wanted(choose_columns(["r1", "rsum"]), printed=True))
    assert r"    method & i2t R@1 & t2i R@1 & rsum $\pm$ sd \\" in text
    assert r"\multicolumn" not in text


# ------------------------------------------------------------------------------------------ widths


@pytest.mark.parametrize(
    ("names", "columns", "limit", "expected"),
    [
        ([50, 90], [20, 30], 200, Layout(6.0, None, 90 + 50 + 24, 200)),
        ([50, 90], [20, 30], 160, Layout(4.5, None, 90 + 50 + 18, 160)),
        ([50, 90], [20, 30], 152, Layout(3.0, None, 90 + 50 + 12, 152)),
        ([50, 90], [20, 30], 130, Layout(3.0, 68, 130, 130)),
        ([50, 90], [20, 30], 121, Layout(3.0, None, 90 + 50 + 12, 121)),  # under 60 pt are left
    ],
)
def test_a_table_is_set_as_wide_as_there_is_room(
    names: list[float], columns: list[float], limit: float, expected: Layout
) -> None:
    assert lay_out(names, 40, columns, limit) == expected
    assert expected.fits == (limit != 121)
    assert ("does NOT fit 121 pt; choose fewer columns" in str(expected)) == (limit == 121)


def test_a_word_is_never_broken() -> None:
    assert lay_out([90], 69, [50, 12], 130) == Layout(3.0, None, 164, 130)


@pytest.mark.parametrize(
    ("text", "points"),
    [
        ("textwidth", 455),
        ("column", 219),
        ("455pt", 455),
        ("1in", 72.27),
        ("25.4 mm", 72.27),
        ("2.54cm", 72.27),
    ],
)
def test_widths_are_names_or_lengths(text: str, points: float) -> None:
    assert read_width(text) == pytest.approx(points)


@pytest.mark.parametrize("text", ["45", "-3pt", "1e9pt", "nan", "10em", "", "9" * 5000 + "pt"])
def test_other_widths_are_refused(text: str) -> None:
    with pytest.raises(
        UserError, match=r"^--width: found '.*, expected a length such as 455pt, 160mm or 6\.3in"
    ):
        read_width(text)
    with pytest.raises(UserError, match="did you mean 'column'"):
        read_width("colum")


# ---------------------------------------------------------------------------------------- compiled


def compiled(folder: Path, body: str) -> str:
    """What TeX says of a document of two columns of 219 pt, 455 pt in all."""
    if shutil.which("pdflatex") is None:
        pytest.skip("there is no TeX here")
    setup = r"\setlength{\textwidth}{455pt}\setlength{\columnsep}{17pt}\usepackage{booktabs}"
    text = rf"\documentclass[twocolumn]{{article}}{setup}\begin{{document}}{body}\end{{document}}"
    (folder / "paper.tex").write_text(f"{text}\n", encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    environment = {**os.environ, "max_print_line": "1000"}
    done = subprocess.run(command, cwd=folder, capture_output=True, timeout=120, check=False, env=environment)
    said = done.stdout.decode("latin-1")
    if "booktabs.sty' not found" in said:
        pytest.skip("this TeX has no booktabs")
    assert done.returncode == 0, said[-2000:]
    assert "Missing character" not in said
    return said


def printed_pages() -> list[Page]:
    """The samples' tables and the committed ones, whole and with few columns."""
    found = [board(records, protocol) for protocol, records in SAMPLES.values()]
    found += boards_below(ROOT, read_all(ROOT / RUNS))
    few = Wanted(choose_columns(["r1", "rsum", "verdict"]), printed=True)
    return [make_page(item, wanted) for item in found for wanted in (PRINTED, few)]


def test_tables_compile_and_fit_where_they_say_so(tmp_path: Path) -> None:
    """Each stands between two lines of the log; one that does not fit is too wide indeed."""
    parts, layouts = [rf"\noindent {tex(ODD)}\clearpage"], list[list[Layout]]()
    for page in printed_pages():
        for room in ROOM.values():
            table = writer.tables(page, MARK, room)
            parts.append(rf"\typeout{{TABLE {len(layouts)}.}}" + f"\n{table}")
            layouts.append(writer.fits(page, room))
    said = compiled(tmp_path, "\n\\clearpage\n".join([*parts, r"\typeout{TABLE end.}"]))
    assert (tmp_path / "paper.pdf").stat().st_size > 10_000
    outcomes = set()
    for number, fits in enumerate(layouts):
        log = said.split(f"TABLE {number}.")[1].split("TABLE ")[0]
        assert ("Overfull \\hbox" in log) == (not all(layout.fits for layout in fits)), (number, fits, log)
        outcomes |= {layout.fits for layout in fits}
    assert outcomes == {True, False}


def test_estimated_widths_are_those_of_tex_or_a_little_more(tmp_path: Path) -> None:
    letters = [Column(f"c{n}", "wide heads, AVM", "text") for n in range(2)]
    words = make_sheet(
        "t", ["name", *letters], [["The quick brown fox", "jumps over", "0123456789 & (x) #7"]] * 2
    )
    pages = [*printed_pages(), Page("words", (Section("part", (words,)),))]
    parts, estimates = [], []
    for page in pages:
        for text in writer.tables(page, MARK, 9999.0).split(r"\begin{tabular}")[1:]:
            body = text.split(r"\end{tabular}")[0]
            size = r"\fontsize{8}{9.5}\selectfont\setlength{\tabcolsep}{6pt}"
            box = rf"\setbox0\hbox{{\begin{{tabular}}{body}\end{{tabular}}}}"
            parts.append(rf"{{{size}{box}\typeout{{WIDTH \the\wd0.}}}}")
        estimates += [layout.width for layout in writer.fits(page, 9999.0)]
    said = compiled(tmp_path, "\n".join(parts))
    widths = [float(found) for found in re.findall(r"WIDTH ([\d.]+)pt\.", said)]
    for estimate, width in zip(estimates, widths, strict=True):
        assert width <= estimate <= 1.1 * width
