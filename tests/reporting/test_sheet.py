"""Sheets: the same cells in every format, and nothing in them that a format would read as its own."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from benchmark.reporting.sheet import NONE, Cell, Column, Section, Sheet, list_facts, make_sheet, number
from benchmark.reporting.sheet import Page as SheetPage
from benchmark.reporting.writers import html, latex, markdown
from benchmark.reporting.writers.formats import WRITERS, write_sheets
from benchmark.reporting.writers.json import write_document, write_json
from tests.reporting.writers.samples import SMALL

SHEET = make_sheet(
    "a [title]", ("run", "value"), [("a|b", 1), ("x [red]y[/]", 2)], notes=["a_b <note>"], alarms=[1]
)
DANGEROUS = {
    "\\": "\\\\",
    "`": "\\`",
    "*": "\\*",
    "[": "\\[",
    "]": "\\]",
    "|": "\\|",
    "~": "\\~",
    "#": "\\#",
    "$": "\\$",
    "<": "&lt;",
    ">": "&gt;",
    "&": "&amp;",
}
"""What Markdown, HTML in it, or GitHub reads as its own, and how it must be written."""


def test_markdown() -> None:
    assert markdown.sheets([SHEET]).splitlines() == [
        "### a \\[title\\]",
        "",
        "| run                 |   value |",
        "|:--------------------|--------:|",
        "| a\\|b                |       1 |",
        "| **x \\[red\\]y\\[/\\]** |   **2** |",
        "",
        "a_b &lt;note&gt;",
    ]


def test_a_folded_sheet_opens_on_request() -> None:
    (column, *_), rows = SHEET.columns, make_sheet("t", ("a",), [("b",)]).rows
    folded = markdown.sheets([Sheet("t", (column,), rows, folded=True)])
    assert folded.startswith("<details><summary>t</summary>\n\n| run")
    assert folded.endswith("</details>\n")


@pytest.mark.parametrize("character", DANGEROUS)
def test_markdown_escapes_each_dangerous_character(character: str) -> None:
    assert markdown.escape(f"a{character}b") == f"a{DANGEROUS[character]}b"


def test_markdown_escapes_underscores_and_mentions_at_the_ends_of_words_only() -> None:
    assert markdown.escape("_a_ vse_infty R@1 @name") == "\\_a\\_ vse_infty R@1 \\@name"
    assert markdown.escape("two\nlines\r\nand  more") == "two lines and more"


def test_html_escapes_each_dangerous_character() -> None:
    text = "<b>&\"'"
    sheet = make_sheet(text, (text,), [(Cell(text, tail=text, link=f"#{text}"),)], notes=[text])
    found = html.page(SheetPage(text, (Section(text, (sheet,), text),), text, footnotes={"a": text}), "mark")
    assert "<b>&" not in found
    assert "'\"" not in found
    assert found.count("&lt;b&gt;&amp;&#34;&#39;") >= 8


def test_text_shows_markup_as_it_is() -> None:
    text = write_sheets([SHEET, Sheet("only a title")], "text")
    for cell in ("a [title]", "a|b", "x [red]y[/]", "a_b <note>", "only a title"):
        assert cell in text
    assert "\x1b" not in text


def test_numbers() -> None:
    assert [number(value) for value in (None, 1.0, 0.1 + 0.2, -0.0)] == ["", "1", "0.3", "0"]
    assert [number(value, sign=True) for value in (2.5, -2.5, 0.0)] == ["+2.5", "-2.5", "0"]


def test_values_become_text_by_their_column() -> None:
    column = Column("x", spec=".2f", missing=NONE)
    texts = [column.cell(value).text for value in (None, True, 1234, np.int64(5), np.float32(0.5), "word")]
    assert texts == ["n/a", "yes", "1,234", "5", "0.50", "word"]
    values = [column.cell(value).value for value in (None, np.int64(5), np.float32(0.5))]
    assert values == [None, 5, 0.5]
    assert [type(value) for value in values[1:]] == [int, float]


def test_json_has_the_values_and_csv_and_json_the_hidden_columns() -> None:
    columns = (
        Column("name", "name", "text"),
        Column("ms", "time", unit="ms", spec=".1f"),
        Column("more", hidden=True),
    )
    sheet = make_sheet("times", columns, [("a", 1.23456, 7), ("b", math.nan, None)], notes=["n"])
    (loaded,) = json.loads(write_sheets([sheet], "json"))
    assert loaded["units"] == {"ms": "ms"}
    assert loaded["rows"] == [
        {"name": "a", "ms": 1.23456, "more": 7},
        {"name": "b", "ms": None, "more": None},
    ]
    assert loaded["notes"] == ["n"]
    assert "more" in write_sheets([sheet], "csv")
    for form in ("text", "markdown"):
        shown = write_sheets([sheet], form)
        assert "time ms" in shown
        assert "more" not in shown
        assert "1.2" in shown
    assert json.loads(write_document({"a": math.inf, "b": [(1, math.nan)]})) == {"a": None, "b": [[1, None]]}


def test_an_empty_sheet_and_facts_can_be_written_in_every_format() -> None:
    for sheet in (make_sheet("empty", ("a", "b"), []), list_facts("facts", {"one": 1, "two": "x\ny"})):
        for form in WRITERS:
            assert write_sheets([sheet], form), form
        page = SheetPage("p", (Section("s", (sheet,)),))
        assert f">{sheet.title.title()}</caption>" in html.page(page, "mark")
        assert "\\caption{p: s.}" in latex.tables(page, "mark")


def test_a_small_sheet_is_this_json() -> None:
    keys = ("run", "full", "r1", "r5", "ms", "raw")
    rows: list[dict[str, object]] = [dict.fromkeys(keys) for _ in range(4)]
    rows[0] |= {"run": "a_1", "r1": 1.5, "r5": 9, "ms": 2, "marks": ["a", "b"]}
    document = {"title": "one <b>", "units": {"ms": "ms"}, "rows": rows, "notes": ["A note_."]}
    document |= {"items": {"a": "first", "b": "second"}, "signature": "k:1|m:2"}
    bare = {"title": "×", "rows": []}
    written = write_json([SMALL, Sheet("×")])
    assert written == json.dumps([document, bare], indent=1, ensure_ascii=False) + "\n"
