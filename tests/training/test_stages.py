"""Stages: what is trained when, one optimiser across them, when validation happens and what it chooses."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmark.batches import PairBatch, TrainingCodes
from benchmark.errors import UserError
from benchmark.method import Progress
from benchmark.training.trainer import Trainer
from tests.toy import Toy, ToyBatches, ToyConfig, ToyLoss, toy_model
from tests.training.helpers import CPU, by_name, fresh, run, same_bits, state_of, toy_training


def test_frozen_parts_keep_their_weights_and_adam_begins_late(tmp_path: Path) -> None:
    """One optimiser across the unfreezing (hat.md 5.1): a late part's moments count from its first step."""
    stages = [{"epochs": 2, "trainable": ["projection.*"]}, {"epochs": 2, "frozen": ["words.*"]}]
    initial = toy_model().state_dict()
    training = toy_training(stages=stages)

    class Cut(Exception):  # noqa: N818
        pass

    def cut(entry: dict[str, Any]) -> None:
        if entry["epoch"] == 1:
            raise Cut

    model = toy_model()
    with pytest.raises(Cut):
        run(model, training, tmp_path, on_epoch=cut)
    halfway = state_of(tmp_path / "checkpoint.pt")["model"]
    for name, _ in model.named_parameters():
        trained = name.startswith(("projection", "momentum"))
        assert torch.equal(halfway[name], initial[name]) != trained, name
    # the whole module was in train mode: the frozen batch norm still follows the batches
    assert not torch.equal(halfway["image.2.running_mean"], initial["image.2.running_mean"])
    assert set(by_name(model, tmp_path / "checkpoint.pt")) == {"projection.weight", "projection.bias"}

    model, result = fresh(training, tmp_path / "whole")
    steps = {name: int(value["step"]) for name, value in by_name(model, result.last_checkpoint).items()}
    assert steps.pop("projection.weight") == steps.pop("projection.bias") == 16
    assert set(steps) == {"image.1.weight", "image.1.bias", "image.2.weight", "image.2.bias"}
    assert set(steps.values()) == {8}
    assert torch.equal(state_of(result.last_checkpoint)["model"]["words.weight"], initial["words.weight"])


def test_resetting_the_optimiser_starts_its_moments_anew(tmp_path: Path) -> None:
    for mode, steps in (("keep", 16), ("reset", 8)):
        training = toy_training(stages=[{"epochs": 2}, {"epochs": 2, "optimizer": mode}])
        model, result = fresh(training, tmp_path / mode)
        state = by_name(model, result.last_checkpoint)
        assert int(state["projection.weight"]["step"]) == steps


def test_what_a_method_froze_itself_stays_frozen(tmp_path: Path) -> None:
    """A momentum copy follows its rule alone, though the default glob `*` names it too."""
    model, result = fresh(toy_training(), tmp_path)
    assert "momentum.weight" not in by_name(model, result.last_checkpoint)
    frozen = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    assert frozen == ["momentum.weight", "momentum.bias"]


def test_flags_come_back_as_they_were(tmp_path: Path) -> None:
    model, _ = fresh(toy_training(stages=[{"epochs": 1, "trainable": ["projection.*"]}]), tmp_path)
    assert model.words.weight.requires_grad


