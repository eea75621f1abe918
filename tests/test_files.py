"""Temporary files: swept where their writer is gone, left alone while it lives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmark.files import check_writable, replacing, sweep, write_text
from tests.paths import ROOT

WRITER = """
import sys
from pathlib import Path
from benchmark.files import replacing
with replacing(Path(sys.argv[1])) as handle:
    handle.write(b"half")
    print("writing", flush=True)
    sys.stdin.read()
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def writer(tmp_path: Path) -> subprocess.Popen[str]:
    """A process that is writing `target.json`."""
    command = [sys.executable, "-c", WRITER, str(tmp_path / "target.json")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    return process


def test_what_a_living_process_writes_is_not_swept(tmp_path: Path, writer: subprocess.Popen[str]) -> None:
    assert len(names(tmp_path)) == 1
    sweep(tmp_path, "target.json", "*")
    assert len(names(tmp_path)) == 1
    writer.communicate("go on")
    assert writer.returncode == 0
    assert names(tmp_path) == ["target.json"]
    assert (tmp_path / "target.json").read_bytes() == b"half"


def test_what_a_killed_process_left_is_swept(tmp_path: Path, writer: subprocess.Popen[str]) -> None:
    write_text(tmp_path / "other.json", "whole")
    writer.send_signal(signal.SIGKILL)
    writer.communicate()
    assert len(names(tmp_path)) == 2
    sweep(tmp_path, "another.json")
    assert len(names(tmp_path)) == 2
    sweep(tmp_path, "target.json")
    assert names(tmp_path) == ["other.json"]


def test_a_temporary_that_is_swept_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make: Callable[..., tuple[int, str]] = tempfile.mkstemp
    made: list[str] = []

    def swept(**named: Any) -> tuple[int, str]:
        descriptor, name = make(**named)
        made.append(name)
        if len(made) == 1:
            sweep(tmp_path, "target.json")
        return descriptor, name

    monkeypatch.setattr(tempfile, "mkstemp", swept)
    with replacing(tmp_path / "target.json") as handle:
        handle.write(b"whole")
    assert len(made) == 2
    assert names(tmp_path) == ["target.json"]


def test_a_folder_is_tried_before_it_is_needed(tmp_path: Path) -> None:
    check_writable(tmp_path / "runs" / "scenes")
    assert names(tmp_path) == []  # nothing is left, not even the folder
    (tmp_path / "results").write_text("a file in the place of a folder")
    with pytest.raises(OSError, match="results"):
        check_writable(tmp_path / "results")
