"""Continuous integration: one comment a pull request, written over each time, by a job that runs nothing else."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from benchmark import cli
from tests.paths import ROOT

GH = """#!/usr/bin/env bash
# stands in for GitHub's command: writes down what it is asked, and answers with the comments there are
printf '%s\\n' "$*" >> calls
for argument in "$@"; do
    case $argument in body=@*) cp "${argument#body=@}" sent ;; esac
done
case "$*" in
    *--paginate*) cat comments | jq -r "${@: -1}" ;;
esac
"""
OURS = "<!-- rematch: drift -->\nold"


@pytest.fixture
def pull_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if shutil.which("jq") is None:
        pytest.skip("jq plays the part of gh's --jq here, and is not installed")
    gh = tmp_path / "bin" / "gh"
    gh.parent.mkdir()
    gh.write_text(GH)
    gh.chmod(gh.stat().st_mode | stat.S_IXUSR)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "report.md").write_text("### no drift\n")
    return tmp_path


def comment(*there: tuple[int, str, str]) -> list[str]:
    """Run the script with these comments (id, kind of user, text) in the pull request; what `gh` was asked."""
    listed = [{"id": number, "user": {"type": kind}, "body": body} for number, kind, body in there]
    Path("comments").write_text(json.dumps(listed))
    environment = {
        "PATH": f"{Path('bin').resolve()}{os.pathsep}{os.environ['PATH']}",
        "REPOSITORY": "alice/rematch",
        "NUMBER": "7",
    }
    subprocess.run([str(ROOT / ".ci/comment"), "report.md", "drift"], check=True, env=environment)
    return Path("calls").read_text().splitlines()


def test_the_first_time_a_comment_is_added(pull_request: Path) -> None:
    calls = comment((1, "User", OURS), (2, "Bot", "another's"))
    assert len(calls) == 2, pull_request
    assert calls[1].startswith("api --silent --method POST repos/alice/rematch/issues/7/comments ")
    assert Path("sent").read_text() == "<!-- rematch: drift -->\n### no drift\n"


def test_afterwards_it_is_written_over(pull_request: Path) -> None:
    calls = comment((1, "User", OURS), (5, "Bot", OURS), (6, "Bot", OURS))
    assert calls[1].startswith("api --silent --method PATCH repos/alice/rematch/issues/comments/5 "), (
        pull_request
    )


def test_a_long_report_is_cut_at_a_line_with_nothing_open(pull_request: Path) -> None:
    lines = [
        "<details><summary>all</summary>",
        *(f"| {row} | {'x' * 90} |" for row in range(2000)),
        "</details>",
    ]
    Path("report.md").write_text("\n".join(lines))
    comment()
    sent = Path("sent").read_text()
    assert len(sent) < 65_536, pull_request
    assert sent.count("<details>") == sent.count("</details>") == 1
    assert sent.endswith("\nCut short: the whole is in the summary of the job.\n")
    kept = [line for line in sent.splitlines() if line.startswith("| ")]
    assert kept == lines[1 : len(kept) + 1]


# --------------------------------------------------------------------------------------- workflows


def jobs(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / ".github/workflows" / name).read_text())["jobs"]
    return loaded


def steps(name: str) -> list[dict[str, Any]]:
    return [step for job in jobs(name).values() for step in job["steps"]]


def options(command: str) -> set[str]:
    """What `rematch COMMAND` takes."""
    found = get_command(cli.app).commands[command]  # type: ignore[attr-defined]
    return {name for parameter in found.params for name in (*parameter.opts, *parameter.secondary_opts)}


@pytest.mark.parametrize("workflow", ["ci.yml", "nightly.yml"])
def test_commands_of_the_workflows_exist(workflow: str) -> None:
    called = 0
    for step in steps(workflow):
        for line in step.get("run", "").splitlines():
            found = re.search(r"(?:nox -s (drift) --|rematch (diff)) (.*)", line)
            if found:
                called += 1
                flags = set(re.findall(r"--[a-z-]+", found[3]))
                assert flags
                assert flags <= options(found[1] or found[2]), line
            for script in re.findall(r"\.ci/\w+", line):
                assert os.access(ROOT / script, os.X_OK), script
    assert called == {"ci.yml": 2, "nightly.yml": 1}[workflow]


@pytest.mark.parametrize("workflow", ["ci.yml", "nightly.yml"])
def test_shell_steps_are_shell(workflow: str) -> None:
    for step in steps(workflow):
        if "run" in step:
            assert "${{" not in step["run"], "what others can write must not become part of a command"
            subprocess.run(["bash", "-n"], input=step["run"], text=True, check=True)


def test_only_the_job_that_comments_may_write() -> None:
    document = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    assert document["permissions"] == {"contents": "read"}
    assert "pull_request_target" not in document[True]  # YAML reads `on` as true
    assert "permissions" not in document["jobs"]["check"]
    job = document["jobs"]["comment"]
    assert job["permissions"] == {"contents": "read", "pull-requests": "write"}
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/comment report.md drift"]
    assert "head.repo.full_name == github.repository" in job["if"]


def test_drift_and_diff_reach_the_summary_also_when_a_check_failed() -> None:
    found = {step.get("name"): step for step in jobs("ci.yml")["check"]["steps"]}
    summary = found["both in the job's summary"]
    assert "!cancelled()" in summary["if"]
    assert "GITHUB_STEP_SUMMARY" in summary["run"]
    for name in ("scores within their tolerance", "run records that the pull request changes"):
        assert "!cancelled()" in found[name]["if"]
    assert "GITHUB_STEP_SUMMARY" in str(steps("nightly.yml"))
