"""The training loop by several processes: files of the first alone, resumed by another number, and after a death."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmark.batches import PairBatch, TrainingCodes
from benchmark.distributed.processes import processes
from benchmark.method import Progress
from benchmark.training import TrainingResult
from benchmark.training.checkpoints import read_facts
from benchmark.training.trainer import Trainer
from tests.distributed.gang import run_gang, run_together
from tests.distributed.methods import EPSILON, double, part_of
from tests.toy import Toy, ToyBatches, ToyConfig, ToyLoss, toy_model, toy_recall
from tests.training.helpers import CPU, run, same_bits, toy_training

DEADLINE = 60.0
"""Seconds within which all processes end after one has died."""
BURST, SCALE = 3, 1024.0
"""The step in which a process has an infinite gradient; the loss scale until then, small enough for the others."""


@dataclass(frozen=True)
class Parts:
    """Parts of the toy's batches in float64; a process may die at one of them."""

    epoch: int
    dies: tuple[int, int, int] | None
    """Process, epoch and batch."""

    def __len__(self) -> int:
        return len(ToyBatches(0, self.epoch))

    def __iter__(self) -> Iterator[PairBatch]:
        for number, batch in enumerate(ToyBatches(0, self.epoch)):
            if (processes().rank, self.epoch, number) == self.dies:
                (Path(os.environ["REMATCH_TEST_FOLDER"]) / "died").write_text(str(time.monotonic()))
                os._exit(9)
            yield part_of(double(batch))


@dataclass(frozen=True)
class Trained:
    """The outcome of a training, and the state of its model."""

    result: TrainingResult
    state: dict[str, torch.Tensor]

    @property
    def losses(self) -> list[float]:
        return [loss for line in self.result.log for loss in line["losses"]]


def train_toy(folder: Path, dies: tuple[int, int, int] | None = None, resume: bool = False) -> Trained:
    """Train the toy in float64."""
    torch.set_num_threads(1)
    model = toy_model().double()
    training = toy_training(select="r1_sum", optimizer={"name": "adam", "lr": 0.005, "eps": EPSILON})

    def recall() -> dict[str, float]:
        with torch.no_grad():
            single = toy_model().eval()
            single.load_state_dict({name: value.float() for name, value in model.state_dict().items()})
            return toy_recall(single)

    more: dict[str, Any] = {"make_batches": lambda epoch: Parts(epoch, dies), "validate": recall}
    result = run(model, training, folder, resume=resume, **more)
    return Trained(result, {name: value.clone() for name, value in model.state_dict().items()})


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train_toy(tmp_path_factory.mktemp("alone"))


@pytest.mark.parametrize("size", [2, 3])
def test_a_training_by_several_is_that_of_one(alone: Trained, tmp_path: Path, size: int) -> None:
    found = run_together(size, train_toy, tmp_path)
    for trained in found:
        assert trained.losses == pytest.approx(alone.losses, rel=1e-9, abs=0)
        assert trained.result.best_epoch == alone.result.best_epoch
        for name, value in alone.state.items():
            torch.testing.assert_close(trained.state[name], value, rtol=1e-9, atol=1e-9, msg=name)
            assert torch.equal(trained.state[name], found[0].state[name]), name
    assert [line["pairs"] for line in found[0].result.log] == [line["pairs"] for line in alone.result.log]
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"checkpoint.pt", "best.safetensors", "log.jsonl"}