def test_epochs_schedule_and_loss_settings_run_over_stages(tmp_path: Path) -> None:
    class Seen(Toy):
        def objective(self, codes: TrainingCodes, progress: Progress, pair_budget: int | None) -> Tensor:
            seen.append((progress.epoch, progress.step, progress.stage, progress.loss))
            return super().objective(codes, progress, pair_budget)

    seen: list[tuple[int, int, int, Any]] = []
    stages = [{"epochs": 1, "loss": {"hardest": False}}, {"epochs": 2, "loss": {"margin": 0.3}}]
    result = run(Seen(ToyConfig()), toy_training(stages=stages), tmp_path)
    assert [item[1] for item in seen] == list(range(12))
    assert [item[0] for item in seen] == [step // 4 for step in range(12)]
    assert seen[3][2:] == (0, ToyLoss(hardest=False))
    assert seen[4][2:] == (1, ToyLoss(margin=0.3))
    assert [line["lr"] for line in result.log] == [0.01, 0.01, 0.005]
    assert [line["stage"] for line in result.log] == [0, 1, 1]


def test_cosine_schedule_reaches_every_step(tmp_path: Path) -> None:
    schedule = {"name": "cosine", "warmup_steps": 2}
    _, result = fresh(toy_training(schedule=schedule), tmp_path)
    assert result.log[0]["lr"] == 0.005
    assert result.log[-1]["lr_last"] == pytest.approx(0, abs=1e-12)


def test_a_stage_can_start_from_the_best_weights(tmp_path: Path) -> None:
    values = iter([10.0, 90.0, 20.0, 30.0])
    states: list[dict[str, Tensor]] = []

    class Watched(Toy):
        def prepare_batch(self, batch: PairBatch, progress: Progress) -> PairBatch:
            if progress.step % 4 == 0:
                states.append({name: value.clone() for name, value in self.state_dict().items()})
            return super().prepare_batch(batch, progress)

    model = Watched(ToyConfig())
    training = toy_training(stages=[{"epochs": 3}, {"epochs": 1, "start_from": "checkpoint"}])
    result = run(model, training, tmp_path, validate=lambda: {"rsum": next(values)})
    assert same_bits(states[3], states[2])  # epoch 3 begins where epoch 1 ended, epoch 2 is left out
    assert result.best_epoch == 1
    assert same_bits(model.state_dict(), states[2])


def test_weight_decay_of_adamw_passes_over_parameters_without_gradient(tmp_path: Path) -> None:
    optimizer = {"name": "adamw", "lr": 0.01, "weight_decay": 0.5}
    training = toy_training(optimizer=optimizer, stages=[{"epochs": 1, "frozen": ["words.*"]}])
    model, _ = fresh(training, tmp_path)
    assert torch.equal(model.words.weight, toy_model().words.weight)


def test_clipping_bounds_the_whole_gradient() -> None:
    model = toy_model()
    training = toy_training(optimizer={"name": "adam", "lr": 0.01, "clip_norm": 0.1})
    trainer = Trainer(model, training, ToyLoss, lambda epoch: ToyBatches(0, epoch), CPU, False)
    trainer.enter(0, best=None)
    model.train()
    trainer.step(next(iter(ToyBatches(0, 0))), Progress(0, 0, 0, ToyLoss()))
    grads = [value.grad for value in model.parameters() if value.grad is not None]
    norm = math.sqrt(sum(float((grad.double() ** 2).sum()) for grad in grads))
    assert norm == pytest.approx(0.1, rel=1e-4)


@pytest.mark.parametrize("field", ["trainable", "frozen"])
def test_a_glob_without_a_match_names_the_nearest_parameter(tmp_path: Path, field: str) -> None:
    training = toy_training(stages=[{"epochs": 1}, {"epochs": 1, field: ["proj.*"]}])
    with pytest.raises(
        UserError, match=rf"training\.stages\.1\.{field}': 'proj\.\*' .* 'projection\.(bias|weight)'"
    ):
        fresh(training, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_stage_that_trains_nothing_is_refused(tmp_path: Path) -> None:
    for stage in ({"frozen": ["*"]}, {"trainable": ["momentum.*"]}):
        with pytest.raises(UserError, match="leaves nothing to train"):
            fresh(toy_training(stages=[{"epochs": 1, **stage}]), tmp_path)


def test_parameters_that_the_loss_does_not_reach_are_refused(tmp_path: Path) -> None:
    class Split(Toy):
        def __init__(self) -> None:
            super().__init__(ToyConfig())
            self.unused = nn.Linear(2, 2)

    with pytest.raises(UserError, match="depends on none of the trained parameters"):
        run(Split(), toy_training(stages=[{"epochs": 1, "trainable": ["unused.*"]}]), tmp_path)


def test_misspelt_loss_settings_are_named(tmp_path: Path) -> None:
    training = toy_training(stages=[{"epochs": 1, "loss": {"magin": 0.1}}])
    with pytest.raises(UserError, match=r"training\.stages\.0\.loss\.magin.*did you mean 'margin'"):
        fresh(training, tmp_path)


# ---------------------------------------------------------------------------- validation and selection


def test_validation_begins_and_repeats_as_told(tmp_path: Path) -> None:
    training = toy_training(stages=[{"epochs": 7}], validate_from_epoch=1, validate_every=2)
    _, result = fresh(training, tmp_path)
    assert [line["epoch"] for line in result.log if line["validation"]] == [1, 3, 5]


def test_best_is_the_highest_and_ties_keep_the_earlier_epoch(tmp_path: Path) -> None:
    values = iter([10.0, 30.0, 20.0, 30.0])
    _, result = fresh(toy_training(select="r1_sum"), tmp_path, validate=lambda: {"r1_sum": next(values)})
    assert (result.best_epoch, result.best_value) == (1, 30.0)
    assert [line["best"] for line in result.log] == [True, True, False, False]


def test_last_needs_no_validation(tmp_path: Path) -> None:
    def never() -> dict[str, float]:
        raise AssertionError("validated")

    model, result = fresh(toy_training(select="last"), tmp_path, validate=never)
    assert (result.best_epoch, result.best_value) == (3, None)
    assert same_bits(model.state_dict(), state_of(result.last_checkpoint)["model"])


def test_a_training_that_never_validates_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"validate_from_epoch': found 4, expected less than the 4 epochs"):
        fresh(toy_training(validate_from_epoch=4), tmp_path)


def test_a_stage_cannot_start_from_a_checkpoint_that_nobody_chose(tmp_path: Path) -> None:
    stages = [{"epochs": 2}, {"epochs": 2, "start_from": "checkpoint"}]
    with pytest.raises(UserError, match=r"stages\.1\.start_from.*none is chosen before epoch 2"):
        fresh(toy_training(stages=stages, validate_from_epoch=2), tmp_path)
