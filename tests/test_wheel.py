"""The wheel, from an empty folder: it is built here, unpacked as pip would, and run with the present libraries."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from benchmark.records.record import read_all
from tests.paths import ROOT
from tests.tiny import tiny_recipe

SCRIPT = "from benchmark.cli import main\nmain()\n"
"""What an installer writes for the entry point, into a folder that is first on the path."""

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel's packages and its script."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, check=True, cwd=ROOT, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
        (points,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
        assert "rematch = benchmark.cli:main" in archive.read(points).decode()
    (folder / "bin").mkdir()
    (folder / "bin/rematch").write_text(SCRIPT)
    return folder


@pytest.fixture(scope="module")
def empty(installed: Path) -> Path:
    """The folder in which the command is run."""
    (installed / "empty").mkdir()
    return installed / "empty"


@pytest.fixture
def rematch(installed: Path, empty: Path) -> Command:
    """The installed command."""
    environment = os.environ | {"PYTHONPATH": str(installed / "site"), "OMP_NUM_THREADS": "1"}

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(installed / "bin/rematch"), *arguments]
        done = subprocess.run(
            command, cwd=empty, env=environment, capture_output=True, text=True, check=False, timeout=500
        )
        assert done.returncode == 0, done.stderr
        return done

    return call


def test_it_carries_what_a_clone_has_to_read(installed: Path) -> None:
    carried = installed / "site/benchmark/packaged"
    for part in ("recipes", "results/paper", "results/reference", "results/runs"):
        found = {path.relative_to(carried) for path in (carried / part).rglob("*.*")}
        assert found == {path.relative_to(ROOT) for path in (ROOT / part).rglob("*.*")}
    assert (carried / "results/claims.yaml").read_bytes() == (ROOT / "results/claims.yaml").read_bytes()
    templates = {
        path.relative_to(ROOT) for path in (ROOT / "benchmark").rglob("*") if path.suffix in (".j2", ".txt")
    }
    assert templates
    assert all((installed / "site" / path).is_file() for path in templates)


@pytest.mark.slow
def test_it_works_from_an_empty_folder(rematch: Command, empty: Path) -> None:
    shadow = empty / "benchmark"  # somebody's own folder of that name
    shadow.mkdir()
    (shadow / "__init__.py").write_text("raise RuntimeError('the wrong benchmark')")
    listed = rematch("list", "recipes", "hat", "--format", "csv")
    assert "recipes/hat/flickr30k-i2t.yaml" in listed.stdout
    assert listed.stderr.count("\n") == 1
    assert "installed package" in listed.stderr

    runs = rematch("list", "runs", "rcar")
    assert "rcar-t2i" in runs.stdout
    assert "installed package" in runs.stderr

    profile: dict[str, Any] = {
        "summary": "tiny",
        "departures": ["for a test"],
        "evaluation": {"precision": "float32"},
    }
    document = tiny_recipe()
    options = {"options": document["data"]["options"]}
    profile |= {"model": document["model"], "training": document["training"], "data": options}
    del profile["model"]["direction"]
    own = empty / "recipes/hat/profiles/tiny.yaml"
    own.parent.mkdir(parents=True)
    own.write_text(yaml.safe_dump(profile))
    flags = ("--profile", "tiny", "--no-latency", "--no-progress", "--device", "cpu", "--no-tables")
    rematch("reproduce", "hat", "scenes", *flags)
    records = read_all(empty / "results/runs")
    assert {record.run for record in records} == {"hat-i2t-tiny", "hat-t2i-tiny", "hat-ensemble-tiny"}
    assert {record.environment.git_commit for record in records} == {
        None
    }  # by the wheel's code, not the clone's
    assert "recipes/hat/scenes-i2t.yaml" in {record.recipe_path for record in records}

    np.save(empty / "sims.npy", np.random.default_rng(0).standard_normal((16, 80)))
    scored = rematch("score", "sims.npy", "--dataset", "scenes", "--against", "hat-i2t-tiny")
    assert "sims.npy less hat-i2t-tiny" in scored.stdout
    assert "hat-i2t-tiny" in rematch("leaderboard").stdout
    assert (empty / "results/report.html").is_file()
