"""The loop: it learns, follows stages and schedules, keeps the order of a step, and stops on NaN."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmark.baseline import PairBatch, Progress, TrainingCodes
from benchmark.errors import UserError
from benchmark.training import TrainingDivergedError, first_losses, step_losses
from benchmark.training.determinism import seed_step
from benchmark.training.trainer import Trainer
from tests.toy import Toy, ToyBatches, ToyConfig, ToyLoss, toy_model, toy_recall
from tests.training.helpers import CPU, fresh, run, same_bits, state_of, toy_training

TOWERS = ["image.*", "words.*", "projection.*"]


def by_name(model: Toy, path: Path) -> dict[str, dict[str, Any]]:
    """Adam's state of a checkpoint by parameter name; parameters that were never updated are absent."""
    names = [name for name, _ in model.named_parameters()]
    return {names[place]: value for place, value in state_of(path)["optimizer"]["state"].items()}


def test_training_learns(tmp_path: Path) -> None:
    constant = {"name": "step", "every": 100, "gamma": 1.0}
    model, result = fresh(toy_training(stages=[{"epochs": 12}], schedule=constant), tmp_path)
    assert result.log[-1]["loss"] < 0.3 * result.log[0]["loss"]
    assert result.best_value is not None
    assert result.best_value > 150
    assert toy_recall(model)["rsum"] == result.best_value  # the model holds the best weights
    assert result.epochs == len(result.log) == 12


