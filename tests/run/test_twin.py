"""The whole story on Flickr30K and MSCOCO, `rematch reproduce hat DATASET --profile reduced`.

Against a local twin of the Hub with the true ids and counts, from the download to the tables; then again from
the lock, and from the cache.
"""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from benchmark.data.published.catalogue import get_entry
from benchmark.records.record import RunRecord, read_record
from benchmark.records.sidecar import read_sidecar
from tests.evaluation.naive import naive_ranks, naive_recall
from tests.hub.client import environment, pointed_at
from tests.hub.repositories import whole_repositories, write_parquet
from tests.hub.rows import flickr8k_rows
from tests.hub.server import HubTwin
from tests.paths import ROOT
from tests.tiny import Outcome, contents, rematch

RUNS = ("hat-i2t", "hat-t2i", "hat-ensemble")
IMAGES = 50
CHANCE = 100 * 2 * (1 + 5 + 10) / IMAGES
"""Expected rsum of guessing, near enough: five captions an image hardly help the first ranks."""

COUNTS = {
    "flickr30k": {"train": 29_000, "val": 1_014, "test": 1_000},
    "mscoco": {"train": 82_783, "val": 5_000, "test": 5_000},
}


def home_in(folder: Path) -> Path:
    """A working folder with the recipes, their profiles and the papers' numbers."""
    shutil.copytree(ROOT / "recipes", folder / "recipes")
    shutil.copytree(ROOT / "results/paper", folder / "results/paper")
    return folder


def command(home: Path, variables: dict[str, str], *arguments: str) -> str:
    """What `rematch` prints, as a user would call it in `home`; asserts that it ended well."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", "from benchmark.cli import main; main()", *arguments],
        cwd=home,
        env={**kept, "OMP_NUM_THREADS": "1", "PYTHONPATH": path, "COLUMNS": "160", **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def again(
    twin: HubTwin, monkeypatch: pytest.MonkeyPatch, home: Path, cache: str, *, offline: bool = False
) -> None:
    """Let this process use the twin with one of the home's caches, and always the home's lock."""
    pointed_at(twin, monkeypatch, home / cache, offline=offline)
    monkeypatch.setenv("REMATCH_REVISIONS", str(home / "cache/revisions.yaml"))
    monkeypatch.chdir(home)


def evaluate(dataset: str, *more: object) -> Outcome:
    recipe = f"recipes/hat/{dataset}-i2t.yaml"
    return rematch(
        "evaluate", "--recipe", recipe, "--profile", "reduced", "--no-progress", "--device", "cpu", *more
    )


def record_at(home: Path, dataset: str, run: str) -> RunRecord:
    return read_record(home / f"results/runs/{dataset}/{run}-reduced/0.json")


# -------------------------------------------------------------------------- what a run must leave


def check_records(home: Path, dataset: str, folds: dict[str, int], runs: Sequence[str]) -> None:
    """Records of the runs, the first of them hat-i2t's: data, departures and scores of every protocol."""
    for run in runs:
        record = record_at(home, dataset, run)
        assert not record.comparable
        assert any("only the first 50 test images" in reason for reason in record.departures)
        assert not any("not verified" in reason for reason in record.departures)
        assert record.recipe["profile"] == "reduced"
        assert record.dataset.splits["test"].images == IMAGES
        assert {name: len(result.folds) for name, result in record.results.items()} == folds
        sims = np.load(home / f".rematch/{dataset}/{run}-reduced/0/sims.npy")
        for name in folds:
            check_scores(record, name, sims)
        read_sidecar(record, home / "results/runs")
    record = record_at(home, dataset, "hat-i2t")
    assert {name: split.images for name, split in record.dataset.splits.items()} == {
        "train": 256,
        "val": IMAGES,
        "test": IMAGES,
    }
    assert record.codec.startswith("wordpiece:letters:")
    assert record.training is not None
    assert len(record.training.first_losses) == 20
    whole = "mscoco-5k" if dataset == "mscoco" else dataset
    assert record_at(home, dataset, runs[-1]).results[whole].metrics.rsum > 1.5 * CHANCE  # it learned


