"""Sheets: the same cells in text and Markdown, and nothing in them that either would read as its own."""

from __future__ import annotations

from benchmark.reporting.sheet import Sheet, markdown_of, number, text_of

SHEET = Sheet(
    "a [title]", ("run", "value"), (("a|b", "1"), ("x [red]y[/]", "2")), ("a_b <note>",), loud=frozenset({1})
)


def test_markdown() -> None:
    assert markdown_of([SHEET]).splitlines() == [
        "### a \\[title\\]",
        "",
        "| run | value |",
        "| :-- | --: |",
        "| a\\|b | 1 |",
        "| **x \\[red\\]y\\[/\\]** | **2** |",
        "",
        "a_b &lt;note&gt;",
    ]
    folded = markdown_of([Sheet("t", ("a",), (("b",),), folded=True)])
    assert folded.startswith("<details><summary>t</summary>\n\n| a |\n")
    assert folded.rstrip().endswith("</details>")


def test_text_shows_markup_as_it_is() -> None:
    text = text_of([SHEET, Sheet("only a title")])
    for cell in ("a [title]", "a|b", "x [red]y[/]", "a_b <note>", "only a title"):
        assert cell in text
    assert "\x1b" not in text


def test_numbers() -> None:
    assert [number(value) for value in (None, 1.0, 0.1 + 0.2, -0.0)] == ["", "1", "0.3", "0"]
    assert [number(value, sign=True) for value in (2.5, -2.5, 0.0)] == ["+2.5", "-2.5", "0"]
