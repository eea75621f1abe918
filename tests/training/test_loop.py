"""The loop: it learns, keeps the order of a step, and stops on NaN."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmark.batches import PairBatch, TrainingCodes
from benchmark.method import Progress
from benchmark.training import TrainingDivergedError, first_losses, step_losses
from benchmark.training.determinism import seed_step
from benchmark.training.log import epoch_line
from tests.toy import Toy, ToyBatches, ToyConfig, ToyLoss, toy_model, toy_recall
from tests.training.helpers import CPU, by_name, fresh, run, same_bits, state_of, toy_training


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
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, fused=True)
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
    training = toy_training(
        stages=[
            {"epochs": 1, "trainable": ["image.*", "words.*", "projection.*"]},
            {"epochs": 3, "optimizer": "reset"},
        ]
    )
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


def test_an_epoch_that_retrieves_nothing_is_never_the_best(tmp_path: Path) -> None:
    values = iter([0.0, 0.0, 12.5, 3.0])
    training = toy_training(stages=[{"epochs": 4}])
    _, result = fresh(training, tmp_path, validate=lambda: {"rsum": next(values)})
    assert (result.best_epoch, result.best_value) == (2, 12.5)
    assert [entry["best"] for entry in result.log] == [False, False, True, False]


def test_a_training_without_a_best_epoch_says_so(tmp_path: Path) -> None:
    with pytest.raises(TrainingDivergedError, match=r"no validated epoch has a 'rsum' above 0.*select: last"):
        fresh(toy_training(), tmp_path, validate=lambda: {"rsum": 0.0})
    assert (tmp_path / "checkpoint.pt").is_file()
    assert not (tmp_path / "best.safetensors").exists()


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


@pytest.mark.parametrize(
    ("validation", "best"), [({"rsum": 123.45}, True), ({"rsum": 99.0}, False), (None, True)]
)
def test_an_epoch_is_a_line_to_read(validation: dict[str, float] | None, best: bool) -> None:
    entry = {"epoch": 2, "loss": 0.123456, "pairs": 300, "seconds": 1.5, "validation_seconds": 0.5}
    line = epoch_line(entry | {"validation": validation, "best": best}, 10)
    middle = (
        "" if validation is None else f" validation rsum {validation['rsum']:.1f}{', the best yet' * best},"
    )
    assert line == f"epoch 3 of 10: loss 0.1235,{middle} 2.0 s, 200 images/s"


def test_progress_shows_loss_rate_and_speed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fresh(toy_training(stages=[{"epochs": 1}]), tmp_path / "silent")
    assert capsys.readouterr().err == ""
    fresh(toy_training(stages=[{"epochs": 1}]), tmp_path / "shown", show_progress=True)
    assert "epoch 1/1" in capsys.readouterr().err
