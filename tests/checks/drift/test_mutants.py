"""Three methods made worse on purpose, each caught by `rematch drift` on the committed references and named by it.

Each time one method's code is changed and another's is not: the table has to name the one, what moved of it, and
nothing of the other.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from baselines.user import enhancement
from baselines.vse_infty.model import VSEInfinity
from benchmark.batches import TrainingCodes
from benchmark.checks.drift import check
from benchmark.data.regions.grid import FeatureStore
from benchmark.method import DualEncoder, Progress
from benchmark.places import REFERENCE
from benchmark.records.reference import read_reference, reference_path, write_reference
from benchmark.run.job import Job, build_model
from tests.paths import ROOT
from tests.tiny import rematch

FEATURES = FeatureStore().folder
STEPS = 5
"""Of the 20 first steps of a reference: the worsened losses differ from the first on."""
Mutate = Callable[[pytest.MonkeyPatch], None]


def clone(folder: Path, monkeypatch: pytest.MonkeyPatch, runs: tuple[str, ...]) -> None:
    """A working folder with the committed recipes and the references of some runs, with fewer first steps."""
    (folder / "recipes").symlink_to(ROOT / "recipes")
    (ROOT / FEATURES).mkdir(parents=True, exist_ok=True)
    (folder / FEATURES.parent).mkdir()
    (folder / FEATURES).symlink_to(ROOT / FEATURES)  # of the regions of scenes, which take long to compute
    for run in runs:
        for suffix in (".npz", ".safetensors"):
            file = REFERENCE / "scenes" / f"{run}{suffix}"
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, folder / file)
        path = reference_path("scenes", run)
        reference = read_reference(ROOT / path)
        assert reference.trace is not None
        del reference.trace.losses[STEPS:]
        write_reference(reference, folder / path)
    monkeypatch.setattr(check, "STEPS", STEPS)
    monkeypatch.chdir(folder)


def halve_the_temperature(patch: pytest.MonkeyPatch) -> None:
    """HAT's attention looks twice as hard: half the temperature."""

    def build(job: Job, *, pretrained: bool) -> Any:
        if job.method.name == "hat":
            config = job.config.model_copy(update={"temperature": job.config.temperature / 2})
            job = dataclasses.replace(job, config=config)
        return build_model(job, pretrained=pretrained)

    patch.setattr(check, "build_model", build)


def drop_the_margin(patch: pytest.MonkeyPatch) -> None:
    """VSE-infinity's triplet loss forgets its margin."""

    def marginless(
        model: VSEInfinity, codes: TrainingCodes, progress: Progress, pair_budget: int | None
    ) -> Tensor:
        loss = progress.loss.model_copy(update={"margin": 0.0})
        return DualEncoder.objective(model, codes, dataclasses.replace(progress, loss=loss), pair_budget)

    patch.setattr(VSEInfinity, "objective", marginless)  # the loss itself is shared with others


def swap_the_axis(patch: pytest.MonkeyPatch) -> None:
    """USER's enhancement norms its weights over the images of a batch, not over an image's regions."""

    def swapped(vectors: Tensor, dim: int = -1) -> Tensor:
        return torch.nn.functional.normalize(vectors, dim=0 if dim == -1 else -1)

    patch.setattr(enhancement, "l2_normalize", swapped)


@pytest.mark.parametrize(
    ("mutate", "run", "other", "checks"),
    [
        (halve_the_temperature, "hat-i2t", "user-sge", {"weights", "queries"}),
        (drop_the_margin, "vse_infty-bigru", "user-sge", {"first steps"}),
        (swap_the_axis, "user-sge", "vse_infty-bigru", {"weights", "queries"}),
    ],
    ids=["temperature", "margin", "axis"],
)
def test_a_worsened_method_is_caught_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mutate: Mutate, run: str, other: str, checks: set[str]
) -> None:
    clone(tmp_path, monkeypatch, (run, other))
    mutate(monkeypatch)
    outcome = rematch("drift", "--no-progress", "--format", "json", "--output", "drift.json")
    assert outcome.code == 1, outcome
    report = json.loads(Path("drift.json").read_text())
    assert {item["run"] for item in report["findings"]} == {run, other}
    assert list(report["drifted"]) == [run]
    assert checks <= set(report["drifted"][run])
    caught = [item for item in report["findings"] if item["state"] == "drift"]
    lines = [line for line in outcome.out.splitlines() if " drift " in line]
    assert len(lines) == len(caught) > 0
    for item, line in zip(caught, lines, strict=True):
        assert f" {run} " in line
        assert item["quantity"] in line
    assert list(report["queries"]) == ([run] if "queries" in checks else [])
    if "queries" in checks:
        assert f"{run}: queries that changed most" in outcome.out
        assert report["queries"][run]["most"][0]["image_id"] in outcome.out
