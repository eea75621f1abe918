"""The Markdown pages: cells in their columns, marks and notes, signatures, escapes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmark.reporting.leaderboard.content import MARK
from benchmark.reporting.sheet import Page, Sheet
from benchmark.reporting.writers import markdown as writer
from tests.reporting.leaderboard.test_rows import sgr
from tests.reporting.writers.samples import ODD, RECORDS, SMALL, SMALL_PAGE, page, table_rows


def markdown(page: Page) -> str:
    return writer.page(page, MARK)


TABLE = r"""
| run         | name      |   i2t R@1 |           i2t R@5 |   time ms | notes   |
|:------------|:----------|----------:|------------------:|----------:|:--------|
| [a_1](x.md) | A &amp; B | **1.5** ≈ | <ins>9</ins> of 9 |   2 ± 0.1 | a b     |
| a_1         | C         |       0.5 |                 8 |         3 |         |
|             | paper     |       0.4 |                 7 |           |         |
| **z**       |           |   **0.1** |             **1** |     **5** |         |

A note\_.

- a: first
- b: second

Signature: `k:1|m:2`
"""
PAGE = f"""\
<!-- made by x -->
# scenes

Read it. [How to read this](README.md).

## Part

A lead.

### One &lt;b&gt;

Two images.
{TABLE}
## Notes

- **a**: why
- **b**: of &lt;members&gt;.
"""
FOLDED = """
<details><summary>folded</summary>

| run   | name   |   i2t R@1 |   i2t R@5 |   time ms |
|:------|:-------|----------:|----------:|----------:|
| a_1   | C      |       0.5 |         8 |         3 |

</details>
"""


def test_a_small_page_is_this_text() -> None:
    assert writer.page(SMALL_PAGE, "made by x") == PAGE
    bare = replace(SMALL_PAGE, sections=(), guide="", footnotes={})
    assert writer.page(bare, "x") == "<!-- x -->\n# scenes\n\nRead it.\n"


def test_small_sheets_are_this_text() -> None:
    folded = Sheet("folded", SMALL.columns, SMALL.rows[1:2], folded=True)
    assert writer.sheets([SMALL, folded], 2) == f"## one &lt;b&gt;\n\ntwo images\n{TABLE}{FOLDED}"
    assert writer.sheets([Sheet("none")]) == "### none\n"
    assert writer.escape(" indented") == " indented"


def cells_of(text: str, run: str) -> dict[str, str]:
    """The row of a run by the titles of its columns."""
    head: list[str] = []
    for row in table_rows(text):
        if row[0] == "method":
            head = row
        elif row[1] == run:
            return dict(zip(head, row, strict=True))
    raise AssertionError(f"no row of {run}")


def test_ours_is_shown_with_seeds_spread_difference_and_verdict() -> None:
    row = cells_of(markdown(page(RECORDS)), "sgr")
    assert row["method"] == "SGR (repository)"
    assert (row["reads"], row["n"]) == ("pixels", "3")
    assert row["i2t R@1"] == "**76.7**"
    assert row["rsum ± sd"] == "<ins>491.5</ins> ± 0.60"
    assert row["95 % interval"] == "487.5 to 495.5"
    assert row["difference"] == "+0.60"
    assert row["verdict"].startswith("reproduced")


def test_the_paper_stands_below_with_its_recalls() -> None:
    rows = table_rows(markdown(page(RECORDS)))
    place = next(number for number, row in enumerate(rows) if row[1] == "sgr")
    expected = ["", "paper", "", "", "76.6", "93.7", "96.6", "56.1", "80.9", "87.0", "490.9"]
    assert rows[place + 1][:11] == expected


def test_best_second_and_ties() -> None:
    records = [sgr(), sgr(run="near", shift=-0.1), sgr(run="far", shift=-9.0)]
    text = markdown(page(records, tied=frozenset({"near"})))
    assert cells_of(text, "sgr")["rsum ± sd"] == "**490.9** ± n/a"
    assert cells_of(text, "near")["rsum ± sd"] == "<ins>490.3</ins> ± n/a ≈"
    assert cells_of(text, "far")["rsum ± sd"] == "436.9 ± n/a"
    assert "\n\n≈: tests do not tell it apart" in text


def test_reasons_stand_below_the_table_by_run() -> None:
    text = markdown(page(RECORDS))
    assert cells_of(text, "short")["departures"] == "2"
    assert cells_of(text, "short")["verdict"] == "not comparable"
    assert "\n- short: 10 of 30 epochs; half of the data\n" in text
    assert not [line for line in text.splitlines() if line.startswith("|") and "half of the data" in line]


def test_each_table_stands_with_its_signature() -> None:
    for protocol in ("flickr30k", "scenes"):
        found = page(RECORDS, protocol)
        text = markdown(found)
        for sheet in found.sheets:
            assert f"Signature: `{sheet.signature}`" in text


def test_rows_are_short() -> None:
    """Reasons do not stand in the cells."""
    assert max(len(line) for line in markdown(page(RECORDS)).splitlines() if line.startswith("|")) < 340


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a<b", "a&lt;b"),
        ("a>b", "a&gt;b"),
        ("a&b", "a&amp;b"),
        ("<script>&lt;", "&lt;script&gt;&amp;lt;"),
        *((f"a{mark}b", f"a\\{mark}b") for mark in "\\`*[]|~#$"),
        ("snake_case a@b", "snake_case a@b"),
        ("_x_ @y", r"\_x\_ \@y"),
        ("two\n lines", "two lines"),
        (" tail ", " tail"),
    ],
)
def test_what_markdown_or_html_would_read_is_escaped(text: str, escaped: str) -> None:
    assert writer.escape(text) == escaped


def test_every_row_has_all_cells_whatever_the_names() -> None:
    records = [*RECORDS, sgr(run=f"run {ODD}", departures=["[x](y)", "<b>"])]
    text = markdown(page(records))
    width = 0
    for row in table_rows(text):
        width = len(row) if row[0] == "method" else width
        assert len(row) == width
    assert "\\[x\\](y)" in text
    assert "<b>" not in text
