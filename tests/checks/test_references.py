"""The committed references: of the recipes as they are, and good for what they are there for."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from baselines.layers import gpo
from benchmark.checks.drift import check as drift
from benchmark.checks.drift.ranks import compare_ranks, read_ranks
from benchmark.evaluation.ranking import Floats
from benchmark.places import REFERENCE
from benchmark.records.reference import Reference, Rescored, read_reference
from benchmark.run.job import Job, Settings, build_model, prepare
from benchmark.run.runs import read_run
from tests.paths import ROOT

PATHS = sorted((ROOT / REFERENCE).glob("*/*.json"))
WITH_WEIGHTS = [path for path in PATHS if path.with_suffix(".safetensors").is_file()]


def name_of(path: Path) -> str:
    return path.stem


def job_of(reference: Reference) -> Job | None:
    """What the reference is about; None for an ensemble, which has no weights of its own."""
    run = read_run(Path(reference.recipe_path)).with_seed(reference.full.seed)
    return None if run.members else prepare(run, Settings())


def furthest(rescored: Rescored, sims: list[float]) -> float:
    return float(np.abs(np.subtract(sims, rescored.sims)).max())


def moved(path: Path, job: Job, sims: Floats) -> float:
    """Queries whose rank moved by more than rounding."""
    rescored = read_reference(path).rescored
    assert rescored is not None
    reference = read_ranks(path.with_suffix(".npz"), rescored.ranks_sha256)
    rule, test = job.recipe.evaluation.tie_rule, job.dataset.splits["test"]
    return compare_ranks(path.stem, reference, sims, test, rescored.sims_tolerance, rule)[0].found


def halved(job: Job, *, pretrained: bool) -> Any:
    """The recipe's model with half its attention temperature."""
    config = job.config.model_copy(update={"temperature": job.config.temperature / 2})
    return build_model(dataclasses.replace(job, config=config), pretrained=pretrained)


def from_the_left(job: Job, *, pretrained: bool) -> Any:
    """The recipe's model that reads a test caption at its first place only."""
    config = job.config.model_copy(update={"start": "left"})
    return build_model(dataclasses.replace(job, config=config), pretrained=pretrained)


def halve_temperature(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of the attention; of methods that have none, that of the softmax which weighs what they pool.

    The dual-path CNN has neither: its captions are read at one place in place of all.
    """
    if hasattr(job.config, "temperature"):
        monkeypatch.setattr(drift, "build_model", halved)
    elif hasattr(job.config, "start"):
        monkeypatch.setattr(drift, "build_model", from_the_left)
    else:
        monkeypatch.setattr(gpo, "TEMPERATURE", gpo.TEMPERATURE / 2)


@pytest.mark.parametrize("path", PATHS, ids=name_of)
def test_a_reference_belongs_to_its_recipe(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    reference = read_reference(path)
    job = job_of(reference)
    assert (job is None) == (reference.rescored is None) == (reference.trace is None)
    if job is not None:
        assert job.digest == reference.recipe_digest, "the recipe changed: `rematch drift --update`"
        assert job.run.name == path.stem
        assert reference.trace is not None
        assert len(reference.trace.losses) == drift.STEPS


@pytest.mark.parametrize("path", WITH_WEIGHTS, ids=name_of)
def test_scores_stand_another_thread_count_but_no_halved_temperature(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    reference = read_reference(path)
    job, rescored = job_of(reference), reference.rescored
    assert job is not None
    assert rescored is not None
    weights = path.with_suffix(".safetensors")
    former = torch.get_num_threads()
    torch.set_num_threads(int(reference.made_with["threads"]) + 1)
    try:
        found = drift.rescore(job, weights, rescored.weights_sha256)
    finally:
        torch.set_num_threads(former)
    assert furthest(rescored, drift.sample(found.sims)) <= rescored.sims_tolerance
    for name, value in rescored.metrics.items():
        parts = 6 if name == "rsum" else 1
        assert found.metrics[name] == pytest.approx(value, abs=parts * rescored.metrics_tolerance), name
    assert moved(path, job, found.sims) == 0
    halve_temperature(job, monkeypatch)
    sims = drift.rescore(job, weights).sims
    assert furthest(rescored, drift.sample(sims)) > 10 * rescored.sims_tolerance
    assert moved(path, job, sims) > 0
