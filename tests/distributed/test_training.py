"""The training loop by several processes: files of the first alone, resumed by another number, and after a death."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmark.batches import PairBatch
from benchmark.distributed.processes import processes
from benchmark.training import TrainingResult
from benchmark.training.checkpoints import read_facts
from tests.distributed.gang import run_gang, run_together
from tests.distributed.methods import EPSILON, double, part_of
from tests.toy import ToyBatches, toy_model, toy_recall
from tests.training.helpers import run, toy_training

DEADLINE = 60.0
"""Seconds within which all processes end after one has died."""


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
