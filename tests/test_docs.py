"""The documentation: links and anchors resolve, the site's pages name every recipe and number, references agree."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.paths import ROOT

PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "baselines").glob("*/README.md")),
]
PAPERS = sorted((ROOT / "results" / "paper").glob("*.yaml"))


def prose(page: Path) -> str:
    """Return a page without its blocks and spans of code."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`\n]*`", lambda code: "" if "](" in code[0] else code[0], text)


def anchors(page: Path) -> set[str]:
    """Return a page's anchors, named ones and those of headings: lower case, no punctuation, hyphens for spaces."""
    text = prose(page)
    titles = re.findall(r"^#+ +(.+?) *$", text, flags=re.MULTILINE)
    named = set(re.findall(r'<a id="([^"]+)">', text))
    return named | {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def dead(page: Path) -> list[str]:
    """Return the links of a page that lead nowhere."""
    found = []
    for target, anchor in re.findall(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]+))?\)", prose(page)):
        path = page.parent / target if target else page
        if not path.exists() or (anchor and anchor not in anchors(path)):
            found.append(f"{target}#{anchor}" if anchor else target)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_and_anchors_lead_somewhere(page: Path) -> None:
    assert dead(page) == []


def test_a_planted_link(tmp_path: Path) -> None:
    page = tmp_path / "a.md"
    page.write_text(
        "# Two words, more\n[](b.md) [](#two-words-more) [](#nowhere) [](a.md#none) `[](c.md)` [](https://x)\n"
    )
    assert dead(page) == ["b.md", "#nowhere", "a.md#none"]


# ---------------------------------------------------------------- the site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the pages of the site as `nox -s docs` does."""
    folder = tmp_path_factory.mktemp("site")
    subprocess.run([sys.executable, str(ROOT / "docs/pages.py"), str(folder)], check=True)
    return folder


def test_every_page_of_the_site_is_in_its_navigation(site: Path) -> None:
    listed = set(
        re.findall(r"[\w./-]+\.md", yaml.safe_dump(yaml.safe_load((site / "mkdocs.yml").read_text())["nav"]))
    )
    written = {path.relative_to(site / "pages").as_posix() for path in (site / "pages").rglob("*.md")}
    assert listed <= written
    assert {page for page in written if not page.startswith(("tables/", "studies/", "hardware/"))} <= listed
    assert [page for page in written if dead(site / "pages" / page)] == []


@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: paper.stem)
def test_the_page_of_a_method_holds_its_recipes_and_the_numbers_of_its_paper(site: Path, paper: Path) -> None:
    page = (site / "pages" / "methods" / f"{paper.stem}.md").read_text(encoding="utf-8")
    method = {"clip": "dual_encoder"}.get(paper.stem, paper.stem)
    recipes = sorted((ROOT / "recipes" / method).glob("*.yaml"))
    assert recipes
    for recipe in recipes:
        content = yaml.safe_load(recipe.read_text(encoding="utf-8"))
        assert f"| [{recipe.stem}](../files/recipes/{method}/{recipe.name}) | {content['summary']} |" in page
        assert (site / "pages/files/recipes" / method / recipe.name).read_bytes() == recipe.read_bytes()
        for departure in content.get("departures") or []:
            assert f"- {departure}\n" in page
    for row in yaml.safe_load(paper.read_text(encoding="utf-8"))["rows"]:
        line = next(
            line
            for line in page.split(f"### {row['dataset']}\n")[1].splitlines()
            if line.startswith(f"| {row['variant']} |")
        )
        known = [
            side[key] for side in (row.get("i2t"), row.get("t2i")) if side for key in ("r1", "r5", "r10")
        ]
        cells = [float(cell) for cell in line.split("|")[2:9] if cell.strip()]
        assert cells == [value for value in (*known, row["rsum"]) if value is not None], row["variant"]


# ---------------------------------------------------------------- references


def plain(text: str) -> str:
    """Return a BibTeX value without braces and accents' commands."""
    return re.sub(r"[{}]", "", text).lower()


def test_references_and_the_citation_file_name_the_same_works() -> None:
    text = (ROOT / "docs" / "references.bib").read_text(encoding="utf-8")
    entries = {}
    for kind, key, body in re.findall(r"^@(\w+)\{(\w+),\n(.*?)^\}", text, flags=re.DOTALL | re.MULTILINE):
        fields = dict(re.findall(r"^ *(\w+) *= \{(.*)\},?$", body, flags=re.MULTILINE))
        entries[key] = fields | {"kind": kind}
    assert entries.keys() == {paper.stem for paper in PAPERS}
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["references"]
    works = {work["title"].lower(): work for work in cited}
    for paper in PAPERS:
        entry, known = entries[paper.stem], yaml.safe_load(paper.read_text(encoding="utf-8"))
        work = works[plain(entry["title"])]
        assert (entry["eprint"], int(entry["year"])) == (known["arxiv"], known["year"])
        assert entry.get("doi") == work.get("doi")
        assert int(entry["year"]) == work["year"]
        assert (entry["kind"] == "article") == (work["type"] == "article")
        assert len(entry["author"].split(" and ")) == len(work["authors"])
