"""What the training tests share: a recipe's training part for the toy, and a way to run it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmark.recipe.training import Training
from benchmark.training import TrainingResult, train
from tests.toy import Toy, ToyBatches, ToyLoss, toy_model, toy_recall

CPU = torch.device("cpu")
RECIPE: dict[str, Any] = {"method": "toy", "training": {"seed": 0, "batch_size": 12}}


def toy_training(**changes: Any) -> Training:
    """Four epochs of Adam; `changes` replace fields."""
    fields: dict[str, Any] = {
        "batch_size": 12,
        "optimizer": {"name": "adam", "lr": 0.01},
        "schedule": {"name": "step", "every": 2, "gamma": 0.5},
        "stages": [{"epochs": 4}],
    }
    return Training.model_validate({**fields, **changes})


def run(
    model: Toy,
    training: Training,
    work_dir: Path,
    *,
    resume: bool = False,
    make_batches: Callable[[int], ToyBatches] | None = None,
    validate: Callable[[], dict[str, float]] | None = None,
    **more: Any,
) -> TrainingResult:
    """`train` with the toy's data and validation."""
    return train(
        model,
        training=training,
        loss_type=ToyLoss,
        make_batches=make_batches or (lambda epoch: ToyBatches(training.seed, epoch)),
        validate=validate or (lambda: toy_recall(model)),
        work_dir=work_dir,
        resume=resume,
        device=CPU,
        recipe_digest=more.pop("recipe_digest", "digest"),
        recipe=more.pop("recipe", RECIPE),
        **more,
    )


def fresh(training: Training, work_dir: Path, **more: Any) -> tuple[Toy, TrainingResult]:
    """A new toy, trained."""
    model = toy_model()
    return model, run(model, training, work_dir, **more)


def state_of(path: Path) -> dict[str, Any]:
    """A checkpoint as it is on disk."""
    loaded: dict[str, Any] = torch.load(path, weights_only=True)
    return loaded


def same_bits(one: Any, other: Any) -> bool:
    """Whether two nested states agree in every bit."""
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same_bits(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same_bits, one, other))
    return bool(one == other)


def by_name(model: Toy, path: Path) -> dict[str, dict[str, Any]]:
    """Adam's state of a checkpoint by parameter name; parameters that were never updated are absent."""
    names = [name for name, _ in model.named_parameters()]
    return {names[place]: value for place, value in state_of(path)["optimizer"]["state"].items()}
