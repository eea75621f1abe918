"""Stages of a training, checked before the first step: their epochs, loss settings and trained parameters.

Frozen means `requires_grad=False` and nothing else: the module stays in train mode. What a
method froze itself when it was built (momentum encoders) stays frozen whatever a recipe says.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from pydantic import BaseModel

from benchmark.errors import UserError
from benchmark.method import Baseline
from benchmark.recipe.faults import check_fields
from benchmark.recipe.training import Schedule, Training
from benchmark.strict import Strict


@dataclass(frozen=True)
class StagePlan:
    """A stage, resolved against a model."""

    index: int
    first_epoch: int
    epochs: int
    loss: BaseModel
    trainable: frozenset[str]
    """Names of the parameters that get a gradient."""
    reset_optimizer: bool
    from_checkpoint: bool
    schedule: Schedule | None
    """The stage's own schedule, from its first epoch; None: the training's."""


def plan_stages(model: Baseline, training: Training, loss_type: type[Strict]) -> list[StagePlan]:
    """Resolve every stage.

    Raises UserError where a glob matches no parameter, a stage trains nothing, loss settings do not fit
    `loss_type`, or a stage begins with a checkpoint that no validation can have chosen by then.
    """
    if training.select != "last" and not any(
        is_validated(training, epoch) for epoch in range(training.epochs)
    ):
        raise UserError(
            f"field 'training.validate_from_epoch': found {training.validate_from_epoch}, "
            f"expected less than the {training.epochs} epochs of this training"
        )
    names = [name for name, _ in model.named_parameters()]
    free = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    plans: list[StagePlan] = []
    first_epoch = 0
    for index, stage in enumerate(training.stages):
        where = f"training.stages.{index}"
        trainable = matching(stage.trainable, names, f"{where}.trainable") & free
        trainable -= matching(stage.frozen, names, f"{where}.frozen")
        if not trainable:
            raise UserError(
                f"field '{where}.trainable': found {stage.trainable}, which leaves nothing to train"
            )
        from_checkpoint = stage.start_from == "checkpoint"
        if from_checkpoint and not any(is_validated(training, epoch) for epoch in range(first_epoch)):
            raise UserError(
                f"field '{where}.start_from': found 'checkpoint', but none is chosen before epoch {first_epoch} "
                f"(validate_from_epoch {training.validate_from_epoch}, select '{training.select}')"
            )
        loss = check_fields(f"{where}.loss", stage.loss, loss_type)
        plans.append(
            StagePlan(
                index=index,
                first_epoch=first_epoch,
                epochs=stage.epochs,
                loss=loss,
                trainable=frozenset(trainable),
                reset_optimizer=stage.optimizer == "reset",
                from_checkpoint=from_checkpoint,
                schedule=stage.schedule,
            )
        )
        first_epoch += stage.epochs
    return plans


def stage_of(plans: list[StagePlan], epoch: int) -> StagePlan:
    """The stage that `epoch` lies in."""
    return next(plan for plan in reversed(plans) if epoch >= plan.first_epoch)


def is_validated(training: Training, epoch: int) -> bool:
    """Return True if `epoch` ends with a validation; never with `select: last`."""
    since = epoch - training.validate_from_epoch
    return training.select != "last" and since >= 0 and since % training.validate_every == 0


def set_trainable(model: Baseline, trainable: frozenset[str]) -> None:
    """Let exactly the parameters named in `trainable` have a gradient."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in trainable)


def matching(globs: Sequence[str], names: Sequence[str], where: str) -> set[str]:
    """Parameter names that at least one glob matches; a glob that matches none is an error."""
    found: set[str] = set()
    for glob in globs:
        hits = {name for name in names if fnmatchcase(name, glob)}
        if not hits:
            close = difflib.get_close_matches(glob, names, n=1, cutoff=0.0)
            hint = f"; the nearest parameter is '{close[0]}'" if close else ""
            raise UserError(f"field '{where}': '{glob}' matches no parameter{hint}")
        found |= hits
    return found
