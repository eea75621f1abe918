"""The HTML pages: well-formed, self-contained, heads with scopes, links that lead somewhere, text escaped."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from benchmark.reporting.leaderboard.content import MARK
from benchmark.reporting.sheet import Page
from benchmark.reporting.writers import html as writer
from tests.reporting.leaderboard.test_rows import sgr
from tests.reporting.writers.samples import ODD, RECORDS, ensemble, page

VOID = {"meta", "br"}


def html(page: Page) -> str:
    return writer.page(page, MARK)


class Elements(HTMLParser):
    """All elements with their attributes and text; asserts that tags close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


@pytest.mark.parametrize("protocol", ["flickr30k", "scenes"])
def test_it_is_well_formed_and_asks_for_nothing(protocol: str) -> None:
    text = html(page(RECORDS, protocol))
    elements = Elements(text)
    assert text.startswith("<!doctype html>")
    assert not {"script", "link", "img", "iframe"} & {tag for tag, _ in elements.found}
    assert not [key for _, attributes in elements.found for key in attributes if key == "src"]
    assert "http" not in text
    assert "@import" not in text
    assert "url(" not in text
    assert elements.all("html") == [{"lang": "en"}]
    assert "prefers-color-scheme: dark" in text
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in elements.all("meta")


def test_heads_have_scopes_and_links_lead_somewhere() -> None:
    first = RECORDS[4]
    elements = Elements(html(page([*RECORDS, ensemble(first, RECORDS[5])])))
    assert {head.get("scope") for head in elements.all("th")} == {"col", "colgroup", "row"}
    ids = [attributes["id"] for _, attributes in elements.found if "id" in attributes]
    assert len(set(ids)) == len(ids)
    targets = [link["href"] for link in elements.all("a")]
    assert targets
    assert {f"#{name}" for name in ids if name and name.startswith("note-")} == set(targets)
    frames = [attributes for attributes in elements.all("div") if attributes.get("class") == "wide"]
    assert len(frames) == len(elements.all("table")) == len(elements.all("caption"))
    assert all(frame["tabindex"] == "0" and frame["aria-labelledby"] in ids for frame in frames)


def test_every_row_fills_all_columns() -> None:
    for table in html(page([*RECORDS, ensemble(RECORDS[4], RECORDS[5])])).split("<table>")[1:]:
        head, body = table.split("</thead>")
        above, below = (Elements(row) for row in head.split("<thead>\n")[1].strip().split("\n"))
        width = sum(int(cell.get("colspan") or 1) for cell in above.all("th"))
        under = sum(int(cell.get("colspan") or 0) for cell in above.all("th"))
        assert len(below.all("th")) == under
        rows = [line for line in body.splitlines() if line.startswith("<tr")]
        assert rows
        for row in rows:
            assert row.count("<td") + row.count("<th") == width


def test_best_second_spread_and_ties() -> None:
    records = [sgr(), sgr(run="near", shift=-0.1), sgr(run="far", shift=-9.0)]
    text = html(page(records, tied=frozenset({"near"})))
    assert "<td><strong>490.9</strong> <small>± n/a</small></td>" in text
    assert "<td><u>490.3</u> <small>± n/a</small> ≈</td>" in text
    assert "<td>76.7 <small>± 0.1</small></td>" in html(page([sgr(seed, seed / 10) for seed in range(3)]))


def test_text_stays_text() -> None:
    text = html(page([*RECORDS, sgr(run="<i>run</i>", departures=["<script>alert(1)</script>"])]))
    elements = Elements(text)
    assert "script" not in {tag for tag, _ in elements.found}
    assert "<script>alert(1)</script>" in "".join(elements.texts)
    assert ODD in "".join(elements.texts)
