"""Learning rates against the table of hat.md 5.1, torch's own scheduler and naive loops."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from pydantic import ValidationError

from benchmark.errors import UserError
from benchmark.recipe.training import (
    ConstantSchedule,
    CosineSchedule,
    MilestoneSchedule,
    Schedule,
    StepSchedule,
    Training,
)

HAT = StepSchedule(name="step", every=10, gamma=0.1)


def rates(schedule: Schedule, base: float, total: int) -> list[float]:
    return [base * schedule.factor(0, step, total) for step in range(total)]


@pytest.mark.parametrize(
    ("epoch", "expected"),
    [
        *((0, 1e-4), (9, 1e-4), (10, 1e-5), (11, 1e-5), (19, 1e-5), (20, 1e-6), (29, 1e-6)),
        *((30, 1e-7), (39, 1e-7), (40, 1e-8), (99, 1e-13)),
    ],
)
def test_step_schedule_is_the_table_of_the_paper(epoch: int, expected: float) -> None:
    found = 1e-4 * HAT.factor(epoch, epoch * 2500, 250_000)
    assert found == pytest.approx(expected, rel=1e-12)


def test_step_schedule_is_torchs() -> None:
    schedule = StepSchedule(name="step", every=3, gamma=0.5)
    optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=0.3)
    reference = torch.optim.lr_scheduler.StepLR(optimizer, step_size=3, gamma=0.5)
    for epoch in range(12):
        expected = optimizer.param_groups[0]["lr"]
        found = 0.3 * schedule.factor(epoch, 999, 1000)
        assert found == pytest.approx(expected, rel=1e-12)
        optimizer.step()
        reference.step()


def test_milestones_are_torchs() -> None:
    schedule = MilestoneSchedule(name="milestones", at=[2, 3, 7], gamma=0.1)
    optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=0.3)
    reference = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[2, 3, 7], gamma=0.1)
    for epoch in range(10):
        found = 0.3 * schedule.factor(epoch, 999, 1000)
        assert found == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        optimizer.step()
        reference.step()


def test_milestones_rise() -> None:
    with pytest.raises(UserError, match=r"schedule\.at': found \[3, 3\], expected rising epochs"):
        MilestoneSchedule(name="milestones", at=[3, 3], gamma=0.1)


def test_cosine_warms_up_linearly_and_ends_on_its_floor() -> None:
    found = rates(CosineSchedule(name="cosine", warmup_steps=4, floor=0.1), 2.0, 15)
    assert found[:4] == [0.5, 1.0, 1.5, 2.0]
    assert found[4] == 2.0
    assert found[-1] == pytest.approx(0.2)
    assert found[9] == pytest.approx(0.5 * (2.0 + 0.2))  # halfway between steps 4 and 14
    assert all(early > late for early, late in pairwise(found[4:]))


def test_cosine_without_warm_up_is_torchs() -> None:
    optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=0.3)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=19, eta_min=0.03)
    for found in rates(CosineSchedule(name="cosine", floor=0.1), 0.3, 20):
        assert found == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        optimizer.step()
        reference.step()


def test_cosine_factor_by_hand() -> None:
    found = rates(CosineSchedule(name="cosine", warmup_steps=2), 1.0, 7)
    expected = [0.5, 1.0] + [0.5 * (1 + math.cos(math.pi * k / 4)) for k in range(5)]
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(("warmup", "total"), [(0, 1), (3, 4)])
def test_cosine_of_a_single_step_after_warm_up_is_its_floor(warmup: int, total: int) -> None:
    schedule = CosineSchedule(name="cosine", warmup_steps=warmup, floor=0.25)
    schedule.check_steps(total)
    assert rates(schedule, 1.0, total)[-1] == pytest.approx(0.25)


def test_warm_up_longer_than_training_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"training\.schedule\.warmup_steps.*found 10, expected less than the 10"
    ):
        CosineSchedule(name="cosine", warmup_steps=10).check_steps(10)
    HAT.check_steps(1)


def test_a_constant_rate_stays_as_it_is_and_has_a_short_form() -> None:
    document = {"batch_size": 2, "optimizer": {"name": "adam", "lr": 0.1}, "stages": [{"epochs": 1}]}
    short = Training.model_validate({**document, "schedule": "constant"})
    long = Training.model_validate({**document, "schedule": {"name": "constant"}})
    assert short == long
    assert short.model_dump() == long.model_dump()  # one digest for both
    assert isinstance(short.schedule, ConstantSchedule)
    rates = [0.1 * short.schedule.factor(e, s, 40) for e, s in ((0, 0), (9, 39))]
    assert rates == [0.1, 0.1]
    short.schedule.check_steps(1)
    staged = {**document, "stages": [{"epochs": 1, "schedule": "constant"}], "schedule": "constant"}
    assert Training.model_validate(staged).stages[0].schedule == short.schedule
    for wrong in ("constantly", {"name": "constant", "gamma": 2.0}):
        with pytest.raises(ValidationError):
            Training.model_validate({**document, "schedule": wrong})
