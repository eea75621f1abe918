"""Whole runs from a SCAN folder: shrunk copies of full-size recipes, and a folder of planted images."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from benchmark.records.record import RunRecord, read_record
from tests.data.region_files import PLANTED_WIDTH, planted_part
from tests.paths import ROOT
from tests.recipe.unique_keys import read_yaml
from tests.tiny import Outcome, put, rematch, write_recipe

COMMON: dict[str, Any] = {
    "model.region_dim": PLANTED_WIDTH,
    "model.dim": 32,
    "training.batch_size": 12,
    "training.optimizer.lr": 0.01,
    "training.workers": 0,
}
WORDS: dict[str, Any] = {
    **COMMON,
    "model.sim_dim": 16,
    "model.word_dim": 16,
    "model.dropout": 0.0,
    "training.stages": [{"epochs": 2, "loss": {"hardest": False}}],
}
CHANGES: dict[str, dict[str, Any]] = {
    "sgraf": WORDS,
    "rcar": {**WORDS, "model.augment": "none"},
    "temde": {**WORDS, "model.sketch.depth": 4, "model.sketch.width": 8},
}
"""What makes a method's recipes small enough to train in a second, and still learn what is planted."""

GIVEN = ("--data-dir", "precomp", "--unverified", "--no-progress", "--device", "cpu")


def shrink(folder: Path, recipe: str, changes: dict[str, Any]) -> Path:
    """A copy of `recipes/<recipe>.yaml` in `folder`, with its fields changed unless it is an ensemble's."""
    document = read_yaml(ROOT / f"recipes/{recipe}.yaml")
    for keys, value in changes.items() if "ensemble" not in document else ():
        put(keys, value)(document)
    return write_recipe(folder / f"recipes/{recipe}.yaml", document)


def make_scan_home(folder: Path, test: str = "testall") -> Path:
    """The papers' numbers, and a SCAN folder `precomp` of 60, 10 and 20 images."""
    shutil.copytree(ROOT / "results/paper", folder / "results/paper")
    for seed, (part, images) in enumerate({"train": 60, "dev": 10, test: 20}.items(), start=1):
        planted_part(folder / "precomp", part, images, seed)
    return folder


def reproduce(recipe: str, *arguments: object) -> Outcome:
    """`rematch reproduce` of a recipe in this folder, on its SCAN folder."""
    return rematch("reproduce", f"recipes/{recipe}.yaml", "--no-latency", *arguments, *GIVEN)


def evaluate(recipe: str, *arguments: object) -> Outcome:
    """`rematch evaluate` likewise."""
    return rematch("evaluate", "--recipe", f"recipes/{recipe}.yaml", *arguments, *GIVEN)


def run_of(recipe: str) -> str:
    """`rcar/flickr30k-t2i` -> `flickr30k/rcar-t2i`."""
    method, _, name = recipe.partition("/")
    dataset, _, variant = name.partition("-")
    return f"{dataset}/{method}-{variant}"


def record_of(recipe: str, seed: int = 0, suffix: str = "") -> RunRecord:
    """The record that a recipe's run has left."""
    return read_record(Path(f"results/runs/{run_of(recipe)}{suffix}/{seed}.json"))


def least_r1(record: RunRecord) -> float:
    """The lower R@1 of the two directions, all test images at once; 5 by chance."""
    metrics = record.results["mscoco-5k" if "mscoco-5k" in record.results else "flickr30k"].metrics
    return min(metrics.i2t.r1, metrics.t2i.r1)
