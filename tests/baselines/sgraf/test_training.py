"""SAF and SGR learn, deterministically, through the harness's own steps; and what `rematch time scoring` would time."""

from __future__ import annotations

import pytest
import torch

from baselines.sgraf import METHOD
from baselines.sgraf.checks import speed
from baselines.sgraf.model import SGRAF, SGRAFConfig
from benchmark.batches import PairBatch
from benchmark.method import TripletLoss
from benchmark.recipe.training import Training
from benchmark.registry import get_method
from benchmark.training.loop import first_losses
from tests.baselines.region_models import pairs
from tests.baselines.sgraf.models import tiny_sgraf

LENGTHS = [5, 8, 3, 12, 8, 5]
TRAINING = {
    "batch_size": 6,
    "pair_budget_mb": 1,
    "optimizer": {"name": "adam", "lr": 0.01, "clip_norm": 2.0},
    "schedule": {"name": "step", "every": 30, "gamma": 0.1},
    "stages": [{"epochs": 40}],
}


def losses_of(model: SGRAF, steps: int) -> list[float]:
    """One batch, again and again."""
    batches: list[PairBatch] = [pairs(LENGTHS)]
    return first_losses(
        model,
        training=Training.model_validate(TRAINING),
        loss_type=TripletLoss,
        make_batches=lambda _epoch: batches,
        device=torch.device("cpu"),
        max_steps=steps,
    )


@pytest.mark.parametrize("module", ["SAF", "SGR"])
def test_learns_a_batch_and_draws_the_same_twice(module: str) -> None:
    model = tiny_sgraf(module, dropout=0.1)
    losses = losses_of(model, 40)
    assert losses[:10] == losses_of(tiny_sgraf(module, dropout=0.1), 10)
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])
    model.eval()
    with torch.no_grad():
        batch = pairs(LENGTHS)
        scores = model.similarity(model.encode_images(batch.images), model.encode_captions(batch.captions))
    assert int((scores.argmax(1) == torch.arange(6)).sum()) >= 4


def test_the_method_is_registered() -> None:
    assert get_method("sgraf") is METHOD


# ----------------------------------------------------------------------------------------------- speed


def test_the_floor_counts_the_products_that_remain() -> None:
    """By the sizes of the matrices: 13 words, 36 regions, 1024 wide, similarity vectors of 256 (speed.md 4, 5)."""
    words, regions, wide, narrow = 13, 36, 1024, 256
    shared = 2 * (words * regions * wide + words * regions * wide + (words + 1) * wide * narrow)
    saf = 2 * ((words + 1) * narrow + (words + 1) * narrow)
    whole = 2 * (2 * (words + 1) * narrow * narrow + 2 * (words + 1) ** 2 * narrow)
    last = 2 * (2 * narrow * narrow + 2 * (words + 1) * narrow)
    assert speed.floor_flops(SGRAFConfig(module="SAF"), words) == shared + saf
    assert speed.floor_flops(SGRAFConfig(module="SGR"), words) == shared + 2 * whole + last
    assert speed.floor_flops(SGRAFConfig(module="SGR", sgr_steps=1), words) == shared + last


def test_the_timed_scores_are_those_of_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "SIZES", {"cpu": (3, 12)})
    cases = list(speed.scoring_cases(torch.device("cpu")))
    assert [case.name for case in cases] == ["SAF, 3 x 12", "SGR, 3 x 12"]
    with torch.no_grad():
        for case in cases:
            assert case.floor_flops > 0
            torch.testing.assert_close(case.fast(), case.naive(), atol=1e-5, rtol=0)
