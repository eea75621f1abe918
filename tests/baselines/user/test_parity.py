"""Parity of USER: copies with a wrong formula or order of a step fail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from baselines.layers.gpo import GPO
from baselines.user import enhancement
from baselines.user.checks.parity import parity_cases
from baselines.user.model import USER, UserLoss
from benchmark.batches import PairBatch
from benchmark.checks.parity.report import run_parity
from benchmark.method import Progress
from tests.baselines.golden_files import failed

GOLDEN = Path("tests/golden/user")


STEPS = ["train_two_steps_official.npz", "train_two_steps_soft.npz"]


def test_captions_are_compared_by_the_harness() -> None:
    report = run_parity("user", [GOLDEN / "caption_augmentation.json"])
    assert report.ok
    assert report.compared > 1000


def test_another_gate_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def softmax_alone(regions: Tensor, guide: Tensor, sharpness: float) -> Tensor:
        return (sharpness * (regions @ guide[..., None]).squeeze(2)).softmax(1)

    monkeypatch.setattr(enhancement, "region_gate", softmax_alone)
    assert {"outputs/eval/enhanced_regions", "outputs/train/embedding"} <= failed(
        parity_cases(GOLDEN / "image_encoder_lambda.npz")
    )


def test_features_that_are_not_sorted_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    def unsorted(self: GPO, vectors: Tensor, lengths: Tensor) -> Tensor:
        weights = self.weights(lengths)
        return (weights[:, None] @ vectors[:, : weights.shape[1]]).squeeze(1)

    monkeypatch.setattr(GPO, "forward", unsorted)
    assert "outputs/full/pooled" in failed(parity_cases(GOLDEN / "gpo.npz"))


@pytest.mark.parametrize(
    "mistake", ["follow after", "buffers too", "own keys in the loss", "diagonal left out"]
)
def test_another_order_or_form_of_a_step_fails(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the file whose constants make every effect visible."""
    prepare, objective = USER.prepare_batch, USER.objective

    def prepared(self: USER, batch: PairBatch, progress: Progress) -> PairBatch:
        if mistake == "follow after":  # keys by the weights before the momentum update
            keys = {
                "image_keys": self.image_keys(batch.images.pixels, batch_statistics=True)[0],
                "text_keys": self.text_keys(batch.captions.ids, batch.captions.lengths),
            }
            found = prepare(self, batch, progress)
            return PairBatch(found.images, found.captions, {name: keys[name].detach() for name in keys})
        found = prepare(self, batch, progress)
        if mistake == "buffers too":
            for kept, latest in zip(self.image_keys.buffers(), self.image_encoder.buffers(), strict=True):
                kept.copy_(latest)
        return found

    def lost(self: USER, codes: Any, progress: Progress, pair_budget: int | None) -> Tensor:
        if mistake == "own keys in the loss":
            self.after_step(codes)
        return objective(self, codes, progress, pair_budget)

    monkeypatch.setattr(USER, "prepare_batch", prepared)
    monkeypatch.setattr(USER, "objective", lost)
    if mistake == "diagonal left out":

        def without(images: Tensor, captions: Tensor, loss: UserLoss) -> Tensor:
            scores = images @ captions.T
            own = torch.eye(len(scores), dtype=torch.bool)
            rest = (loss.scale * (scores - loss.threshold)).masked_fill(own, -torch.inf)
            costs = rest.logsumexp(0).exp().log1p() + rest.logsumexp(1).exp().log1p()
            return (costs / loss.scale - scores.diagonal().relu().log1p()).mean()

        monkeypatch.setattr("baselines.user.model.batch_loss", without)
        monkeypatch.setattr("baselines.user.checks.parity.batch_loss", without)
        assert "outputs/soft/in_batch" in failed(parity_cases(GOLDEN / "uto_loss.npz"))
        return
    names = failed(parity_cases(GOLDEN / STEPS[1]))
    expected = {
        "follow after": "outputs/step1/le_moco",
        "buffers too": "outputs/step2/k/img/mlp.bns.0.running_var",
        "own keys in the loss": "outputs/step1/total",
    }
    assert expected[mistake] in names


def test_momentum_encoders_in_other_modes_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(USER, "train", torch.nn.Module.train)
    assert "training_flags_after_step" in failed(parity_cases(GOLDEN / STEPS[0]))
