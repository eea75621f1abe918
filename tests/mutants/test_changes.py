"""The changes to a module: which there are, what is left alone, and that a sample is the same each time."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import yaml

from tests.mutants import areas
from tests.mutants.areas import AREAS, Module, draw
from tests.mutants.changes import find_mutants
from tests.mutants.page import EQUIVALENT
from tests.paths import ROOT

SOURCE = '''\
"""A docstring with 1 number."""
from math import pi
LIMIT: Literal["a"] = 10
TABLE = {"^": "x"}

@cached(size=3)
def add(a: int = 2, *, b: float | None = 0.5) -> "int":
    """Another one."""
    assert b is not None, "checked"
    total = f"{a + 1}" and a + len(zip(a, b, strict=True))
    if a < b and not total:
        raise ValueError("too small, by 3")
    for item in range(a):
        total += item
        if item == pi:
            break
    return sorted(total, key=len, reverse=True) if a else -a
'''


def test_every_kind_of_change_once_and_nothing_else() -> None:
    found = [(mutant.line, mutant.old, mutant.new) for mutant in find_mutants("m.py", SOURCE)]
    assert found == [
        *((3, "10", "11"), (3, "10", "9"), (4, "'^'", "'^~'"), (4, "'x'", "'x~'")),
        *((7, "0.5", "0.45"), (7, "2", "3"), (7, "2", "1")),
        (10, "f'{a + 1}' and a + len(zip(a, b, s", "f'{a + 1}' or a + len(zip(a, b, s"),
        (10, "a + len(zip(a, b, stric", "a - len(zip(a, b, stric"),
        (11, "a < b and (not total)", "a < b or not total"),
        *((11, "a < b", "a <= b"), (11, "not total", "total")),
        (11, "a < b and (not total)", "not (a < b and (not total))"),
        (12, "raise ValueError('too small, by 3')", "pass"),
        *((14, "total += item", "pass"), (14, "total += item", "total -= item")),
        *((15, "item == pi", "item != pi"), (16, "break", "continue")),
        (17, "y=len, reverse=True) if a else -a", "y=len, reverse=True)"),
        (17, "sorted(total, key=len, reverse=True) if a else -a", "-a"),
        (17, "a", "not (a)"),
        (17, "sorted(total, key=len, reverse=True)", "sorted(total, reverse=True)"),
        (17, "orted(total, key=len, reverse=True)", "orted(total, key=len)"),
        *((17, "True", "False"), (17, "-a", "a")),
    ]
    for mutant in find_mutants("m.py", SOURCE):
        ast.parse(mutant.source)
        same = [a == b for a, b in zip(SOURCE.splitlines(), mutant.source.splitlines(), strict=True)]
        assert same.count(False) == 1
        assert not same[mutant.line - 1]


def test_only_what_is_named_is_changed() -> None:
    assert {m.line for m in find_mutants("m.py", "A = 1\ndef f(): return 2\ndef g(): return 3\n", ["g"])} == {
        3
    }


def test_a_sample_is_seeded_and_takes_alike_from_each_area(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, count in (("few", 2), ("some", 40), ("many", 100)):
        (tmp_path / f"{name}.py").write_text("A = [" + ", ".join(f"{k}.5" for k in range(count)) + "]\n")
    monkeypatch.setattr(areas, "ROOT", tmp_path)
    monkeypatch.setattr(
        areas, "AREAS", {name: (Module(f"{name}.py", ()),) for name in ("many", "few", "some")}
    )
    first, again, other = draw(42, 0), draw(42, 0), draw(42, 1)
    assert first == again
    assert first != other
    sizes = {area: sum(item.area == area for item in first) for area in ("few", "some", "many")}
    assert sizes == {"few": 2, "some": 20, "many": 20}


def test_areas_and_reasons_name_what_is_there() -> None:
    modules = {module.path: module for members in AREAS.values() for module in members}
    for module in modules.values():
        assert (ROOT / module.path).is_file()
        assert all((ROOT / path).is_file() for path in module.tests), module.path
    for entry in yaml.safe_load(EQUIVALENT.read_text(encoding="utf-8")):
        lines = [line.strip() for line in (ROOT / entry["module"]).read_text(encoding="utf-8").splitlines()]
        assert entry["line"] in lines, entry
        assert entry["module"] in modules
        assert len(entry["why"]) > 20
