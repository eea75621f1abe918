"""LaTeX: balanced, all columns filled, special characters escaped; compiled where there is a TeX."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from benchmark.records.record import RunRecord
from benchmark.reporting.leaderboard.content import MARK, print_page
from benchmark.reporting.sheet import Page
from benchmark.reporting.writers import latex as writer
from benchmark.reporting.writers.latex import escape as tex
from tests.reporting.leaderboard.test_rows import sgr
from tests.reporting.writers.samples import ODD, RECORDS, SMALL, SMALL_PAGE, ensemble, page

LONG = "USER without external knowledge (presumably SGE, the released code)"
SAMPLES: dict[str, tuple[str, Sequence[RunRecord]]] = {
    "flickr30k": ("flickr30k", RECORDS),
    "scenes": ("scenes", RECORDS),
    "ensemble": ("flickr30k", [RECORDS[4], RECORDS[5], ensemble(RECORDS[4], RECORDS[5])]),
    "long name": ("flickr30k", [sgr(run="user", method="user", variant=LONG)]),
}


def latex(found: Page) -> str:
    return writer.tables(print_page(found), MARK)


def text_of(name: str) -> str:
    protocol, records = SAMPLES[name]
    return latex(page(records, protocol))


SMALL_TABLE = r"""% made by x; needs \usepackage{booktabs}
\begin{table*}[t]
  \centering\footnotesize\setlength{\tabcolsep}{3.5pt}
  \caption{scenes. Part. Read it.}
  \label{tab:scenes-1}
  \begin{tabular}{lrrr}
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
  \parbox{\linewidth}{\scriptsize\raggedright
    \textsuperscript{a}~why.
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
    long = replace(first, cells=(replace(first.cells[0], text="n" * 31), *first.cells[1:]))
    section = replace(SMALL_PAGE.sections[0], sheets=(replace(SMALL, rows=(long, *rest)),))
    both = replace(SMALL_PAGE, sections=(*SMALL_PAGE.sections, section))
    broken = writer.tables(both, "made by x")
    assert broken.startswith(SMALL_TABLE)
    assert r"\begin{tabular}{p{40mm}rrr}" in broken
    assert r"\label{tab:scenes-2}" in broken
    for start in (
        r"\raggedright " + "n" * 31 + r"\textsuperscript{a,b} & ",
        r"\raggedright a\_1 & ",
        r"\raggedright z & ",
    ):
        assert f"    {start}" in broken


@pytest.mark.parametrize(
    ("text", "written"),
    [
        *(("\\", r"\textbackslash{}"), ("~", r"\textasciitilde{}"), ("^", r"\textasciicircum{}")),
        *(("<", r"\textless{}"), (">", r"\textgreater{}"), ("|", r"\textbar{}"), ("`", r"\textasciigrave{}")),
        *((mark, f"\\{mark}") for mark in "{}&%$#_"),
        *(("±", r"$\pm$"), ("×", r"$\times$"), ("≈", r"$\approx$"), ("≤", r"$\leq$"), ("≥", r"$\geq$")),
        *(("∞", r"$\infty$"), ("−", "$-$"), ("→", r"$\rightarrow$"), ("µ", r"$\mu$"), ("°", r"$^{\circ}$")),
        *(("…", r"\ldots{}"), ("–", "--"), ("—", "---"), ("†", r"\textdagger{}"), ('"', "''")),
    ],
)
def test_each_character_is_written_so(text: str, written: str) -> None:
    assert tex(f"a{text}b") == f"a{written}b"


@pytest.mark.parametrize("name", SAMPLES)
def test_it_is_balanced(name: str) -> None:
    text = text_of(name)
    bare = re.sub(r"\\[\\{}&%$#_]", "", text.split("\n", 1)[1])
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
        width = len(re.sub(r"p\{\w+\}", "p", spec))
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


@pytest.mark.parametrize("character", "\\{}&%$#_~^<>|`\"±×≈≤≥∞−→µ°…–—†-'")
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
    assert "& not comparable" in text
    assert "half of the data" in text
    three = [sgr(run=str(place), shift=-float(place)) for place in range(3)]
    assert r"\underline{75.6}" in latex(page(three))


def test_runs_of_one_variant_are_told_apart() -> None:
    text = latex(page([sgr(run="a_1"), sgr(run="b", shift=1.0)]))
    assert r"SGR (repository) (a\_1)" in text
    assert "(repository) (" not in latex(page([sgr(run="a_1")]))


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no TeX here")
def test_it_compiles_as_it_is(tmp_path: Path) -> None:
    names = []
    for name in SAMPLES:
        file = tmp_path / f"{name.replace(' ', '-')}.tex"
        file.write_text(text_of(name), encoding="utf-8")
        names.append(file.name)
    included = "\n".join(rf"\input{{{name}}}\clearpage" for name in names)
    odd = rf"\noindent {tex(ODD)}"
    document = rf"\documentclass[twocolumn]{{article}}\usepackage{{booktabs}}\begin{{document}}{odd}"
    (tmp_path / "paper.tex").write_text(f"{document}\n{included}\n\\end{{document}}\n", encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=120, check=False)
    said = done.stdout.decode("latin-1")
    assert done.returncode == 0, said[-2000:]
    assert "Missing character" not in said
    assert (tmp_path / "paper.pdf").stat().st_size > 10_000
