"""The first steps' losses: a change is told from rounding that the training amplifies."""

from __future__ import annotations

import math
from typing import cast

import pytest

from benchmark.checks.drift import check
from benchmark.checks.drift.findings import Finding
from benchmark.records.reference import Trace
from benchmark.run.job import Job

REFERENCE = [10.0, 9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0]
TOLERANCE = 0.01  # times 10, the largest loss


def found(monkeypatch: pytest.MonkeyPatch, losses: list[float], nudged: list[float]) -> Finding:
    """The finding where today's losses, and those from weights changed in their last bit, are these."""

    monkeypatch.setattr(check, "first_steps", lambda _job, **how: nudged if how else losses)
    return check.trace_finding("run", Trace(losses=REFERENCE, tolerance=TOLERANCE), cast(Job, None))


def shifted(**by: float) -> list[float]:
    return [value + by.get(f"s{step}", 0.0) for step, value in enumerate(REFERENCE)]


def test_losses_within_the_tolerance_pass_whatever_rounding_does(monkeypatch: pytest.MonkeyPatch) -> None:
    finding = found(monkeypatch, shifted(s7=0.09), shifted(s3=5.0))
    assert finding.ok
    assert finding.note == ""


def test_steps_that_rounding_moves_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    finding = found(monkeypatch, shifted(s4=0.05, s6=2.0), shifted(s4=0.05, s5=0.02, s6=-1.0))
    assert finding.ok
    assert finding.quantity == "loss 4 of 5, the worst"
    assert finding.note == "rounding moves the losses from step 5 on"


def test_a_change_before_rounding_matters_is_drift(monkeypatch: pytest.MonkeyPatch) -> None:
    finding = found(monkeypatch, shifted(s2=0.2, s6=2.0), shifted(s2=0.2, s6=-1.0))
    assert not finding.ok
    assert finding.quantity == "loss 2 of 6, the worst"


@pytest.mark.parametrize("by", [0.11, -0.11])
def test_a_change_that_rounding_does_not_touch_is_drift(monkeypatch: pytest.MonkeyPatch, by: float) -> None:
    finding = found(monkeypatch, shifted(s7=by), shifted(s7=by + 0.009))
    assert not finding.ok
    assert finding.quantity == "loss 7 of 8, the worst"
    assert finding.note == ""


def test_the_first_steps_always_count(monkeypatch: pytest.MonkeyPatch) -> None:
    finding = found(monkeypatch, shifted(s0=1.0), shifted(s0=3.0))
    assert not finding.ok
    assert finding.quantity == "loss 0 of 3, the worst"


def test_no_number_is_drift(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not found(monkeypatch, [math.nan] * 8, [math.nan] * 8).ok
    assert not found(monkeypatch, REFERENCE[:5], REFERENCE[:5]).ok