def test_training_is_a_naive_loop_of_adam(tmp_path: Path) -> None:
    """Losses and weights against the plainest loop that can be written."""
    _, result = fresh(toy_training(), tmp_path)
    model = toy_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses: list[float] = []
    for epoch in range(4):
        for group in optimizer.param_groups:
            group["lr"] = 0.01 * 0.5 ** (epoch // 2)
        model.train()
        for batch in ToyBatches(0, epoch):
            where = Progress(epoch, len(losses), 0, ToyLoss())
            seed_step(0, len(losses))
            with torch.no_grad():
                prepared = model.prepare_batch(batch, where)
            codes = model.training_codes(prepared)
            loss = model.objective(codes, where, None)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            with torch.no_grad():
                model.after_step(codes)
            losses.append(loss.item())
    assert step_losses(result.log) == pytest.approx(losses, rel=1e-8)
    assert same_bits(state_of(result.last_checkpoint)["model"], model.state_dict())


def test_the_same_seed_gives_the_same_bits_and_another_seed_other_ones(tmp_path: Path) -> None:
    training = toy_training()
    first, one = fresh(training, tmp_path / "one")
    second, _ = fresh(training, tmp_path / "two")
    third, other = fresh(toy_training(seed=1), tmp_path / "three")
    assert same_bits(first.state_dict(), second.state_dict())
    assert not same_bits(first.state_dict(), third.state_dict())
    assert step_losses(one.log) != step_losses(other.log)


def test_dropout_depends_on_seed_and_step_not_on_what_validation_drew(tmp_path: Path) -> None:
    def wasteful() -> dict[str, float]:
        torch.rand(100)
        return toy_recall(model)

    expected, _ = fresh(toy_training(), tmp_path / "one")
    model = toy_model()
    run(model, toy_training(), tmp_path / "two", validate=wasteful)
    assert same_bits(model.state_dict(), expected.state_dict())


# ------------------------------------------------------------------------------------- the order of a step


class Spy(Toy):
    """A toy that writes down what the loop calls."""

    def __init__(self) -> None:
        super().__init__(ToyConfig())
        self.calls: list[tuple[str, bool, bool]] = []
        self.key_before_update: list[bool] = []

    def note(self, name: str) -> None:
        self.calls.append((name, torch.is_grad_enabled(), torch.is_autocast_enabled("cpu")))

    def prepare_batch(self, batch: PairBatch, progress: Progress) -> PairBatch:
        self.note("prepare_batch")
        return super().prepare_batch(batch, progress)

    def training_codes(self, batch: PairBatch) -> TrainingCodes:
        self.note("training_codes")
        return super().training_codes(batch)

    def objective(self, codes: TrainingCodes, progress: Progress, pair_budget: int | None) -> Tensor:
        self.note("objective")
        self.weight_seen = self.projection.weight.detach().clone()
        return super().objective(codes, progress, pair_budget)

    def after_step(self, codes: TrainingCodes) -> None:
        self.note("after_step")
        self.key_before_update.append(not torch.equal(self.weight_seen, self.projection.weight))
        super().after_step(codes)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_a_step_calls_each_part_once_in_order(tmp_path: Path, precision: str) -> None:
    model = Spy()
    half = precision != "float32"
    run(model, toy_training(stages=[{"epochs": 1}], precision=precision), tmp_path)
    step = [
        ("prepare_batch", False, False),
        ("training_codes", True, half),
        ("objective", True, half),
        ("after_step", False, False),
    ]
    assert model.calls == step * 4
    assert int(model.filled) == 4
    assert all(model.modes)  # train mode, also after validations


def test_after_step_comes_after_the_update(tmp_path: Path) -> None:
    model = Spy()
    run(model, toy_training(stages=[{"epochs": 1}]), tmp_path)
    assert all(model.key_before_update)


def test_chunks_of_pairs_do_not_change_the_training() -> None:
    def losses(budget_mb: int | None) -> list[float]:
        training = toy_training(pair_budget_mb=budget_mb)
        return first_losses(
            toy_model(),
            training=training,
            loss_type=ToyLoss,
            make_batches=lambda epoch: ToyBatches(0, epoch),
            device=CPU,
            max_steps=8,
        )

    assert losses(1) == pytest.approx(losses(None), rel=1e-6)


def test_the_pair_budget_reaches_the_objective_in_bytes() -> None:
    budgets: list[int | None] = []

    class Budgeted(Toy):
        def objective(self, codes: TrainingCodes, progress: Progress, pair_budget: int | None) -> Tensor:
            budgets.append(pair_budget)
            whole = super().objective(codes, progress, None)
            tiny = super().objective(codes, progress, 100)  # a row at a time
            torch.testing.assert_close(whole, tiny, rtol=1e-6, atol=1e-6)
            return tiny

    for budget in (None, 3):
        first_losses(
            Budgeted(ToyConfig()),
            training=toy_training(pair_budget_mb=budget),
            loss_type=ToyLoss,
            make_batches=lambda epoch: ToyBatches(0, epoch),
            device=CPU,
            max_steps=1,
        )
    assert budgets == [None, 3 * 2**20]


def test_first_losses_are_those_of_the_training(tmp_path: Path) -> None:
    training = toy_training(stages=[{"epochs": 1, "trainable": TOWERS}, {"epochs": 3, "optimizer": "reset"}])
    _, result = fresh(training, tmp_path)
    model = toy_model()
    found = first_losses(
        model,
        training=training,
        loss_type=ToyLoss,
        make_batches=lambda epoch: ToyBatches(0, epoch),
        device=CPU,
        max_steps=10,
    )
    assert found == step_losses(result.log, 10)
    assert len(found) == 10


# -------------------------------------------------------------------------------- stages and optimiser


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


# --------------------------------------------------------------------------------- what can go wrong


class Breaking(Toy):
    """A toy whose loss becomes NaN (or whose gradient becomes infinite) at one step."""

    def __init__(self, step: int, what: str) -> None:
        torch.manual_seed(0)
        super().__init__(ToyConfig())
        self.step, self.what = step, what

    def objective(self, codes: TrainingCodes, progress: Progress, pair_budget: int | None) -> Tensor:
        loss = super().objective(codes, progress, pair_budget)
        if progress.step < self.step:
            return loss
        if self.what == "gradient":
            # finite value, infinite gradient: d/dx sqrt(x) at 0
            return loss + (self.projection.weight.sum() * 0).abs().sqrt()
        return loss * float(self.what)


@pytest.mark.parametrize("what", ["nan", "inf"])
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_checkpoint(
    tmp_path: Path, what: str, precision: str
) -> None:
    training = toy_training(precision=precision)
    model = Breaking(9, what)
    with pytest.raises(TrainingDivergedError) as caught:
        run(model, training, tmp_path)
    text = str(caught.value)
    assert "\n" not in text
    for part in ("epoch 2, step 9", f"loss is {what}", "learning rate 0.005", "training.optimizer.clip_norm"):
        assert part in text
    assert ("precision float32" in text) == (precision == "float16")
    stored = state_of(tmp_path / "checkpoint.pt")
    assert stored["epochs_done"] == 2
    assert all(torch.isfinite(value).all() for value in stored["model"].values())
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())  # no update was made
    # a run without the fault goes on from there
    healthy = toy_model()
    resumed = run(healthy, training, tmp_path, resume=True)
    expected, _ = fresh(training, tmp_path / "expected")
    assert resumed.resumed_from == 2
    assert same_bits(healthy.state_dict(), expected.state_dict())


