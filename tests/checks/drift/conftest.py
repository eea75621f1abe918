"""References of the tiny runs, shared by the tests of a worker."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.tiny import rematch


@pytest.fixture(scope="session")
def referenced(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trained folder with references made from it; not to be written to."""
    folder = tmp_path_factory.mktemp("referenced") / "home"
    shutil.copytree(trained, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        said = rematch("drift", "--update").good
        assert said.count("wrote results/reference/scenes/") == 3
    return folder


@pytest.fixture
def checked(referenced: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy with recipes and references, as in a fresh clone: no run, no work folder."""
    folder = tmp_path / "checked"
    ignore = shutil.ignore_patterns(".rematch", "runs", "tables")
    shutil.copytree(referenced, folder, ignore=ignore)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def single(checked: Path) -> Path:
    """With the reference of one model alone."""
    for path in Path("results/reference/scenes").iterdir():
        if path.stem != "hat-i2t":
            path.unlink()
    return checked
