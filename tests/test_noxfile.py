"""The sessions: thin calls of one command each, in one environment that is made once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import nox
import pytest

import noxfile
from benchmark.registry import method_names

ROOT = Path(noxfile.__file__).resolve().parent

Session = Callable[[nox.Session], None]


class Recorder:
    """Stands in for nox.Session and keeps what it is asked to do."""

    def __init__(self, *posargs: str, backend: str = "none", folder: Path = Path("env/bin")) -> None:
        self.posargs = list(posargs)
        self.virtualenv = SimpleNamespace(venv_backend=backend)
        self.bin = str(folder)
        self.programs: list[str] = []
        self.commands: list[list[str]] = []
        self.variables: list[dict[str, str]] = []
        self.installed: list[tuple[str, ...]] = []

    def run(self, program: str, *arguments: str, env: dict[str, str], external: bool) -> None:
        assert external
        self.programs.append(program)
        self.commands.append([Path(program).name, *arguments])
        self.variables.append(env)

    def install(self, *arguments: str, silent: bool = True) -> None:
        assert silent == (arguments[0] != "--require-hashes")  # gigabytes: what comes is shown
        self.installed.append(arguments)

    def run_install(self, program: str, *arguments: str, log: bool) -> None:
        assert program == "python"
        assert not log
        subprocess.run([sys.executable, *arguments], check=True)


def call(session: Any, *posargs: str) -> list[list[str]]:
    """The commands that a session runs."""
    recorder = Recorder(*posargs)
    cast(Session, session)(cast(nox.Session, recorder))
    return recorder.commands


def test_nox_lists_every_session_with_its_help() -> None:
    reproductions = ["reproduce", *(noxfile.name_of(method) for method in noxfile.METHODS)]
    wanted = [
        "tests",
        "lint",
        *reproductions,
        "tables",
        "drift",
        "diff",
        "latency",
        "parity",
        "doctor",
        "gpu-check",
        "wheel",
        "docs",
        "mutants",
    ]
    command = [
        sys.executable,
        "-m",
        "nox",
        "--noxfile",
        str(ROOT / "noxfile.py"),
        "--list",
        "--json",
        "-s",
        *wanted,
    ]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    described = {item["session"]: item["description"] for item in json.loads(answer.stdout)}
    assert described.keys() >= set(wanted)
    assert all(described.values())


@pytest.mark.parametrize(
    ("session", "posargs", "command"),
    [
        (noxfile.reproduction("hat"), [], "rematch reproduce hat"),
        (
            noxfile.reproduction("vse_infty"),
            ["flickr30k", "--seeds", "0", "1"],
            "rematch reproduce vse_infty flickr30k --seeds 0 1",
        ),
        (noxfile.reproduce, ["mscoco"], "rematch reproduce all mscoco"),
        (noxfile.tables, ["--check"], "rematch leaderboard --check"),
        (noxfile.drift, ["--full"], "rematch drift --full"),
        (noxfile.diff, ["sgraf-saf", "rcar-i2t"], "rematch diff sgraf-saf rcar-i2t"),
        (noxfile.latency, ["recipe.yaml"], "rematch time model recipe.yaml"),
        (noxfile.parity, [], "rematch parity all"),
        (noxfile.parity, ["evaluation", "x.npz"], "rematch parity evaluation x.npz"),
        (noxfile.doctor, [], "rematch doctor"),
        (noxfile.gpu_check, ["--minutes", "4"], "rematch gpu-check --minutes 4"),
        (noxfile.mutants, ["writers"], "python -m tests.mutants writers"),
    ],
)
def test_a_session_is_one_command(session: Any, posargs: list[str], command: str) -> None:
    assert call(session, *posargs) == [command.split()]


def test_every_registered_method_has_a_session() -> None:
    assert method_names() == noxfile.METHODS
    assert noxfile.name_of("vse_infty") == "reproduce-vse-infty"


def test_lint_checks_everything() -> None:
    commands = call(noxfile.lint)
    assert [command[:2] for command in commands[:2]] == [["ruff", "check"], ["ruff", "format"]]
    assert commands[2][0] == "mypy"
    for command in commands:
        assert {"benchmark", "baselines", "tests", "noxfile.py"} <= set(command)


def test_arguments_go_to_pytest_and_a_worker_has_one_thread() -> None:
    recorder = Recorder("-k", "ranks")
    cast(Session, noxfile.tests)(cast(nox.Session, recorder))
    (command,), (variables,) = recorder.commands, recorder.variables
    assert command[0] == "pytest"
    assert command[-2:] == ["-k", "ranks"]
    assert variables["OMP_NUM_THREADS"] == "1"


def test_commands_of_the_environment_come_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tool = tmp_path / "rematch"
    tool.write_text("")
    monkeypatch.setattr(noxfile, "tools", tmp_path)
    recorder = Recorder()
    for name in ("rematch", "git"):
        noxfile.run(cast(nox.Session, recorder), name)
    assert recorder.programs == [str(tool), "git"]
    assert all(variables["PATH"].startswith(str(tmp_path)) for variables in recorder.variables)


@pytest.fixture
def checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A repository of which only the inputs of an installation are there."""
    for name in noxfile.INSTALL_INPUTS:
        (tmp_path / name).write_text(name)
    monkeypatch.setattr(noxfile, "ROOT", tmp_path)
    monkeypatch.setattr(noxfile, "tools", tmp_path / "elsewhere")
    return tmp_path


def installs(checkout: Path, **options: Any) -> list[tuple[str, ...]]:
    """What the session `env` installs; afterwards `noxfile.tools` may point into it."""
    folder = checkout / "env/bin"
    folder.mkdir(parents=True, exist_ok=True)
    recorder = Recorder(folder=folder, **options)
    cast(Session, noxfile.env)(cast(nox.Session, recorder))
    return recorder.installed


def test_the_environment_is_made_by_hash_and_once(checkout: Path) -> None:
    first = installs(checkout, backend="uv")
    assert first[0] == ("--require-hashes", "-r", "requirements.lock")
    assert {"--no-deps", "--no-build-isolation"} <= set(first[1])
    assert noxfile.tools == checkout / "env/bin"
    assert installs(checkout, backend="uv") == []


@pytest.mark.parametrize("name", noxfile.INSTALL_INPUTS)
def test_a_changed_input_installs_again(checkout: Path, name: str) -> None:
    installs(checkout, backend="uv")
    (checkout / name).write_text("changed")
    assert len(installs(checkout, backend="uv")) == 2


def test_without_a_virtual_environment_nothing_is_installed(checkout: Path) -> None:
    assert installs(checkout) == []
    assert noxfile.tools == checkout / "elsewhere"
