"""Epochs of a recipe beside epochs that score all pairs in one pass, side by side (speed.md 6).

The other way has a gradient through every pair, whatever the loss, and an optimiser as PyTorch has it by default.
What both have in common is as fast as it is today.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from benchmark.batches import TrainingCodes
from benchmark.errors import UserError
from benchmark.method import Progress, TripletLoss
from benchmark.run.job import Job, Settings, build_model, prepare
from benchmark.run.runs import read_run
from benchmark.training.trainer import Trainer

STEPS = 25
"""Steps of an epoch that are timed in each round."""


@runtime_checkable
class ScoresAllPairs(Protocol):
    """A model that can score all pairs of a batch with gradient."""

    def training_scores(self, codes: TrainingCodes, pair_budget: int | None) -> Tensor:
        """Scores (B, B)."""
        ...


@dataclass(frozen=True)
class EpochRow:
    """An epoch's first steps in each round, seconds."""

    before: list[float]
    own: list[float]

    @property
    def share(self) -> float:
        """Our time over the other way's, the median over the rounds."""
        return median(own / before for own, before in zip(self.own, self.before, strict=True))


def time_epoch(recipe: Path, *, hardest: bool, repeats: int, steps: int = STEPS) -> EpochRow:
    """Time the first epoch of the recipe that takes the hardest negatives, or all of them, on a CPU.

    Raises UserError where the recipe has no such epoch, or its model cannot score all pairs with gradient.
    """
    settings = Settings(device=torch.device("cpu"), show_progress=False)
    job = prepare(read_run(recipe), settings, ("train",))
    trainers = [_make_trainer(job, whole=whole) for whole in (True, False)]
    epochs = [
        plan.first_epoch
        for plan in trainers[0].plans
        if isinstance(plan.loss, TripletLoss) and plan.loss.hardest == hardest
    ]
    if not epochs:
        kind = "the hardest negatives" if hardest else "all negatives"
        raise UserError(f"{recipe.as_posix()}: no stage takes {kind}, expected one that does")
    seconds: tuple[list[float], list[float]] = ([], [])
    for trainer in trainers:
        trainer.enter(epochs[0], best=None)
        trainer.epoch(epochs[0], max_steps=2)  # first steps make what optimisers keep
    for number in range(repeats):
        for way in (0, 1) if number % 2 else (1, 0):
            seconds[way].append(trainers[way].epoch(epochs[0], max_steps=steps).seconds)
    return EpochRow(*seconds)


def _make_trainer(job: Job, *, whole: bool) -> Trainer:
    """A trainer of the recipe's model; `whole`: all pairs in one pass, and an optimiser that is not fused."""
    model = build_model(job, pretrained=False)
    trainer = Trainer(model, job.training, job.method.loss, job.batches, job.settings.device, False)
    if whole:
        if not isinstance(model, ScoresAllPairs):
            raise UserError(
                f"method '{job.method.name}' has no scores of all pairs with gradient to be timed"
            )
        # the model is this trainer's own, and is asked for no other loss
        model.objective = partial(_all_pairs, model)  # type: ignore[method-assign]
        for group in trainer.optimizer.param_groups:
            group["fused"] = None
    return trainer


def _all_pairs(
    model: ScoresAllPairs, codes: TrainingCodes, progress: Progress, pair_budget: int | None
) -> Tensor:
    assert isinstance(progress.loss, TripletLoss)
    return progress.loss(model.training_scores(codes, pair_budget))
