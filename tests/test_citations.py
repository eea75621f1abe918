"""Citations of docs/papers resolve: each names a heading that is there, and the harness cites no single method."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.paths import ROOT

PAPERS = ROOT / "docs" / "papers"
METHODS = ("dualpath", "hat", "rcar", "sgraf", "temde", "user")
DOCUMENTS = (*METHODS, "data", "speed")

NAME = re.compile(rf"(?<![\w/.-])(?P<path>docs/papers/)?(?P<name>{'|'.join(DOCUMENTS)})\.md\b")
"""`hat.md` or `docs/papers/hat.md`; `results/studies/hat.md` is another file."""
SECTIONS = re.compile(
    r"`?\s+(?:#\s*)?(?:sections?\s+)?(?P<list>(?:\d+(?:\.\d+)*|[A-Z])(?:(?:,\s*|\s+and\s+|\s+to\s+)(?:\d+(?:\.\d+)*))*)(?!\w)"
)

READ = {".py", ".yaml", ".yml", ".md", ".toml", ".j2"}
GENERATED = ("results/tables/", "results/studies/", "results/report.html")


def cited_files() -> list[Path]:
    """List the tracked files in which citations count."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    names = [name for name in done.stdout.decode().split("\0") if Path(name).suffix in READ]
    return [ROOT / name for name in names if not name.startswith(GENERATED) and (ROOT / name).is_file()]


def headings(document: str, folder: Path = PAPERS) -> set[str]:
    """Return the numbers (or letters) that headings of a document begin with."""
    text = (folder / f"{document}.md").read_text(encoding="utf-8")
    return set(re.findall(r"^#+ *(\d+(?:\.\d+)*|[A-Z])\b", text, flags=re.MULTILINE))


def citations(text: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each document that a text cites with the sections it names; a bare path of the document has none."""
    for found in NAME.finditer(text):
        sections = SECTIONS.match(text, found.end())
        if sections is None and found["path"]:
            continue  # the document as a whole, by its path
        yield found["name"], re.findall(r"\d+(?:\.\d+)*|[A-Z]", sections["list"]) if sections else []


def dangling(text: str) -> list[str]:
    """Name the citations of a text that no heading answers."""
    found = []
    for document, sections in citations(text):
        if not sections:
            found.append(f"{document}.md, without a section")
        found += [f"{document}.md {section}" for section in sections if section not in headings(document)]
    return found


def test_every_citation_names_a_heading() -> None:
    counted = 0
    for path in cited_files():
        if path == Path(__file__) or path.is_relative_to(PAPERS):
            continue
        text = path.read_text(encoding="utf-8")
        counted += sum(1 for _ in citations(text))
        assert dangling(text) == [], path.relative_to(ROOT)
    assert counted > 400  # so that a pattern that finds nothing does not pass


def test_documents_cite_each_other_soundly() -> None:
    for path in sorted(PAPERS.glob("*.md")):
        if path.name != "README.md":
            found = dangling(path.read_text(encoding="utf-8"))
            assert [fault for fault in found if not fault.endswith("without a section")] == [], path.name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("as published (hat.md 3.5)", []),
        ("as published (hat.md 3.99)", ["hat.md 3.99"]),
        ("as published (hat.md)", ["hat.md, without a section"]),
        ("(dualpath.md 4, 5.1 to 5.3)", []),
        ("(dualpath.md 4, 5.17)", ["dualpath.md 5.17"]),
        ("(user.md A) and user.md\n    6", []),
        ("(user.md Z)", ["user.md Z"]),
        ("notes in docs/papers/hat.md", []),
        ("notes in docs/papers/hat.md 77", ["hat.md 77"]),
        ("results/studies/hat.md is a table", []),
    ],
)
def test_a_planted_citation(text: str, expected: list[str]) -> None:
    assert dangling(text) == expected


def test_every_document_is_cited_and_numbered() -> None:
    for document in DOCUMENTS:
        assert len(headings(document)) >= 5, document


def test_the_harness_cites_no_single_method() -> None:
    pattern = re.compile(rf"\b(?:{'|'.join(METHODS)})\.md\b|golden/(?:{'|'.join((*METHODS, 'vse_infty'))})/")
    assert pattern.search("see hat.md 3")  # it can find something
    for path in sorted((ROOT / "benchmark").rglob("*.py")):
        found = pattern.search(path.read_text(encoding="utf-8"))
        assert found is None, f"{path.relative_to(ROOT)}: {found.group() if found else ''}"
