"""Twenty steps of a small model of each method, by one process or by several; in float64."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmark.batches import CaptionBatch, ImageBatch, PairBatch
from benchmark.distributed.processes import processes
from benchmark.distributed.shares import share_of_batch
from benchmark.method import Progress
from benchmark.training.trainer import Trainer
from tests.baselines.small import small

STEPS = 20


def pairs_of(path: Path) -> int:
    return 14


@dataclass(frozen=True)
class Steps:
    """What came of some steps."""

    losses: list[float]
    state: dict[str, Tensor]
    gradients: dict[str, Tensor]
    """Those of the first step."""
    pairs: int


def part_of(batch: PairBatch) -> PairBatch:
    """This process's part of a batch."""
    now = processes()
    share = share_of_batch(len(batch), now.rank, now.size)
    return batch if share is None else batch.part(share.rows, share.counts)


def double(batch: PairBatch) -> PairBatch:
    images = batch.images
    guides = None if images.guides is None else images.guides.double()
    return PairBatch(replace(images, pixels=images.pixels.double(), guides=guides), batch.captions, batch.extra)


@dataclass(frozen=True)
class DoubleBatches:
    """An epoch of some batches, each of a seed of its own, the last one smaller."""

    subject: Any
    epoch: int
    count: int
    last: int

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[PairBatch]:
        for number in range(self.count):
            batch = self.subject.batch(1000 * self.epoch + number)
            yield part_of(double(batch if number < self.count - 1 else batch.first(self.last)))


def trainer_of(path: Path, pairs: int, last: int | None = None, count: int = 5) -> Trainer:
    """A trainer of a small model in float64."""
    subject = small(path, pairs=pairs)
    model = subject.model().double()
    return Trainer(
        model,
        subject.recipe.training,
        subject.method.loss,
        lambda epoch: DoubleBatches(subject, epoch, count, last or pairs),
        torch.device("cpu"),
        show_progress=False,
    )


def train_steps(path: Path, pairs: int, last: int, steps: int = STEPS) -> Steps:
    """Some steps in the stage that trains the most; what comes of them."""
    torch.set_num_threads(1)
    trainer = trainer_of(path, pairs, last)
    subject = small(path, pairs=pairs)
    where = subject.enter_largest(trainer)
    losses, gradients, seen = [], {}, 0
    for step in range(steps):
        batches = list(DoubleBatches(subject, step // 5, 5, last))
        batch = batches[step % 5]
        loss, _, updated = trainer.step(batch, replace(where, step=where.step + step))
        assert updated
        losses.append(loss)
        seen += len(batch)
        if not gradients:
            gradients = {
                name: value.grad.clone() for name, value in trainer.model.named_parameters() if value.grad is not None
            }
    state = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    return Steps(losses, state, gradients, seen)
