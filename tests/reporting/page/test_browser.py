"""The report page in a headless Chromium: no complaint, no request, no sideways scrolling, all of it by keyboard."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmark.places import RESULTS
from benchmark.reporting.evidence import read_evidence
from benchmark.reporting.page import render_page
from benchmark.reporting.writers.csv import harmless
from benchmark.reporting.writers.latex import escape
from tests.paths import ROOT
from tests.reporting.page.browser import Page, browser, find_browser
from tests.reporting.page.checkout import checkout
from tests.reporting.writers.samples import ODD

PROGRAM = find_browser()
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no Chromium on this machine")
RUN = "#run/scenes/hat-i2t/0"
WIDTHS = (390, 1280)
FOCUSED = """(() => {
  const e = document.activeElement;
  return [e.tagName, e.textContent.trim(), e.getAttribute("href")].join("|");
})()"""
VISIT = """(() => {
  const e = document.activeElement;
  if (e === document.body) return "past the end";
  e.dataset.seen = "";
  return getComputedStyle(e).outlineStyle;
})()"""
SIDEWAYS = """[...document.body.querySelectorAll("*")].filter((e) => {
  const box = e.getBoundingClientRect();
  return box.width && box.right > innerWidth + 1 && !e.closest(".scroll, .plot, .skip, svg");
}).map((e) => e.tagName + "." + e.className).slice(0, 5)"""
SHOWN = """[...document.querySelectorAll(".boards tbody tr")].filter((row) => row.checkVisibility()).length"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("checkout")
    checkout(root)
    path = root / "report.html"
    path.write_bytes(render_page(read_evidence(root)))
    return path


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    assert PROGRAM is not None
    with browser(PROGRAM, tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def page(chromium: Page) -> Iterator[Page]:
    """The page, which must not complain or ask for anything, whatever a test does with it."""
    chromium.console.clear()
    chromium.requests.clear()
    chromium.show(1280, 900, "light")
    yield chromium
    chromium("0")
    assert chromium.console == []
    asked = {url for url in chromium.requests if not url.startswith(("data:", "about:"))}
    assert all(url.split("#")[0].endswith("/report.html") for url in asked)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("fragment", ["", RUN])
def test_nothing_reaches_beyond_the_window(
    page: Page, file: Path, width: int, scheme: str, fragment: str
) -> None:
    page.show(width, 844, scheme)
    page.open(file, fragment)
    assert page("document.scrollingElement.scrollWidth") == width
    assert page(SIDEWAYS) == []


def test_the_colour_scheme_follows_the_system(page: Page, file: Path) -> None:
    grounds = []
    for scheme in ("light", "dark"):
        page.show(1280, 900, scheme)
        page.open(file)
        grounds.append(page("getComputedStyle(document.body).backgroundColor"))
    assert grounds == ["rgb(250, 250, 248)", "rgb(18, 20, 22)"]


def test_an_address_shows_its_run_and_nothing_else(page: Page, file: Path) -> None:
    page.open(file, RUN)
    parts = '[...document.querySelectorAll(".run, .report, .top")]'
    visible = f"{parts}.filter((e) => e.checkVisibility()).map((e) => e.id)"
    assert page(visible) == [RUN[1:]]
    assert page("document.title").startswith("hat-i2t, seed 0 · ")
    assert page("document.activeElement.textContent") == "hat-i2t, seed 0"
    page("location.hash = '#leaderboard'")
    page("new Promise((done) => setTimeout(done, 50))")
    assert page(visible) == ["", ""]  # head and report
    assert page("document.title") == "Rematch: which papers’ numbers reproduce?"


def test_a_name_with_markup_has_its_page_too(page: Page, file: Path) -> None:
    page.open(file)
    rows = '[...document.querySelectorAll("table.board .sub")]'
    page(
        f"{rows}.find((name) => name.textContent.startsWith('odd')).closest('th').querySelector('a').click()"
    )
    page("new Promise((done) => setTimeout(done, 50))")
    assert page('document.querySelector(".run:target h2").textContent') == "odd\"'&<b>run, seed 0"
    assert page("document.title").startswith("odd")


def test_pictures_are_drawn(page: Page, file: Path) -> None:
    """What the window shows of a picture has the colours of a scene, not of the card behind it."""
    page.open(file, RUN)
    first = page('document.querySelector(".run:target .pic use").getBoundingClientRect().width')
    assert first > 40
    page("Promise.all([...document.querySelectorAll('symbol image')].map((image) => image.decode()))")


def test_the_leaderboard_is_sorted_by_its_buttons(page: Page, file: Path) -> None:
    page.open(file)
    boards = page("document.querySelectorAll('table.board').length")
    table = f'document.querySelectorAll("table.board")[{boards - 1}]'  # scenes
    heads = page(f"[...{table}.tHead.rows[0].cells].map((head) => head.textContent)")
    recall, rsum = heads.index("i2t R@1"), heads.index("rsum ± sd")
    names = f"[...{table}.tBodies[0].rows].map((row) => row.cells[0].textContent.trim().toLowerCase())"
    values = f"[...{table}.tBodies[0].rows].map((row) => parseFloat(row.cells[{recall}].textContent))"
    state = f"[...{table}.tHead.rows[0].cells].map((head) => head.ariaSort)"
    assert page(state)[rsum] == "descending"  # as it comes
    page(f"{table}.tHead.rows[0].cells[{recall}].firstChild.click()")
    found = page(values)
    assert len(set(found)) > 1
    assert found == sorted(found, reverse=True)
    page(f"{table}.tHead.rows[0].cells[{recall}].firstChild.click()")
    assert page(values) == sorted(found)
    assert [item for item in page(state) if item] == ["ascending"]
    page(f"{table}.tHead.rows[0].cells[0].firstChild.click()")
    assert page(names) == sorted(page(names))
    kinds = page(f"[...{table}.tHead.rows[0].cells].map((head) => head.firstChild.tagName)")
    assert set(kinds) == {"BUTTON"}


def test_filters_leave_what_fits(page: Page, file: Path) -> None:
    page.open(file)

    def choose(name: str, value: str) -> None:
        field = f"document.querySelector('.filters [name={name}]')"
        page(f"{field}.value = {value!r}; {field}.dispatchEvent(new Event('input', {{bubbles: true}}))")

    total = page("document.querySelectorAll('.boards tbody tr').length")
    waits = page("document.querySelectorAll('.boards tr.waits').length")
    assert total - waits == 7  # sgr under three protocols, four runs on scenes
    choose("protocol", "scenes")
    assert page(SHOWN) == 4
    choose("kind", "ensemble")
    assert page(SHOWN) == 1
    choose("kind", "")
    choose("method", "sgraf")
    assert page(SHOWN) == 0
    assert page("document.querySelector('.filters output').textContent") == f"0 of {total} rows"
    choose("protocol", "")
    choose("comparable", "yes")
    assert page(SHOWN) == 3
    page("document.querySelector('.filters button').click()")
    page("new Promise((done) => setTimeout(done, 50))")
    assert page("document.querySelector('.filters output').textContent") == f"{total} of {total} rows"
    choose("text", "hat-t2i scenes")
    assert page(SHOWN) == 1
    choose("text", "nox -s reproduce-user mscoco-5k")
    assert page(SHOWN) == 0  # this checkout has no recipes, so no row has a command


CLIPBOARD = """Object.defineProperty(navigator, "clipboard", {configurable: true, value: {
  writeText: (text) => { window.copied = text; return Promise.resolve(); }}})"""


def copied(page: Page, table: str, form: str) -> str:
    """The text that a table's button puts on the clipboard."""
    page(f'{table}.closest(".scroll").nextElementSibling.querySelector("button:nth-child({form})").click()')
    page("new Promise((done) => setTimeout(done, 50))")
    return str(page("window.copied"))


def test_every_table_can_be_copied_as_csv_and_latex(page: Page, file: Path) -> None:
    page.open(file)
    page(CLIPBOARD)
    count = page("document.querySelectorAll('.scroll table').length")
    assert count > 20
    assert count == page("document.querySelectorAll('table').length")
    assert count == page("document.querySelectorAll('.scroll + .copy button:nth-child(2)').length")
    table = "document.querySelector('table.board')"
    shown = page(f"[...{table}.rows].map((row) => [...row.cells].map((cell) => cell.textContent.trim()))")
    rows = list(csv.reader(io.StringIO(copied(page, table, "1"))))
    assert [row[2:] for row in rows] == [row[2:] for row in shown]
    assert rows[1][0] == "SGR (repository) (sgr)"  # its name, without the links below it
    assert rows[1][1].startswith("reproduced")
    lines = copied(page, table, "2").splitlines()
    assert re.fullmatch(r"\\begin\{tabular\}\{llr+lr\}", lines[0])
    body = [line.strip().removesuffix(r" \\").split(" & ") for line in lines if " & " in line]
    plain = [[re.sub(r"\\textbf\{(.*)\}", r"\1", cell) for cell in row] for row in body]
    assert plain == [[escape(cell) for cell in row] for row in rows]


def test_a_copy_is_escaped_by_the_rules_of_the_writers(page: Page, file: Path) -> None:
    page.open(file)
    page(CLIPBOARD)
    table = "document.querySelector('table.verdicts')"
    for text in (ODD, "=1+1", "-", "a,b", 'say "x" ("y")', "--data-dir"):
        page(f"{table}.rows[1].cells[0].dataset.copy = {json.dumps(text)}")
        (_, row, *_) = csv.reader(io.StringIO(copied(page, table, "1")))
        assert row[0] == harmless(text)
        line = copied(page, table, "2").splitlines()[4]
        assert line.strip().startswith(f"{escape(text)} & ")


def test_without_a_clipboard_the_text_is_there_to_copy_by_hand(page: Page, file: Path) -> None:
    page.open(file)
    page("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    page("document.querySelector('.copy button').click()")
    page("new Promise((done) => setTimeout(done, 50))")
    assert page("document.activeElement.tagName") == "TEXTAREA"
    assert page("document.activeElement.value").startswith("method,Flickr30K,")
    assert page("getSelection().toString().length") == page("document.activeElement.value.length")


@pytest.mark.parametrize(("width", "most"), [(1280, 6_000)])
def test_the_committed_page_is_no_longer_than_that(page: Page, width: int, most: int) -> None:
    page.show(width, 900, "light")
    page.open(ROOT / RESULTS / "report.html")
    assert page("document.documentElement.scrollHeight") <= most


def test_the_grid_is_whole_on_a_narrow_screen(page: Page) -> None:
    page.show(390, 844, "light")
    page.open(ROOT / RESULTS / "report.html")
    box = "document.querySelector('.verdicts').parentElement"
    assert page(f"{box}.scrollWidth <= {box}.clientWidth")


def test_an_address_inside_a_folded_part_opens_it(page: Page, file: Path) -> None:
    page.open(file, "#drift")
    page("new Promise((done) => setTimeout(done, 50))")
    assert page("document.querySelector('#drift').checkVisibility()")
    assert not page("document.querySelector('#seeds').checkVisibility()")


def test_everything_is_reached_by_keyboard(page: Page, file: Path) -> None:
    page.open(file)
    wanted = page(
        """[...document.querySelectorAll("a[href], button, select, input, summary, [tabindex='0']")]
        .filter((e) => e.checkVisibility()).length"""
    )
    page.tab()
    assert page(FOCUSED) == "A|Skip to the content|#content"
    assert page("getComputedStyle(document.activeElement).left") == "16px"  # in sight when focused
    outlines = set()
    for _ in range(wanted + 1):
        outlines.add(page(VISIT))
        page.tab()
    assert page("document.querySelectorAll('[data-seen]').length") == wanted  # each had the focus
    assert "none" not in outlines
    assert (
        page('document.querySelectorAll(\'[tabindex]:not([tabindex="0"]):not([tabindex="-1"])\').length') == 0
    )
    assert page("document.querySelectorAll('[onclick], [role=button]').length") == 0


def test_a_run_is_opened_by_the_enter_key(page: Page, file: Path) -> None:
    page.open(file)
    page("document.querySelector('table.board a').focus()")
    page.enter()
    page("new Promise((done) => setTimeout(done, 50))")
    assert page("location.hash").startswith("#run/")
    assert page("document.activeElement.tagName") == "H2"
    page.tab()
    assert page("document.activeElement.closest('.run') === document.querySelector('.run:target')")


def test_without_scripts_it_is_one_long_page(page: Page, file: Path) -> None:
    page.show(1280, 900, "light", script=False)
    page.open(file)
    page.show(1280, 900, "light")
    assert page("document.documentElement.className") == ""
    assert page("[...document.querySelectorAll('.run')].every((run) => run.checkVisibility())")
    assert page("document.querySelector('.report').checkVisibility()")
    assert page("document.querySelector('.filters').checkVisibility()") is False
