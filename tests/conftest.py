"""One tiny run of HAT, both directions and their ensemble, shared by all tests of a worker."""

from __future__ import annotations

import gc
import os
import shutil
from pathlib import Path

import pytest

from tests import bytecode  # noqa: F401 (before anything that takes long to compile)
from tests.tiny import make_home, reproduce


def pytest_collection_finish() -> None:
    """Collect garbage more rarely, and never among the imported modules: a twelfth of the time went there."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


@pytest.fixture(autouse=True, scope="session")
def own_lock(tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test writes the lock of data revisions that is committed."""
    os.environ["REMATCH_REVISIONS"] = str(tmp_path_factory.mktemp("lock") / "revisions.yaml")


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder after `rematch reproduce hat scenes`; not to be written to."""
    folder = make_home(tmp_path_factory.mktemp("trained"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        (folder / "said.txt").write_text(reproduce("hat", "scenes").good, encoding="utf-8")
    return folder


@pytest.fixture
def home(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the trained folder, to work in."""
    folder = tmp_path / "home"
    shutil.copytree(trained, folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with recipes and nothing run, to work in."""
    folder = make_home(tmp_path / "fresh")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, to work in."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder
