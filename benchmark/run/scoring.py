"""Scoring cases of a method that brings none: its scenes recipes with random weights, on codes of test images."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from benchmark.batches import Codes
from benchmark.data.splits import Split
from benchmark.evaluation.scoring import encode_split
from benchmark.method import Baseline, DualEncoder, ScoringCase
from benchmark.recipe.files import load_recipe
from benchmark.recipe.schema import Recipe
from benchmark.run.job import Settings, build_model, prepare
from benchmark.run.resolve import recipe_paths


def scenes_cases(method: str, settings: Settings) -> Iterator[ScoringCase]:
    """Time `similarity` in one call against one call a caption, for each single model of the method on scenes."""
    for path in recipe_paths(method, "scenes"):
        recipe = load_recipe(path)
        if isinstance(recipe, Recipe):
            yield _case(path, recipe, settings)


def _case(path: Path, recipe: Recipe, settings: Settings) -> ScoringCase:
    job = prepare(path, recipe, recipe.training.seed, settings, splits=("test",))
    model = build_model(job, pretrained=False).eval()
    test: Split = job.dataset.splits["test"]
    size, device = recipe.evaluation.batch_size, settings.device
    images, captions = (
        codes.to(device)
        for codes in encode_split(model, test, job.spec, job.codec, batch_size=size, device=device)
    )
    n, m = len(images), len(captions)
    floor = 2.0 * n * m * images["vectors"].shape[1] if isinstance(model, DualEncoder) else float("nan")
    return ScoringCase(
        name=f"{job.run}, {n} x {m}",
        form="one call",
        naive=partial(_one_by_one, model, images, captions),
        fast=partial(model.similarity, images, captions),
        floor_flops=floor,
    )


def _one_by_one(model: Baseline, images: Codes, captions: Codes) -> Tensor:
    parts = [model.similarity(images, captions.rows(slice(at, at + 1))) for at in range(len(captions))]
    return torch.cat(parts, dim=1)
