"""Methods that read regions, from pictures to tables: `rematch reproduce METHOD flickr30k --profile reduced`.

Against a local twin of the Hub with a dozen pictures and a narrow detector; no SCAN folder is there. All methods share
one extraction.
"""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import CLIPConfig, CLIPModel

from benchmark.data.published.revisions import lock_path
from benchmark.data.regions.detector.weights import FILE
from benchmark.data.regions.kept import read_notes
from benchmark.recipe.schema import DETECTED
from benchmark.records.record import read_record
from benchmark.registry import method_names
from benchmark.reporting.leaderboard.rows import leaderboard
from tests.data.regions.detector.narrow import lock_text, narrow_detector, narrow_repository
from tests.hub.client import pointed_at
from tests.hub.repositories import repository, write_parquet
from tests.hub.rows import flickr30k_rows
from tests.hub.server import HubTwin
from tests.hub.store import Repository, made_up_commit
from tests.paths import ROOT
from tests.run.test_twin import home_in
from tests.tiny import change_recipe, put, rematch

METHODS = ("rcar", "sgraf", "temde", "user", "vse_infty")
RUNS = {
    "rcar": ["rcar-i2t", "rcar-t2i", "rcar-ensemble"],
    "sgraf": ["sgraf-saf", "sgraf-sgr", "sgraf-ensemble"],
    "temde": ["temde-saf", "temde-sgr", "temde-ensemble"],
    "user": ["user-cge", "user-sge", "user-ensemble"],
    "vse_infty": ["vse_infty-bert", "vse_infty-bigru"],
}
PICTURES = 12
CLIP = "openai/clip-vit-base-patch32"


def clip_repository(folder: Path) -> Repository:
    """A tiny CLIP with the published width."""
    torch.manual_seed(5)
    small = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config={**small, "vocab_size": 20},
        vision_config={**small, "image_size": 32, "patch_size": 8},
        projection_dim=512,
    )
    CLIPModel(config).save_pretrained(folder)
    return Repository(CLIP, {made_up_commit("def", CLIP): folder}, kind="model")


DYING = """
import os, signal, sys
from benchmark.cli import main
from benchmark.data.regions import detected, kept

detected.SAVED_EVERY = 0.0  # every picture is written as it is looked at
keep, left = kept.KeptRegions.keep, [5]

def keep_some(self, *arguments):
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    left[0] -= 1
    keep(self, *arguments)

kept.KeptRegions.keep = keep_some
main()
"""
"""The command, killed when it has kept the regions of five pictures."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the recipes, for features as wide as the narrow detector's, and a twin of the Hub."""
    folder = home_in(tmp_path_factory.mktemp("regions"))
    width = narrow_detector().width
    for method in METHODS:
        change_recipe(folder / f"recipes/{method}/profiles/reduced.yaml", put("model.region_dim", width))
    for path in folder.glob("recipes/rcar/flickr30k-*-*.yaml"):
        path.unlink()  # variants of the same model, which take as long again
    with HubTwin() as twin, pytest.MonkeyPatch.context() as patch:
        pointed_at(twin, patch, folder / "cache")
        patch.chdir(folder)
        name = "umaru97/flickr30k_train_val_test"
        twin.add(repository(name, write_parquet(name, flickr30k_rows(), folder / "twin/flickr30k")))
        twin.add(narrow_repository(folder / "twin/detector"))
        (folder / "cache").mkdir()
        lock_path().write_text(lock_text(folder / "twin/detector" / FILE))
        twin.add(clip_repository(folder / "twin/clip"))
        yield folder


@pytest.mark.parametrize("method", METHODS)
def test_from_pictures_to_tables_without_a_folder(home: Path, method: str) -> None:
    said = rematch(
        *("reproduce", method, "flickr30k", "--profile", "reduced", "--unverified"),
        *("--no-latency", "--no-progress", "--device", "cpu"),
    ).good
    assert said.count("canonical hash") == len(RUNS[method])
    names = [f"{run}-reduced-detector" for run in RUNS[method]]
    seed = 1 if method == "user" else 0  # the recipes'
    records = [read_record(home / f"results/runs/flickr30k/{name}/{seed}.json") for name in names]
    for record in records:
        assert not record.comparable
        assert any(reason.startswith(f"{DETECTED} (caffe mode, ") for reason in record.departures)
        assert record.dataset.features is not None
        assert f"|features:{record.dataset.features}" in record.results["flickr30k"].signature
        told = (record.recipe["summary"], *record.departures, *record.notes)
        assert DETECTED in told[0]
        assert not [text for text in told if "as published" in text or "as released" in text]
        if not record.members:
            assert record.recipe["data"]["regions"]["source"] == "detector"
            assert sum(split.images for split in record.dataset.splits.values()) == PICTURES
    for group in leaderboard(records):
        assert {row.judgement.kind for row in group.rows} == {"not comparable"}
    with (home / "results/tables/flickr30k.csv").open(encoding="utf-8") as handle:
        rows = {row["run"]: row for row in csv.DictReader(handle) if row["run"]}
    for name in names:
        assert DETECTED in rows[name]["departures"]
        assert "as published" not in str(rows[name])
    kept = [read_notes(path)[1] for path in home.glob(".rematch/features/detector-*/*.safetensors")]
    assert sum(map(len, kept)) == PICTURES  # whichever method came first


def test_a_run_killed_while_it_detects_goes_on_to_the_same_features(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["reproduce", "recipes/vse_infty/flickr30k-bigru.yaml", "--profile", "reduced", "--unverified"]
    command += ["--no-latency", "--no-progress", "--device", "cpu"]
    (run,) = [name for name in RUNS["vse_infty"] if name.endswith("bigru")]
    record = Path(f"results/runs/flickr30k/{run}-reduced-detector/0.json")
    killed = home_in(tmp_path)
    monkeypatch.chdir(killed)
    change_recipe(
        Path("recipes/vse_infty/profiles/reduced.yaml"), put("model.region_dim", narrow_detector().width)
    )
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", DYING, *command],
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr

    def kept() -> int:
        files = Path().glob(".rematch/features/detector-*/*.safetensors")
        return sum(len(read_notes(file)[1]) for file in files)

    assert kept() == 5
    assert not record.exists()
    rematch(*command)
    assert kept() == PICTURES
    whole = home / record
    if not whole.exists():  # this test alone
        monkeypatch.chdir(home)
        rematch(*command)
        monkeypatch.chdir(killed)
    assert read_record(record).dataset.features == read_record(whole).dataset.features
    assert read_record(record).canonical_hash == read_record(whole).canonical_hash


def test_every_method_that_reads_regions_is_run() -> None:
    assert set(METHODS) == set(method_names()) - {"hat", "dualpath", "dual_encoder"}