def test_weights_ruined_by_the_last_step_of_an_epoch_never_reach_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(TrainingDivergedError, match=r"parameter 'projection\.weight' is not finite"):
        run(Breaking(7, "gradient"), toy_training(), tmp_path)
    assert state_of(tmp_path / "checkpoint.pt")["epochs_done"] == 1


def test_float16_overflow_skips_the_update_and_halves_the_scale(tmp_path: Path) -> None:
    """Infinite gradients are a scaler's everyday life; side effects still happen once."""
    model = Breaking(8, "gradient")
    with pytest.raises(TrainingDivergedError, match="overflow at every step"):
        run(model, toy_training(precision="float16", stages=[{"epochs": 12}]), tmp_path)
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    skipped = [line["skipped_steps"] for line in log]
    assert sum(skipped[:2]) < 8
    assert set(skipped[2:]) == {4}
    stored = state_of(tmp_path / "checkpoint.pt")
    assert stored["scaler"]["scale"] == 65536.0 / 2 ** sum(skipped)
    steps = {int(value["step"]) for value in by_name(model, tmp_path / "checkpoint.pt").values()}
    assert steps == {8 - sum(skipped[:2])}
    assert int(stored["model"]["filled"]) == 4 * len(log)
    assert all(torch.isfinite(value).all() for value in stored["model"].values())


def test_half_precision_trains(tmp_path: Path) -> None:
    for precision in ("bfloat16", "float16"):
        _, result = fresh(toy_training(precision=precision, stages=[{"epochs": 6}]), tmp_path / precision)
        assert result.log[-1]["loss"] < 0.5 * result.log[0]["loss"]
        assert result.log[-1]["skipped_steps"] == 0


def test_a_validation_value_that_is_not_finite_stops(tmp_path: Path) -> None:
    with pytest.raises(TrainingDivergedError, match="validation value 'rsum' is nan"):
        fresh(toy_training(), tmp_path, validate=lambda: {"rsum": math.nan})


def test_a_loader_that_breaks_its_promise_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="epoch 1 has 3 batches, epoch 0 has 4"):
        fresh(toy_training(), tmp_path, make_batches=lambda epoch: ToyBatches(0, epoch, items=40 - 8 * epoch))


def test_log_lines_hold_what_they_promise(tmp_path: Path) -> None:
    entries: list[dict[str, Any]] = []
    _, result = fresh(toy_training(), tmp_path, on_epoch=entries.append)
    assert entries == result.log
    for number, line in enumerate(result.log):
        assert line["epoch"] == number
        assert line["steps"] == len(line["losses"]) == 4
        assert line["pairs"] == 40
        assert line["loss"] == pytest.approx(sum(line["losses"]) / 4)
    assert step_losses(result.log, 6) == list(itertools.chain(*(line["losses"] for line in result.log)))[:6]
    total = sum(line["seconds"] + line["validation_seconds"] for line in result.log)
    assert result.wall_seconds == pytest.approx(total)


def test_progress_shows_loss_rate_and_speed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fresh(toy_training(stages=[{"epochs": 1}]), tmp_path / "silent")
    assert capsys.readouterr().err == ""
    fresh(toy_training(stages=[{"epochs": 1}]), tmp_path / "shown", show_progress=True)
    assert "epoch 1/1" in capsys.readouterr().err