def test_the_log_says_how_much_was_told(alone: Trained, tmp_path: Path) -> None:
    assert not any("processes" in line for line in alone.result.log)
    lines = run_together(2, train_toy, tmp_path)[0].result.log
    for line in lines:
        assert line["processes"] == 2
        assert 0 < line["communication_seconds"] < line["seconds"] + 1
        assert line["communication_bytes"] > 0
    assert len({line["communication_bytes"] for line in lines}) == 1  # the same steps, the same messages


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 3), (3, 1)])
def test_another_number_of_processes_goes_on(
    alone: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int, after: int
) -> None:
    monkeypatch.setenv("REMATCH_TEST_FOLDER", str(tmp_path))
    run_gang(before, train_toy, tmp_path / "work", (before - 1, 2, 1))
    assert (tmp_path / "died").is_file()
    assert read_facts(tmp_path / "work/checkpoint.pt").epochs_done == 2
    for trained in run_together(after, train_toy, tmp_path / "work", None, True):
        assert trained.result.resumed_from == 2
        assert trained.losses == pytest.approx(alone.losses, rel=1e-6, abs=0)
        for name, value in alone.state.items():
            torch.testing.assert_close(trained.state[name], value, rtol=1e-6, atol=1e-9, msg=name)


@pytest.mark.parametrize("victim", [0, 2])
def test_when_one_dies_all_end_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, victim: int
) -> None:
    monkeypatch.setenv("REMATCH_TEST_FOLDER", str(tmp_path))
    ends = run_gang(3, train_toy, tmp_path / "work", (victim, 1, 2))
    died = float((tmp_path / "died").read_text())
    assert ends[victim].state == "died"
    for rank, end in enumerate(ends):
        if rank != victim:
            assert end.state == "LostProcessError", end.error
            assert end.words.startswith(f"process {rank} of 3 (from 0): another one has ended")
            assert len(end.words.splitlines()) == 1
            assert end.at - died < DEADLINE


def test_a_fault_of_the_first_ends_all(tmp_path: Path) -> None:
    """A damaged checkpoint, which the first process alone reads."""
    (tmp_path / "checkpoint.pt").write_bytes(b"no checkpoint")
    ends = run_gang(2, train_toy, tmp_path, None, True)
    assert [end.state for end in ends] == ["UserError", "TogetherError"]
    assert ends[0].words == ends[1].words
    assert "not a readable checkpoint" in ends[0].words


class Bursting(Toy):
    """A toy, one of whose processes, the last, has an infinite gradient in a step."""

    def training_codes(self, batch: PairBatch) -> TrainingCodes:
        codes, now = super().training_codes(batch), processes()
        if int(batch.extra["step"]) == BURST and now.rank == now.size - 1:
            vectors: Any = codes.images["vectors"]  # its hooks are not typed
            vectors.register_hook(lambda gradient: gradient * torch.inf)
        return codes


def train_half() -> tuple[list[float], list[bool], float, dict[str, torch.Tensor]]:
    """Losses of six steps, which of them were taken, the loss scale after them, and the state of the model."""
    torch.set_num_threads(1)
    model = Bursting(ToyConfig())
    model.load_state_dict(toy_model().state_dict())
    training = toy_training(precision="float16", optimizer={"name": "adam", "lr": 0.01, "clip_norm": 1.0})
    trainer = Trainer(model, training, ToyLoss, lambda epoch: ToyBatches(0, epoch), CPU, show_progress=False)
    trainer.enter(0, None)
    trainer.scaler.load_state_dict(trainer.scaler.state_dict() | {"scale": SCALE})
    model.train()
    batches = [*ToyBatches(0, 0), *ToyBatches(0, 1)][:6]
    where = Progress(epoch=0, step=0, stage=0, loss=ToyLoss())
    done = [trainer.step(part_of(batch), replace(where, step=step)) for step, batch in enumerate(batches)]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    losses, _, taken = zip(*done, strict=True)
    return list(losses), list(taken), trainer.scaler.get_scale(), state


def test_an_overflow_in_one_process_is_one_of_all() -> None:
    """All leave the step out and halve the scale, which stays the same in all; so do the weights."""
    one, found = train_half(), run_together(2, train_half)
    for losses, taken, scale, state in found:
        assert taken == one[1] == [step != BURST for step in range(6)]
        assert scale == one[2] == SCALE / 2
        assert losses[: BURST + 1] == pytest.approx(one[0][: BURST + 1], rel=0.02)
        assert all(same_bits(value, found[0][3][name]) for name, value in state.items())
        assert all(bool(torch.isfinite(value).all()) for value in state.values())
