"""Optimiser steps: a model, its optimiser and loss scaler, and how they go through an epoch. No files in here.

A step is prepare_batch -> training_codes -> objective -> backward, clip, update -> after_step. One
optimiser holds all parameters from the start; Adam passes over those without a gradient, so the moments of
a part that is unfrozen later begin then.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sized
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor
from torch.amp.grad_scaler import GradScaler
from tqdm import tqdm

from benchmark.batches import PairBatch, TrainingCodes
from benchmark.distributed.as_one import as_one_batch
from benchmark.distributed.codes import gather_codes
from benchmark.distributed.processes import processes
from benchmark.distributed.shares import Share, together
from benchmark.errors import UserError
from benchmark.memory import MEGABYTE, first_fitting, halves, peak_on, ran_out
from benchmark.method import Baseline, Progress
from benchmark.recipe.training import Training
from benchmark.strict import Strict
from benchmark.training.checkpoints import load_weights
from benchmark.training.compiling import compile_parts, in_place
from benchmark.training.determinism import deterministic, seed_step
from benchmark.training.optimizers import make_optimizer, set_rate
from benchmark.training.stages import plan_stages, set_trainable, stage_of

_SMALLEST_BUDGET, _LARGEST_BUDGET = 16, 2**17
"""Megabytes for pairs that are tried where memory ran out; the largest is no limit on any GPU."""
_SMALLEST_SCALE = 1e-4
"""A float16 loss scale this small took some thirty overflowing steps in a row: training stands still."""


class Batches(Sized, Iterable[PairBatch], Protocol):
    """The batches of one epoch."""


class TrainingDivergedError(UserError):
    """Loss, gradients or weights stopped being finite; the last checkpoint is untouched."""


@dataclass(frozen=True)
class EpochTrace:
    """The outcome of an epoch of steps."""

    losses: list[float]
    rates: list[float]
    pairs: int
    skipped_steps: int
    seconds: float
    communication: tuple[float, int] | None = None
    """Seconds and bytes of what the processes told each other; None: there is one."""


class Trainer:
    """Model, optimiser and scaler, and how they go through an epoch; knows nothing of files.

    Where several processes make the run, batches are this one's parts of them.
    """

    def __init__(
        self,
        model: Baseline,
        training: Training,
        loss_type: type[Strict],
        make_batches: Callable[[int], Batches],
        device: torch.device,
        show_progress: bool | None,
    ) -> None:
        deterministic()
        model.to(device)
        self.model, self.training, self.device = model, training, device
        self.processes = processes()
        self.make_batches, self.show_progress = make_batches, show_progress
        self.free = frozenset(name for name, value in model.named_parameters() if value.requires_grad)
        self.plans = plan_stages(model, training, loss_type)
        self.steps_per_epoch = len(make_batches(0))
        self.total_steps = self.steps_per_epoch * training.epochs
        if not self.total_steps:
            raise UserError(
                f"field 'training.batch_size': found {training.batch_size}, which leaves no batch"
            )
        training.schedule.check_steps(self.total_steps)
        for plan in self.plans:
            if plan.schedule is not None:
                where = f"training.stages.{plan.index}.schedule"
                plan.schedule.check_steps(plan.epochs * self.steps_per_epoch, where)
        budget = training.pair_budget_mb
        self.pair_budget = None if budget is None else budget * MEGABYTE
        self.compiled = compile_parts(model) if training.compile else []
        self.reset_optimizer()

    def reset_optimizer(self) -> None:
        """A fresh optimiser over all parameters, trained or not, and a fresh loss scaler."""
        self.optimizer = make_optimizer(self.model, self.training.optimizer)
        half = self.training.precision == "float16"
        # the scale is torch's own default, written down so that it stays
        self.scaler = GradScaler(self.device.type, init_scale=65536.0, enabled=half)
        self._scale: float | None = None  # as of the latest update; None: ask the device

    def enter(self, epoch: int, best: Path | None) -> None:
        """Set up the stage of `epoch`; where it begins there, also its optimiser and starting weights."""
        plan = stage_of(self.plans, epoch)
        if epoch == plan.first_epoch:
            if plan.from_checkpoint:
                if best is None:
                    raise UserError(f"stage {plan.index} starts from a chosen checkpoint: train it in full")
                chosen = best
                self.processes.on_first(lambda: load_weights(chosen, self.model))
                self.processes.copy_state(self.model)
            if plan.reset_optimizer:
                self.reset_optimizer()
        set_trainable(self.model, plan.trainable & self.free)

    def epoch(self, epoch: int, max_steps: int | None = None) -> EpochTrace:
        """Run the steps of an epoch (at most `max_steps`) in train mode."""
        plan = stage_of(self.plans, epoch)
        self.model.train()
        batches = self.make_batches(epoch)
        if len(batches) != self.steps_per_epoch:
            raise RuntimeError(
                f"epoch {epoch} has {len(batches)} batches, epoch 0 has {self.steps_per_epoch}"
            )
        steps = self.steps_per_epoch if max_steps is None else min(max_steps, self.steps_per_epoch)
        losses: list[float] = []
        rates: list[float] = []
        pairs = skipped = 0
        begin = time.perf_counter()
        label = f"epoch {epoch + 1}/{self.training.epochs}"
        hidden = None if self.show_progress is None else not self.show_progress
        self.processes.traffic.take()
        with tqdm(islice(batches, steps), desc=label, total=steps, leave=False, disable=hidden) as bar:
            for number, batch in enumerate(bar):
                where = Progress(epoch, epoch * self.steps_per_epoch + number, plan.index, plan.loss)
                loss, rate, updated = self.step(batch, where)
                losses.append(loss)
                rates.append(rate)
                skipped += not updated
                pairs += len(batch) if batch.counts is None else sum(batch.counts)
                speed = pairs / (time.perf_counter() - begin)
                bar.set_postfix_str(f"loss {loss:.4g}, lr {rate:.3g}, {speed:.0f} pairs/s", refresh=False)
        if len(losses) != steps:
            raise RuntimeError(f"epoch {epoch} has {len(losses)} batches, epoch 0 has {self.steps_per_epoch}")
        told = None if self.processes.alone else self.processes.traffic.take()
        return EpochTrace(losses, rates, pairs, skipped, time.perf_counter() - begin, told)

    def step(self, batch: PairBatch, where: Progress) -> tuple[float, float, bool]:
        """One optimiser step: its loss, its learning rate, and whether the update took place.

        Raises UserError where memory runs out, with a setting that fits: it was tried, on these weights.
        """
        done = None
        try:
            with in_place(self.compiled):
                done = self._update_by(batch, where)
        except (RuntimeError, MemoryError) as error:
            if not ran_out(error):
                raise
        if done is None:  # not in the handler: the error holds what the step had made
            raise self._no_room(batch, where)
        codes, outcome = done
        with torch.no_grad():
            self.model.after_step(codes)
        return outcome

    def _update_by(
        self, batch: PairBatch, where: Progress
    ) -> tuple[TrainingCodes, tuple[float, float, bool]]:
        """All of a step but what comes after it."""
        settings = self.training
        seed_step(settings.seed, where.step)
        rate = self.rate(where)
        set_rate(self.optimizer, rate)
        batch = batch.to(self.device)
        share = self._share(batch.counts)
        with torch.no_grad(), as_one_batch(self.processes, share):
            batch = self.model.prepare_batch(batch, where)
        if share is not None:  # mining may have left pairs out
            share = self._share(tuple(self.processes.of_all(len(batch))))
        self.optimizer.zero_grad(set_to_none=True)
        half = {"float16": torch.float16, "bfloat16": torch.bfloat16}.get(settings.precision)
        with torch.autocast(self.device.type, dtype=half, enabled=half is not None):
            with as_one_batch(self.processes, share):
                codes = self.model.training_codes(batch)
            codes = gather_codes(codes, share, self.processes)
            with together(self.processes, None):
                loss = self.model.objective(codes, where, self.pair_budget)
        value = self._checked(loss, where, rate)
        return codes, (value, rate, self._update(loss, where, rate))

    def _share(self, counts: tuple[int, ...] | None) -> Share | None:
        return None if counts is None else Share(self.processes.rank, counts)

    def _no_room(self, batch: PairBatch, where: Progress) -> UserError:
        """The error of a step that runs out of memory; the weights are no longer those of the training."""
        count, given = len(batch), self.training.pair_budget_mb or _LARGEST_BUDGET
        said = f"{self.device} ran out of memory in a step of {count} pairs{peak_on(self.device)}"
        if not self.processes.alone:  # the others wait in the middle of the step
            return UserError(f"field 'training.pair_budget_mb': {said} of process {self.processes.rank}")
        whole = self.pair_budget

        def budgeted(megabytes: int) -> None:
            self.pair_budget = megabytes * MEGABYTE
            self._update_by(batch, where)

        if given > _SMALLEST_BUDGET and first_fitting([_SMALLEST_BUDGET], budgeted) is not None:
            fitting = first_fitting((size for size in halves(given) if size > _SMALLEST_BUDGET), budgeted)
            return UserError(
                f"field 'training.pair_budget_mb': {said}; {fitting or _SMALLEST_BUDGET} fits, with the same results"
            )
        self.pair_budget = whole
        fitting = first_fitting(
            (few for few in halves(count) if few > 1), lambda few: self._update_by(batch.first(few), where)
        )
        advice = "not even 2 fit" if fitting is None else f"{fitting} fits, but is another training"
        return UserError(f"field 'training.batch_size': {said}; {advice}")

    def rate(self, where: Progress) -> float:
        """The schedule's learning rate; a stage that has a schedule of its own counts from its beginning."""
        plan, base = self.plans[where.stage], self.training.optimizer.lr
        if plan.schedule is None:
            return base * self.training.schedule.factor(where.epoch, where.step, self.total_steps)
        first, length = plan.first_epoch, plan.epochs * self.steps_per_epoch
        step = where.step - first * self.steps_per_epoch
        return base * plan.schedule.factor(where.epoch - first, step, length)

    def _checked(self, loss: Tensor, where: Progress, rate: float) -> float:
        """The loss as a number; every float32 value survives its nine digits."""
        if loss.ndim:
            raise ValueError(f"the objective returned a tensor of shape {tuple(loss.shape)}, not a scalar")
        exact = self.processes.of_first(loss.item())
        value = exact if loss.dtype == torch.float64 else float(f"{exact:.9g}")
        if not math.isfinite(value):
            raise TrainingDivergedError(
                advice(f"the loss is {value}", where.epoch, where.step, rate, self.training)
            )
        if not loss.requires_grad:
            raise UserError(
                f"field 'training.stages.{where.stage}.trainable': the loss depends on none of the trained parameters"
            )
        return value

    def _update(self, loss: Tensor, where: Progress, rate: float) -> bool:
        """Backward, clip, update. False: float16 gradients overflowed, and the scaler left the step out."""
        part = loss if self.processes.alone else loss / self.processes.size  # each computes all of it
        self.scaler.scale(part).backward()  # type: ignore[no-untyped-call]
        self.processes.sum_gradients([value for value in self.model.parameters() if value.requires_grad])
        clip = self.training.optimizer.clip_norm
        if clip is not None:
            self.scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), clip)
        before = self.scaler.get_scale() if self._scale is None else self._scale
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self._scale = scale = self.scaler.get_scale()
        if scale < _SMALLEST_SCALE:
            fault = f"float16 gradients overflow at every step (loss scale {scale:.3g})"
            raise TrainingDivergedError(advice(fault, where.epoch, where.step, rate, self.training))
        return scale >= before

    def check_weights(self, epoch: int, trace: EpochTrace) -> None:
        """Raise TrainingDivergedError where the last updates have ruined a parameter.

        Raises UserError where processes that make the run together have come to have other weights.
        """
        for name, parameter in self.model.named_parameters():
            if not bool(torch.isfinite(parameter).all()):
                step = (epoch + 1) * self.steps_per_epoch - 1
                fault = f"parameter '{name}' is not finite"
                raise TrainingDivergedError(advice(fault, epoch, step, trace.rates[-1], self.training))
        if not self.processes.alone:
            with torch.no_grad():
                sums = torch.stack([value.double().sum() for value in self.model.parameters()]).tolist()
            others = self.processes.of_all(sums)
            if any(other != sums for other in others):
                raise UserError(
                    f"epoch {epoch}: the processes have come to have different weights, expected the same in all; the "
                    "last checkpoint is kept; do their machines and libraries differ?"
                )


def advice(fault: str, epoch: int, step: int, rate: float, training: Training) -> str:
    """One line: what broke, where, and what to try; the checkpoint of the epoch before is untouched."""
    tips = ["lower training.optimizer.lr"]
    if training.optimizer.clip_norm is None:
        tips.append("set training.optimizer.clip_norm")
    if training.precision != "float32":
        tips.append(f"use training.precision float32 instead of {training.precision}")
    return (
        f"training stopped in epoch {epoch}, step {step} (from 0) at learning rate {rate:.3g}: {fault}; "
        f"the last checkpoint is kept; {' or '.join(tips)}"
    )
