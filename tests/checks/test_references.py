"""The committed references: of the recipes as they are, and good for what they are there for."""

from __future__ import annotations

import dataclasses
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from baselines.layers import gpo
from benchmark.checks.drift import check as drift
from benchmark.checks.drift.ranks import rank_bounds, read_ranks
from benchmark.data.splits import SplitName
from benchmark.evaluation.encoding import encode_split
from benchmark.evaluation.metrics import recall_at_k
from benchmark.evaluation.ranking import Floats
from benchmark.evaluation.scoring import score
from benchmark.memory import MEGABYTE
from benchmark.method import Baseline
from benchmark.places import REFERENCE
from benchmark.records.reference import Rescored, read_reference
from benchmark.reporting.diff.queries import Retrieved
from benchmark.run.job import DTYPES, Job, Settings, build_model, prepare
from benchmark.run.reproduce import Scored
from benchmark.run.runs import read_run
from tests.paths import ROOT

PATHS = sorted((ROOT / REFERENCE).glob("*/*.json"))
WITH_WEIGHTS = [path for path in PATHS if path.with_suffix(".safetensors").is_file()]


IMAGES = 10
"""So many images are scored with all captions, and their captions with all images: `rematch drift` scores all pairs."""
CAPTIONS = 5 * IMAGES
UNSCORED = -1e3


def name_of(path: Path) -> str:
    return path.stem


@cache
def job_of(path: Path) -> Job | None:
    """What the reference is about; None for an ensemble, which has no weights of its own."""
    reference = read_reference(path)
    run = read_run(Path(reference.recipe_path)).with_seed(reference.full.seed)
    return None if run.members else prepare(run, Settings())


def score_some(job: Job, model: Baseline, split: SplitName, *, show_progress: bool) -> Scored:
    """Score the first images with all captions, and the first captions with all images."""
    how, device = job.recipe.evaluation, job.settings.device
    images, captions = encode_split(
        model,
        job.dataset.splits[split],
        job.spec,
        job.codec,
        batch_size=how.batch_size,
        device=device,
        dtype=DTYPES[how.precision],
        show_progress=show_progress,
    )
    scored = partial(score, model, memory_bytes=how.memory_mb * MEGABYTE, device=device)
    sims = np.full((len(images), len(captions)), UNSCORED)
    sims[:IMAGES] = scored(images.rows(slice(0, IMAGES)), captions)[0]
    sims[:, :CAPTIONS] = scored(images, captions.rows(slice(0, CAPTIONS)))[0]
    return Scored(sims, images, captions, {})


def furthest(rescored: Rescored, sims: Floats) -> float:
    """The largest difference of a sampled similarity among those scored."""
    found, expected = np.array(drift.sample(sims)), np.array(rescored.sims)
    there = found != UNSCORED
    assert there.sum() > IMAGES
    return float(np.abs(found - expected)[there].max())


def moved(reference: Retrieved, job: Job, sims: Floats, tolerance: float) -> int:
    """Queries whose rank moved by more than rounding, of those that were scored with everything."""
    i2t, t2i = rank_bounds(sims, job.dataset.splits["test"].caption_image, tolerance)
    beyond = [i2t.outside(reference.ranks.i2t)[:IMAGES], t2i.outside(reference.ranks.t2i)[:CAPTIONS]]
    return int(np.concatenate(beyond).sum())


def halved(job: Job, *, pretrained: bool) -> Any:
    """The recipe's model with half its attention temperature."""
    config = job.config.model_copy(update={"temperature": job.config.temperature / 2})
    return build_model(dataclasses.replace(job, config=config), pretrained=pretrained)


def from_the_left(job: Job, *, pretrained: bool) -> Any:
    """The recipe's model that reads a test caption at its first place only."""
    config = job.config.model_copy(update={"start": "left"})
    return build_model(dataclasses.replace(job, config=config), pretrained=pretrained)


def in_the_towers(job: Job, *, pretrained: bool) -> Baseline:
    """A dual encoder whose transformers' attention has half the temperature."""
    model = build_model(job, pretrained=pretrained)
    scaled: list[Any] = [
        module for module in model.modules() if isinstance(getattr(module, "scale", None), float)
    ]
    assert scaled
    for module in scaled:
        module.scale *= 2
    return model


def halve_temperature(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of the attention; of methods that have none, that of the softmax which weighs what they pool.

    The dual-path CNN has neither: its captions are read at one place in place of all.
    """
    if job.method.name == "dual_encoder":
        monkeypatch.setattr(drift, "build_model", in_the_towers)
    elif hasattr(job.config, "temperature"):
        monkeypatch.setattr(drift, "build_model", halved)
    elif hasattr(job.config, "start"):
        monkeypatch.setattr(drift, "build_model", from_the_left)
    else:
        monkeypatch.setattr(gpo, "TEMPERATURE", gpo.TEMPERATURE / 2)


@pytest.mark.parametrize("path", PATHS, ids=name_of)
def test_a_reference_belongs_to_its_recipe(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    reference, job = read_reference(path), job_of(path)
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
    monkeypatch.setattr(drift, "score_split", score_some)
    reference, job = read_reference(path), job_of(path)
    rescored = reference.rescored
    assert job is not None
    assert rescored is not None
    ranks, tolerance = read_ranks(path.with_suffix(".npz"), rescored.ranks_sha256), rescored.sims_tolerance
    weights = path.with_suffix(".safetensors")
    former = torch.get_num_threads()
    torch.set_num_threads(int(reference.made_with["threads"]) + 1)
    try:
        found = drift.rescore(job, weights, rescored.weights_sha256).sims
    finally:
        torch.set_num_threads(former)
    assert furthest(rescored, found) <= tolerance
    assert moved(ranks, job, found, tolerance) == 0
    halve_temperature(job, monkeypatch)
    few = {**job.dataset.splits, "test": job.dataset.splits["test"].first_images(IMAGES)}
    other = dataclasses.replace(job, dataset=dataclasses.replace(job.dataset, splits=few))
    block, sims = np.s_[:IMAGES, :CAPTIONS], found.copy()
    sims[block] = drift.rescore(other, weights).sims
    assert np.abs(sims - found)[block].mean() > 10 * tolerance
    assert moved(ranks, job, sims, tolerance) > 0


@pytest.mark.parametrize("path", WITH_WEIGHTS, ids=name_of)
def test_the_metrics_are_those_of_the_ranks(path: Path) -> None:
    rescored = read_reference(path).rescored
    assert rescored is not None
    ranks = read_ranks(path.with_suffix(".npz"), rescored.ranks_sha256).ranks
    recalls = {
        f"{side}_r{k}": recall_at_k(getattr(ranks, side), k) for side in ("i2t", "t2i") for k in (1, 5, 10)
    }
    assert rescored.metrics == pytest.approx({**recalls, "rsum": sum(recalls.values())}, abs=1e-9)
