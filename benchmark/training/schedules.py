"""Learning rates as pure functions of where training stands, so that a resumed run cannot be off by one.

Epochs and steps count from 0 and run on across stages, but for a stage with a schedule of its own.
"""

from __future__ import annotations

import math

from benchmark.errors import UserError
from benchmark.recipe.training import (
    ConstantSchedule,
    CosineSchedule,
    MilestoneSchedule,
    Schedule,
    StepSchedule,
)


def learning_rate(schedule: Schedule, base: float, *, epoch: int, step: int, total_steps: int) -> float:
    """The learning rate of optimiser step `step` (of `total_steps`), which lies in `epoch`."""
    if isinstance(schedule, ConstantSchedule):
        return base
    if isinstance(schedule, StepSchedule):
        return base * schedule.gamma ** (epoch // schedule.every)
    if isinstance(schedule, MilestoneSchedule):
        return base * schedule.gamma ** sum(epoch >= begin for begin in schedule.at)
    return base * _cosine_factor(schedule, step, total_steps)


def check_schedule(schedule: Schedule, total_steps: int, where: str = "training.schedule") -> None:
    """Raise UserError where the warm-up would not end before training, or the stage at `where`, does."""
    if isinstance(schedule, CosineSchedule) and schedule.warmup_steps >= total_steps:
        raise UserError(
            f"field '{where}.warmup_steps': found {schedule.warmup_steps}, "
            f"expected less than the {total_steps} steps of this training"
        )


def _cosine_factor(schedule: CosineSchedule, step: int, total_steps: int) -> float:
    """1/warmup, 2/warmup, ..., 1, then half a cosine from 1 (first step after) to `floor` (last step)."""
    if step < schedule.warmup_steps:
        return (step + 1) / schedule.warmup_steps
    last = total_steps - 1
    done = (
        (step - schedule.warmup_steps) / (last - schedule.warmup_steps)
        if last > schedule.warmup_steps
        else 1.0
    )
    return schedule.floor + (1 - schedule.floor) * 0.5 * (1 + math.cos(math.pi * done))
