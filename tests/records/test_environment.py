"""The environment: what it says, and git's state in a checkout, a changed checkout and outside git."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import pytest
import torch

from benchmark.devices import cpu_model
from benchmark.records.environment import collect, git_state


def _git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with a package and a results folder, all committed; returns the package."""
    package = tmp_path / "repository" / "benchmark"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package.parent / "results").mkdir()
    (package.parent / "results" / "a.json").write_text("{}")
    _git(package.parent, "init", "-q")
    _git(package.parent, "add", ".")
    _git(package.parent, "commit", "-q", "-m", "first")
    return package


def test_collect_describes_this_process() -> None:
    found = collect("cpu", "float32")
    assert found.packages["torch"] == torch.__version__
    assert found.python == platform.python_version()
    assert found.threads == torch.get_num_threads()
    assert (found.device, found.cuda) == ("cpu", None)
    assert found.device_name == cpu_model() != ""


def test_clean_checkout(checkout: Path) -> None:
    commit, dirty = git_state(checkout)
    assert commit is not None
    assert len(commit) == 40
    assert dirty is False


def test_what_runs_write_does_not_make_it_dirty(checkout: Path) -> None:
    (checkout.parent / "results" / "a.json").write_text("{1}")
    (checkout.parent / "results" / "new.json").write_text("{}")
    (checkout / "data" / "published").mkdir(parents=True)
    (checkout / "data" / "published" / "revisions.yaml").write_text("commits: {}\n")
    assert git_state(checkout)[1] is False


@pytest.mark.parametrize(
    "name", ["benchmark/__init__.py", "benchmark/new.py", "recipe.yaml", "revisions.yaml"]
)
def test_anything_else_does(checkout: Path, name: str) -> None:
    (checkout.parent / name).write_text("x = 1\n")
    assert git_state(checkout)[1] is True


def test_outside_git(tmp_path: Path) -> None:
    (tmp_path / "benchmark").mkdir()
    (tmp_path / "benchmark" / "__init__.py").write_text("")
    assert git_state(tmp_path / "benchmark") == (None, None)


def test_an_installed_copy_inside_another_repository_has_no_commit(checkout: Path) -> None:
    installed = checkout.parent / ".venv" / "benchmark"
    installed.mkdir(parents=True)
    (installed / "__init__.py").write_text("")
    assert git_state(installed) == (None, None)


def test_without_the_git_program(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert git_state(checkout) == (None, None)


def test_cpu_model_is_read_from_the_system(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\n")
    assert cpu_model(info) == "Some CPU @ 2 GHz"
    assert cpu_model(tmp_path / "missing")
