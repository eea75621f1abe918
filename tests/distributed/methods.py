"""Twenty steps of a small model of each method, by one process or by several, in float64."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from benchmark.batches import PairBatch
from benchmark.checks.gpu.subjects import Subject
from benchmark.distributed.processes import processes
from benchmark.distributed.shares import share_of_batch
from benchmark.training.trainer import Trainer
from tests.baselines.small import small

STEPS = 20
PAIRS, LAST = 14, 11
"""The pairs of a batch, and of the last one of an epoch; three processes divide neither evenly."""
BATCHES = 5
EPSILON = 1e-4
"""Adam's, in place of 1e-8: the gradient of a bias before a softmax or a norm is rounding noise of 1e-16, which 1e-8
makes a thousand million times larger, in one process as in several."""
RATE = 2e-4
"""The learning rate, a published one; at the 2e-3 of the scenes recipes what differs grows tenfold every two steps."""


@dataclass(frozen=True)
class Steps:
    """The results of some steps."""

    losses: list[float]
    pairs: list[int]
    state: dict[str, Tensor]
    gradients: dict[str, Tensor]
    """Those of the first step."""


def part_of(batch: PairBatch) -> PairBatch:
    """This process's part of a batch."""
    now = processes()
    share = share_of_batch(len(batch), now.rank, now.size)
    return batch if share is None else batch.part(share.rows, share.counts)


def double(batch: PairBatch) -> PairBatch:
    """The batch in float64."""
    images = batch.images
    guides = None if images.guides is None else images.guides.double()
    return replace(batch, images=replace(images, pixels=images.pixels.double(), guides=guides))


@dataclass(frozen=True)
class DoubleBatches:
    """An epoch of batches, each of a seed of its own, the last one smaller where a method takes such."""

    subject: Subject
    epoch: int

    def __len__(self) -> int:
        return BATCHES

    def __iter__(self) -> Iterator[PairBatch]:
        even = "queue" in self.subject.recipe.model  # it is filled by whole batches
        for number in range(BATCHES):
            batch = self.subject.batch(1000 * self.epoch + number)
            yield part_of(double(batch if even or number < BATCHES - 1 else batch.first(LAST)))


def train_steps(path: Path) -> Steps:
    """Train a small model of a recipe in the stage that trains the most."""
    torch.set_num_threads(1)
    subject = small(path, pairs=PAIRS)
    training = subject.recipe.training
    optimizer = training.optimizer.model_copy(update={"eps": EPSILON, "lr": RATE})
    trainer = Trainer(
        subject.model().double(),
        training.model_copy(update={"optimizer": optimizer}),
        subject.method.loss,
        lambda epoch: DoubleBatches(subject, epoch),
        torch.device("cpu"),
        show_progress=False,
    )
    first = subject.enter_largest(trainer)
    trainer.model.train()
    losses, pairs, gradients = list[float](), list[int](), dict[str, Tensor]()
    for step in range(STEPS):
        number = step % BATCHES
        if not number:
            batches = list(DoubleBatches(subject, step // BATCHES))
        loss, _, updated = trainer.step(batches[number], replace(first, step=first.step + step))
        assert updated
        losses.append(loss)
        pairs.append(len(batches[number]))
        if not step:
            gradients = {
                name: value.grad.clone()
                for name, value in trainer.model.named_parameters()
                if value.grad is not None
            }
    state = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    return Steps(losses, pairs, state, gradients)
