"""The runner: a change is seen by the tests, a silent one survives, an endless one ends; outcomes are kept."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.mutants import __main__ as command
from tests.mutants.areas import Module, Sampled
from tests.mutants.changes import Mutant
from tests.paths import ROOT

SCRIPT = """
import sys
from pathlib import Path
from tests.mutants import runner
from tests.mutants.areas import Module
runner.ROOT, runner.SPARE = Path(sys.argv[1]), 5.0
asked, module = runner.Runner(), Module("thing.py", ("test_thing.py",))
source = Path(sys.argv[1], "thing.py").read_text()
for old, new in (("+ 1", "+ 2"), ("99", "98"), ("pass", "while True: pass"), ("+ 1", "+ missing")):
    print(asked.ask(module, source.replace(old, new)))
print("thing" in sys.modules)
"""


def test_changes_are_caught_and_silent_ones_survive(tmp_path: Path) -> None:
    (tmp_path / "thing.py").write_text("UNUSED = 99\n\ndef more(n):\n    pass\n    return n + 1\n")
    (tmp_path / "test_thing.py").write_text(
        "from thing import more\n\ndef test_more():\n    assert more(1) == 2\n"
    )
    before = {path: path.read_bytes() for path in tmp_path.glob("*.py")}
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.split("\n") == ["caught", "survived", "caught: too long", "caught", "False", ""], done
    assert {path: path.read_bytes() for path in tmp_path.glob("*.py")} == before


def test_what_was_caught_is_kept_and_a_survivor_is_asked_again_by_other_tests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "ROOT", tmp_path)
    (tmp_path / "test_thing.py").write_text("one")
    module = Module("thing.py", ("test_thing.py",))
    items = [Sampled("a", module, Mutant("thing.py", 1, "1", new, f"A = {new}\n")) for new in ("2", "3", "4")]
    kept: dict[str, Any] = {
        command._key(item): {"outcome": outcome, "tests": command._tests(item)}
        for item, outcome in zip(items[:2], ("caught", "survived"), strict=True)
    }
    assert [command._outcome(item, kept) for item in items] == ["caught", "survived", None]
    (tmp_path / "test_thing.py").write_text("other")
    assert [command._outcome(item, kept) for item in items] == ["caught", None, None]
