"""Where files are found: in the folder, else in the distribution, which is said once; in a clone, there alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark import places
from benchmark.places import listing, locate
from benchmark.recipe.files import load_recipe
from benchmark.records.paper import load_paper
from benchmark.run.resolve import find_runs
from tests.paths import ROOT
from tests.tiny import I2T, T2I, tiny_recipe, write_recipe


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, where the distribution's copy lies beside it."""
    packaged = tmp_path / "packaged"
    (packaged / "results").mkdir(parents=True)
    (packaged / "recipes").symlink_to(ROOT / "recipes")
    (packaged / "results/paper").symlink_to(ROOT / "results/paper")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(places, "PACKAGED", packaged)
    places._tell.cache_clear()
    return packaged


def test_what_the_folder_lacks_comes_from_the_distribution(
    installed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert locate(I2T) == installed / I2T
    assert load_paper("hat").method == "hat"
    assert I2T in listing(places.RECIPES, "*/*.yaml")
    assert [run.path for run in find_runs("hat", "scenes")][:2] == [
        I2T,
        T2I,
    ]  # by the names that records have
    assert capsys.readouterr().err.count("note: ") == 1


@pytest.mark.usefixtures("installed")
def test_own_files_come_first_and_the_rest_is_still_there() -> None:
    write_recipe(I2T, tiny_recipe() | {"summary": "mine"})
    own = Path("recipes/mine/scenes.yaml")
    write_recipe(own, tiny_recipe())
    assert locate(I2T) == I2T
    assert load_recipe(I2T).summary == "mine"
    found = listing(places.RECIPES, "*/*.yaml")
    assert found == sorted(set(found))
    assert {own, I2T, T2I} <= set(found)


@pytest.mark.parametrize("path", [Path("recipes/hat/none.yaml"), Path("mine.yaml")])
def test_what_is_nowhere_keeps_its_name(installed: Path, path: Path) -> None:
    assert locate(path) == path
    assert locate(installed / path) == installed / path


@pytest.mark.usefixtures("installed")
def test_a_clone_has_only_its_own_files(capsys: pytest.CaptureFixture[str]) -> None:
    places.CLONE.parent.mkdir()
    places.CLONE.touch()
    assert locate(I2T) == I2T
    assert listing(places.RECIPES, "*/*.yaml") == []
    assert capsys.readouterr().err == ""
