"""Scoring cases of a method that brings none: its scenes recipes with random weights, on codes of test images."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from benchmark.batches import Codes
from benchmark.data.splits import Split
from benchmark.evaluation.encoding import encode_split
from benchmark.method import Baseline, DualEncoder, ScoringCase
from benchmark.run.job import Settings, build_model, prepare
from benchmark.run.resolve import find_runs
from benchmark.run.runs import Run


def scenes_cases(method: str, settings: Settings) -> Iterator[ScoringCase]:
    """Time `similarity` in one call against one call a caption, for each single model of the method on scenes."""
    for run in find_runs(method, "scenes"):
        if not run.members:
            yield _case(run, settings)


def _case(run: Run, settings: Settings) -> ScoringCase:
    job = prepare(run, settings, splits=("test",))
    model = build_model(job, pretrained=False).eval()
    test: Split = job.dataset.splits["test"]
    size, device = job.recipe.evaluation.batch_size, settings.device
    images, captions = (
        codes.to(device)
        for codes in encode_split(model, test, job.spec, job.codec, batch_size=size, device=device)
    )
    n, m = len(images), len(captions)
    floor = 2.0 * n * m * images["vectors"].shape[1] if isinstance(model, DualEncoder) else float("nan")
    return ScoringCase(
        name=f"{run.name}, {n} x {m}",
        form="one call",
        naive=partial(_one_by_one, model, images, captions),
        fast=partial(model.similarity, images, captions),
        floor_flops=floor,
    )


def _one_by_one(model: Baseline, images: Codes, captions: Codes) -> Tensor:
    parts = [model.similarity(images, captions.rows(slice(at, at + 1))) for at in range(len(captions))]
    return torch.cat(parts, dim=1)
