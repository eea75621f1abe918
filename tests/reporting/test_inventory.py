"""Lists of methods, recipes, datasets and runs, and how little it takes to make them."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from benchmark import registry
from benchmark.errors import UserError
from benchmark.registry import get_method, method_names, method_title
from benchmark.reporting import inventory
from benchmark.reporting.writers.terminal import write_text
from tests.paths import ROOT
from tests.tiny import I2T


def printed(what: str) -> str:
    return write_text(inventory.list_inventory([what]))


@pytest.mark.usefixtures("fresh")
def test_lists_without_runs() -> None:
    assert [table.title for table in inventory.list_inventory(inventory.LISTS)] == list(inventory.LISTS)
    assert "hat" in printed("methods")
    recipes = printed("recipes")
    assert I2T.as_posix() in recipes
    assert "hat" not in printed("runs")


@pytest.mark.usefixtures("fresh")
def test_a_recipe_without_a_summary_is_named() -> None:
    I2T.write_text("departures: []\n")
    with pytest.raises(
        UserError, match=rf"^{I2T.as_posix()}: field 'summary': found 'nothing', expected a str"
    ):
        inventory.list_inventory(["recipes"])


def test_titles_come_without_importing_methods() -> None:
    for name in method_names():
        assert method_title(name) == get_method(name).title


def test_a_title_that_is_no_literal_is_asked_of_the_method(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "odd_method.py").write_text(
        "from dataclasses import replace\nfrom baselines.hat import METHOD as HAT\n"
        "NAME = 'Odd ' + HAT.title\nMETHOD = replace(HAT, title=NAME)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    point = EntryPoint("odd", "odd_method:METHOD", "rematch.baselines")
    monkeypatch.setattr(registry, "_entry_points", lambda: {"odd": point})
    assert method_title("odd") == "Odd HAT"


@pytest.mark.parametrize("what", inventory.LISTS)
def test_listing_imports_no_torch(what: str) -> None:
    code = (
        f"import sys; sys.argv = ['rematch', 'list', {what!r}]\n"
        "from benchmark.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "loaded = {name.split('.')[0] for name in sys.modules}\n"
        "assert not loaded & {'torch', 'transformers', 'timm', 'datasets', 'torchvision', 'pandas', 'scipy'}, loaded\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert what in done.stdout
