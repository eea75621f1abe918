"""The repository itself: what lies at its top, how long functions are, and what no file may give away."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

import benchmark
from tests.paths import ROOT

TOP = {
    ".ci",
    ".github",
    ".gitignore",
    "CHANGELOG.md",
    "CITATION.cff",
    "CONTRIBUTING.md",
    "LICENSE",
    "README.md",
    "baselines",
    "benchmark",
    "docs",
    "findings",
    "hatch_build.py",
    "noxfile.py",
    "pyproject.toml",
    "recipes",
    "requirements.lock",
    "results",
    "tests",
}

MACHINE_PATH = re.compile(rb"(?<![\w.~$<-])/(?:home|Users|root|work)/(?!alice|jane)[\w.-]+")
"""A folder of somebody's machine; paths inside the repository are relative. Alice and Jane live in tests."""

REGISTRY = re.compile(rb"pypi\.(?:org|python)|pythonhoste[d]|registry\.npm[j]s|download\.pytorc[h]")
"""Package indexes: which one is used is the user's choice."""


def tracked() -> list[Path]:
    """Every file that git tracks and that is there."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    files = [ROOT / name.decode() for name in listed.split(b"\0") if name]
    return [file for file in files if file.is_file()]


def python_files() -> list[Path]:
    return [file for file in tracked() if file.suffix == ".py"]


def test_the_top_level_is_as_the_picture_says() -> None:
    assert {file.relative_to(ROOT).parts[0] for file in tracked()} == TOP


def test_no_file_names_a_machine_or_a_registry() -> None:
    for file in tracked():
        content = file.read_bytes()
        for pattern in (MACHINE_PATH, REGISTRY):
            match = pattern.search(content)
            assert match is None, f"{file.relative_to(ROOT)}: {match.group()!r}" if match else ""


@pytest.mark.parametrize(
    ("text", "caught"),
    [
        (b"read " + b"/ho" + b"me/somebody/data", True),
        (b"'" + b"/wo" + b"rk/main/x'", True),
        (b"results/work/x, ~/work/x, a/home/b", False),
        (b"--index https://py" + b"pi.org/simple", True),
        (b"pypi is a registry", False),
    ],
)
def test_the_patterns_see_what_they_should(text: bytes, caught: bool) -> None:
    assert bool(MACHINE_PATH.search(text) or REGISTRY.search(text)) is caught


def test_python_files_open_with_what_they_are() -> None:
    for file in python_files():
        text = file.read_text(encoding="utf-8")
        if text.strip() and not (file.name == "__init__.py" and "tests" in file.parts):
            assert ast.get_docstring(ast.parse(text)), f"{file.relative_to(ROOT)}: no opening docstring"


def test_functions_are_short() -> None:
    for file in python_files():
        if file.is_relative_to(ROOT / "tests"):
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno is not None
                length = node.end_lineno - node.lineno + 1
                assert length <= 60, f"{file.relative_to(ROOT)}: {node.name} has {length} lines"


def test_one_version_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert project["version"] == citation["version"] == benchmark.__version__
    assert project["license"] == citation["license"] == "Apache-2.0"
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()


# --------------------------------------------------------------- README, continuous integration


def commands(path: str) -> list[str]:
    """The lines of the shell blocks of a Markdown file."""
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / path).read_text(encoding="utf-8"), flags=re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def test_the_readme_has_two_commands_and_ci_runs_the_second() -> None:
    run, test = commands("README.md")
    assert run.endswith("-s reproduce-hat")
    assert test.endswith("-s lint tests")
    assert run.removesuffix("reproduce-hat") == test.removesuffix("lint tests")
    script = (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()
    assert "set -euo pipefail" in script
    assert test in script
    assert (ROOT / ".ci/run").stat().st_mode & 0o111


def workflow(name: str) -> tuple[list[str], list[str]]:
    """Actions used and commands run by a workflow."""
    document = yaml.safe_load((ROOT / ".github/workflows" / name).read_text(encoding="utf-8"))
    steps = [step for job in document["jobs"].values() for step in job["steps"]]
    return [step["uses"] for step in steps if "uses" in step], [
        step["run"] for step in steps if "run" in step
    ]


def test_workflows_pin_their_actions_and_run_the_sessions() -> None:
    actions, runs = workflow("ci.yml")
    nightly_actions, nightly_runs = workflow("nightly.yml")
    own = [action for action in actions if action.startswith("./")]
    assert [yaml.safe_load((ROOT / action / "action.yml").read_text())["name"] for action in own] == [
        "rematch"
    ]
    others = [action for action in actions + nightly_actions if action not in own]
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@v\d+", action) for action in others)
    wanted = (".ci/run", ".nox/cli/bin/nox -s drift -- ", ".nox/cli/bin/nox -s tables -- --check")
    assert all(run.startswith(start) for run, start in zip(runs, wanted, strict=False))
    assert any(run.startswith(".nox/cli/bin/nox -s drift -- --full") for run in nightly_runs)
    assert commands("README.md")[1].split(" && ")[1] in nightly_runs[0]


def test_the_action_for_other_repositories_runs_the_command_and_keeps_its_status(tmp_path: Path) -> None:
    """Its last step, with a command in place of `rematch` that says what it was given."""
    action = yaml.safe_load((ROOT / ".github/actions/rematch-drift/action.yml").read_text(encoding="utf-8"))
    steps = action["runs"]["steps"]
    uses = [step["uses"] for step in steps if "uses" in step]
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@v\d+", used) for used in uses)
    assert all(name in (ROOT / "docs/ci.md").read_text(encoding="utf-8") for name in action["inputs"])
    program = tmp_path / "rematch/bin/rematch"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\necho "[$*]"\nexit 1\n')
    program.chmod(0o755)
    environment = {
        "PATH": os.environ["PATH"],
        "RUNNER_TEMP": str(tmp_path),
        "COMMAND": "drift mine --no-progress",
    }
    environment["GITHUB_STEP_SUMMARY"] = str(tmp_path / "summary.md")
    command = ["bash", "-e", "-c", steps[-1]["run"]]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "[drift mine --no-progress]\n")
    assert (tmp_path / "summary.md").read_text() == "```text\n[drift mine --no-progress]\n```\n"
