"""Docstrings are sentences: one for every public function and class, with a capital letter and a full stop."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.paths import ROOT

FRAGMENTS = ("Of", "What", "Where")
"""A docstring that begins with one of these is seldom a sentence: one in a hundred may."""


def docstrings(source: str) -> Iterator[tuple[str, str | None, bool]]:
    """Name and docstring of all functions and classes, and whether it must have one; those inside functions aside."""

    def below(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, str | None, bool]]:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                public = not (prefix or node.name.startswith("_"))
                yield f"{prefix}{node.name}", ast.get_docstring(node), public
            if isinstance(node, ast.ClassDef):
                yield from below(node.body, f"{node.name}.")

    return below(ast.parse(source).body, "")


def fault_of(said: str | None, needed: bool) -> str | None:
    """What is wrong with a docstring; one may begin with a shape, a formula or a name of code."""
    if said is None:
        return "has no docstring" if needed else None
    first = said.split("\n\n")[0].strip()
    if re.match("[a-z]+\\b(?![({_])", first):
        return f"begins with a small letter: {first}"
    return None if first.endswith((".", ":", "$$", ".)")) else f"does not end with a full stop: {first}"


def read_all() -> list[tuple[str, str | None, bool]]:
    """The docstrings of the whole package, with their files."""
    return [
        (f"{path.relative_to(ROOT).as_posix()}: {name}", said, needed)
        for room in ("benchmark", "baselines")
        for path in sorted((ROOT / room).rglob("*.py"))
        for name, said, needed in docstrings(path.read_text(encoding="utf-8"))
    ]


def fragments(said: list[str]) -> list[str]:
    """Docstrings that begin as fragments do."""
    return [text for text in said if text.split()[0] in FRAGMENTS]


def test_every_public_function_and_class_has_a_sentence() -> None:
    found = read_all()
    assert len(found) > 1500
    faults = [
        f"{name} {fault}" for name, said, needed in found if (fault := fault_of(said, needed)) is not None
    ]
    assert not faults, "\n".join(faults)
    said = [text for _, text, _ in found if text is not None]
    assert len(fragments(said)) <= len(said) / 100, "\n".join(fragments(said))


@pytest.mark.parametrize(
    ("docstring", "fault"),
    [
        ('"""Count the ranks."""', None),
        ('"""Count the ranks by:\n\n    a block\n    """', None),
        ("pass", "has no docstring"),
        ('"""count the ranks."""', "small letter"),
        ('"""Count the ranks"""', "full stop"),
    ],
)
def test_a_planted_fault_is_found(docstring: str, fault: str | None) -> None:
    (found,) = docstrings(f"def planted():\n    {docstring}\n")
    wrong = fault_of(*found[1:])
    assert (wrong is None) if fault is None else (wrong is not None and fault in wrong)


def test_a_planted_fragment_is_counted() -> None:
    assert fragments(["Of a run.", "What it is.", "Often.", "Where it lies."]) == [
        "Of a run.",
        "What it is.",
        "Where it lies.",
    ]