def check_scores(record: RunRecord, protocol: str, sims: np.ndarray[Any, Any]) -> None:
    """Recalls are those of a loop over each fold's images and captions."""
    result = record.results[protocol]
    size = IMAGES // len(result.folds)
    found = []
    for fold in range(len(result.folds)):
        block = sims[fold * size : (fold + 1) * size, 5 * fold * size : 5 * (fold + 1) * size]
        i2t, t2i = naive_ranks(block, np.arange(5 * size) // 5, "lower_index")
        found.append([naive_recall(i2t, 1), naive_recall(i2t, 5), naive_recall(t2i, 1), naive_recall(t2i, 5)])
    metrics = result.metrics
    assert [metrics.i2t.r1, metrics.i2t.r5, metrics.t2i.r1, metrics.t2i.r5] == pytest.approx(
        np.mean(found, axis=0)
    )
    assert f"images:{IMAGES}|captions:{5 * IMAGES}|rule:first5|folds:{len(result.folds)}" in result.signature


def check_tables(home: Path, protocols: list[str], runs: Sequence[str]) -> None:
    """All tables are there and hold the runs, none of them beside the paper's."""
    for protocol in protocols:
        page = (home / f"results/tables/{protocol}.md").read_text(encoding="utf-8")
        assert page.count("| not comparable") == len(runs)
        assert r"\toprule" in (home / f"results/tables/{protocol}.tex").read_text(encoding="utf-8")
        with (home / f"results/tables/{protocol}.csv").open(encoding="utf-8") as handle:
            rows = {row["run"]: row for row in csv.DictReader(handle) if row["run"]}
        assert rows.keys() == {f"{run}-reduced" for run in runs}
        assert all("profile reduced: " in row["departures"] for row in rows.values())


def check_lock(home: Path, dataset: str, twin: HubTwin) -> None:
    """The lock names a full commit of every repository and the source of every split; the records name them too."""
    lock = yaml.safe_load((home / "cache/revisions.yaml").read_text(encoding="utf-8"))
    assert lock["commits"] == {name: item.main for name, item in twin.repositories.items()}
    assert lock["sources"].keys() == {f"{dataset}/{split}" for split in ("train", "val", "test")}
    revision = record_at(home, dataset, "hat-i2t").dataset.revision
    assert revision is not None
    assert set(revision.split(", ")) == {f"{name}@{commit}" for name, commit in lock["commits"].items()}


def move_main(twin: HubTwin) -> None:
    """Give every repository a newer commit, with the same files."""
    for item in twin.repositories.values():
        item.commits = {"f" * 40: item.commits[item.main], **item.commits}
        item.main = "f" * 40


# --------------------------------------------------------------------------------------- datasets


@pytest.mark.slow
def test_flickr30k(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, recipe = home_in(tmp_path), "recipes/hat/flickr30k-i2t.yaml"
    own = (ROOT / "benchmark/data/published/revisions.yaml").read_bytes()
    with HubTwin(whole_repositories(tmp_path / "twin", ["flickr30k"])) as twin:
        arguments = (
            "reproduce",
            "hat",
            "flickr30k",
            "--profile",
            "reduced",
            "--no-progress",
            "--device",
            "cpu",
        )
        said = command(home, environment(twin.url, home / "cache"), *arguments)
        assert said.count("canonical hash") == 3
        check_records(home, "flickr30k", {"flickr30k": 1}, RUNS)
        check_tables(home, ["flickr30k"], RUNS)
        check_lock(home, "flickr30k", twin)
        assert (ROOT / "benchmark/data/published/revisions.yaml").read_bytes() == own
        assert record_at(home, "flickr30k", "hat-t2i").latency is not None

        # another machine: nothing in the cache, the lock from the repository; the Hub has moved on
        lock = (home / "cache/revisions.yaml").read_bytes()
        move_main(twin)
        twin.requests.clear()
        again(twin, monkeypatch, home, "other-cache")
        rsum = record_at(home, "flickr30k", "hat-i2t").results["flickr30k"].metrics.rsum
        assert f"{rsum:.1f} [" in evaluate("flickr30k").good
        files = twin.downloads()
        assert files
        assert all(Path(file).name.startswith("test-") for file in files), files
        assert not [item for item in twin.requests if "f" * 40 in item.path]
        assert (home / "cache/revisions.yaml").read_bytes() == lock

    twin.requests.clear()
    for offline in (False, True):  # the network is down; then the user has said so
        again(twin, monkeypatch, home, "other-cache", offline=offline)
        assert f"{rsum:.1f} [" in evaluate("flickr30k").good
    again(twin, monkeypatch, home, "cache", offline=True)
    former = record_at(home, "flickr30k", "hat-i2t").canonical_hash
    resumed = rematch(
        *("reproduce", recipe, "--profile", "reduced", "--resume"),
        *("--no-latency", "--no-progress", "--device", "cpu"),
    )
    assert f"canonical hash {former[:12]}" in resumed.good
    assert twin.requests == []


@pytest.mark.slow
def test_mscoco(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One direction; both and their ensemble are made on Flickr30K."""
    home, recipe = home_in(tmp_path), "recipes/hat/mscoco-i2t.yaml"
    with HubTwin(whole_repositories(tmp_path / "twin", ["mscoco"])) as twin:
        again(twin, monkeypatch, home, "cache")
        arguments = ("reproduce", recipe, "--profile", "reduced", "--no-latency", "--device", "cpu")
        said = rematch(*arguments, "--no-progress").good  # in this process; Flickr30K has one of its own
        assert len(re.findall("on mscoco-1k: .* canonical hash", said)) == 1
        check_records(home, "mscoco", {"mscoco-1k": 5, "mscoco-5k": 1}, RUNS[:1])
        check_tables(home, ["mscoco-1k", "mscoco-5k"], RUNS[:1])
        check_lock(home, "mscoco", twin)
        asked = {item.repo for item in twin.requests if item.repo}
        assert asked == set(twin.repositories)  # no fallback was needed

        twin.requests.clear()
        again(twin, monkeypatch, home, "other-cache")
        rsum = record_at(home, "mscoco", "hat-i2t").results["mscoco-1k"].metrics.rsum
        assert f"{rsum:.1f} [" in evaluate("mscoco").good
        assert {item.repo for item in twin.requests if item.repo} == {"Multimodal-Fatima/COCO_captions_test"}


def test_the_twin_has_the_published_counts() -> None:
    for dataset, counts in COUNTS.items():
        assert get_entry(dataset).counts == counts


# ----------------------------------------------------------------------------------- local copies


def test_a_local_folder_with_other_contents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, folder = home_in(tmp_path / "home"), tmp_path / "flickr30k"
    rows = flickr8k_rows({"train": 60, "val": 20, "test": 20})
    write_parquet("AnyModal/flickr30k", rows, folder)
    again(HubTwin(), monkeypatch, home, "cache", offline=True)
    options = (
        "--profile",
        "reduced",
        "--data-dir",
        folder,
        "--no-latency",
        "--no-progress",
        "--device",
        "cpu",
    )
    arguments = ("reproduce", "recipes/hat/flickr30k-i2t.yaml", *options)

    before = contents(home / "results")
    assert "--unverified" in rematch(*arguments).error
    assert contents(home / "results") == before

    said = rematch(*arguments, "--unverified").good
    record = record_at(home, "flickr30k", "hat-i2t")
    assert {name: split.images for name, split in record.dataset.splits.items()} == {
        "train": 60,
        "val": 20,
        "test": 20,
    }
    assert record.departures[0].startswith("not verified: ")
    assert not record.comparable
    table = (home / "results/tables/flickr30k.md").read_text(encoding="utf-8")
    for text in (said, table):  # beside the numbers, and below the table why
        assert "not comparable" in text
    assert "not verified: " in table

    rows[7] = replace(rows[7], image=rows[7].image[:200])
    shutil.rmtree(folder)
    write_parquet("AnyModal/flickr30k", rows, folder)
    error = rematch(*arguments, "--unverified").error
    assert rows[7].filename in error
    assert "--skip-corrupt" in error
    assert rematch(*arguments, "--unverified", "--skip-corrupt").good
    record = record_at(home, "flickr30k", "hat-i2t")
    assert record.dataset.splits["train"].images == 59
    assert any(rows[7].filename in reason for reason in record.departures)
