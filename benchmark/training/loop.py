"""The training loop: any method through the `Baseline` contract, stage after stage, safe to kill at any time.

At the end of an epoch: validation, a log line, the checkpoint, the best weights, in this order, so that a
kill between any two of them loses nothing. How a step goes is in `trainer.py`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmark.errors import UserError
from benchmark.method import Baseline
from benchmark.recipe.training import Training
from benchmark.strict import Strict
from benchmark.training import checkpoints, log
from benchmark.training.checkpoints import Checkpoint, WorkFolder
from benchmark.training.stages import is_validated, set_trainable, stage_of
from benchmark.training.trainer import Batches, Trainer, TrainingDivergedError


@dataclass(frozen=True)
class TrainingResult:
    """What a finished training leaves; the model holds the best weights."""

    best_epoch: int
    """0-based; with `select: last` the last one."""
    best_value: float | None
    """The validation value it was chosen by; None with `select: last`."""
    epochs: int
    log: list[dict[str, Any]]
    """One entry an epoch, see `train`."""
    best_weights: Path
    last_checkpoint: Path
    wall_seconds: float
    """Training and validation time of all epochs, over every resumption."""
    resumed_from: int | None
    """Whole epochs that were there already; None where training began anew."""


def train(
    model: Baseline,
    *,
    training: Training,
    loss_type: type[Strict],
    make_batches: Callable[[int], Batches],
    validate: Callable[[], dict[str, float]] | None,
    work_dir: Path,
    resume: bool,
    device: torch.device,
    recipe_digest: str,
    recipe: Mapping[str, Any] | None = None,
    show_progress: bool | None = None,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
) -> TrainingResult:
    """Move `model` to `device`, train it as `training` says and load its best weights.

    `make_batches(epoch)`: the batches of an epoch, equally many in each. `validate()`: metric name ->
    value of the model as it is. `recipe`: the recipe as JSON; names what differs when a checkpoint of
    another recipe is resumed. `show_progress`: None shows the bar on a terminal only. `on_epoch` gets
    every new log entry: epoch, stage, steps, pairs, loss (mean), lr (first step), lr_last, losses (one a
    step), skipped_steps (float16 overflows), seconds, validation_seconds, validation (or null), best
    (whether this epoch is the best so far).

    Without `resume`, the files of an earlier run in `work_dir` move to `work_dir/previous`. With it, the
    result is, bit for bit on the same machine, that of a run that was never stopped.

    Raises UserError for whatever a recipe or a file can have wrong, TrainingDivergedError for a loss that isn't
    finite.
    """
    trainer = Trainer(model, training, loss_type, make_batches, device, show_progress)
    folder = WorkFolder(work_dir)
    folder.prepare(resume)
    run = _Run(trainer, folder, recipe_digest, dict(recipe or {}))
    resumed_from = run.restore() if folder.checkpoint.is_file() else None
    try:
        for epoch in range(run.epochs_done, training.epochs):
            entry = run.epoch(epoch, validate)
            if on_epoch is not None:
                on_epoch(entry)
    finally:
        set_trainable(model, trainer.free)
    checkpoints.load_weights(folder.best, model)
    lines = log.read_log(folder.log)
    assert run.best_epoch is not None
    return TrainingResult(
        best_epoch=run.best_epoch,
        best_value=run.best_value,
        epochs=training.epochs,
        log=lines,
        best_weights=folder.best,
        last_checkpoint=folder.checkpoint,
        wall_seconds=sum(line["seconds"] + line["validation_seconds"] for line in lines),
        resumed_from=resumed_from,
    )


def first_losses(
    model: Baseline,
    *,
    training: Training,
    loss_type: type[Strict],
    make_batches: Callable[[int], Batches],
    device: torch.device,
    max_steps: int = 20,
) -> list[float]:
    """The losses of the first `max_steps` steps of `train`, which they equal bit for bit; no file is touched.

    Raises UserError where a stage that begins with a chosen checkpoint is reached, which needs `train`.
    """
    trainer = Trainer(model, training, loss_type, make_batches, device, show_progress=False)
    losses: list[float] = []
    try:
        for epoch in range(training.epochs):
            trainer.enter(epoch, best=None)
            losses += trainer.epoch(epoch, max_steps=max_steps - len(losses)).losses
            if len(losses) >= max_steps:
                break
    finally:
        set_trainable(model, trainer.free)
    return losses


class _Run:
    """A training in its folder: what was done, what was best, and how an epoch is written down."""

    def __init__(self, trainer: Trainer, folder: WorkFolder, digest: str, recipe: dict[str, Any]) -> None:
        self.trainer, self.folder, self.digest, self.recipe = trainer, folder, digest, recipe
        self.epochs_done = 0
        self.best_epoch: int | None = None
        self.best_value: float | None = None

    def restore(self) -> int:
        """Take up the checkpoint: state, log cut to its length, best weights; returns the epochs done."""
        folder, trainer = self.folder, self.trainer
        state = checkpoints.load_checkpoint(folder.checkpoint, self.digest, self.recipe)
        checkpoints.check_state(folder.checkpoint, state.model, trainer.model)
        trainer.model.load_state_dict(state.model)
        trainer.optimizer.load_state_dict(state.optimizer)
        trainer.scaler.load_state_dict(state.scaler)
        self.epochs_done, self.best_epoch, self.best_value = (
            state.epochs_done,
            state.best_epoch,
            state.best_value,
        )
        if self.best_epoch is not None and not self._best_is_there():
            if self.best_epoch != self.epochs_done - 1:
                raise UserError(
                    f"{folder.best.as_posix()}: expected the weights of epoch {self.best_epoch}; "
                    "put the file back, or train anew without --resume"
                )
            self._save_best()  # killed after the checkpoint, before the weights
        log.cut(folder.log, state.log_bytes)
        return self.epochs_done

    def epoch(self, epoch: int, validate: Callable[[], dict[str, float]] | None) -> dict[str, Any]:
        """Train an epoch, validate, and write log line, checkpoint and best weights; returns the log entry."""
        self.trainer.enter(epoch, self.folder.best)
        trace = self.trainer.epoch(epoch)
        self.trainer.check_weights(epoch, trace)
        begin = time.perf_counter()
        validation = self._validate(epoch, validate)
        validation_seconds = time.perf_counter() - begin
        chosen = self._choose(epoch, validation)
        entry = {
            "epoch": epoch,
            "stage": stage_of(self.trainer.plans, epoch).index,
            "steps": len(trace.losses),
            "pairs": trace.pairs,
            "loss": math.fsum(trace.losses) / len(trace.losses),
            "lr": trace.rates[0],
            "lr_last": trace.rates[-1],
            "losses": trace.losses,
            "skipped_steps": trace.skipped_steps,
            "seconds": round(trace.seconds, 3),
            "validation_seconds": round(validation_seconds, 3),
            "validation": validation,
            "best": chosen,
        }
        self.epochs_done = epoch + 1
        self._save(log.append_line(self.folder.log, entry))
        if chosen:
            self._save_best()
        return entry

    def _validate(
        self, epoch: int, validate: Callable[[], dict[str, float]] | None
    ) -> dict[str, float] | None:
        if not is_validated(self.trainer.training, epoch):
            return None
        if validate is None:
            raise ValueError("a recipe that selects by a metric needs `validate`")
        self.trainer.model.eval()
        with torch.no_grad():
            return {name: float(value) for name, value in validate().items()}

    def _choose(self, epoch: int, validation: dict[str, float] | None) -> bool:
        """Whether this epoch is the best so far; equal values keep the earlier one."""
        select = self.trainer.training.select
        if select == "last":
            chosen = epoch == self.trainer.training.epochs - 1
        elif validation is None:
            return False
        else:
            value = validation[select]
            if not math.isfinite(value):
                raise TrainingDivergedError(f"epoch {epoch}: the validation value '{select}' is {value}")
            chosen = self.best_value is None or value > self.best_value
            self.best_value = value if chosen else self.best_value
        if chosen:
            self.best_epoch = epoch
        return chosen

    def _save(self, log_bytes: int) -> None:
        trainer = self.trainer
        checkpoint = Checkpoint(
            model=trainer.model.state_dict(),
            optimizer=trainer.optimizer.state_dict(),
            scaler=trainer.scaler.state_dict(),
            epochs_done=self.epochs_done,
            step=self.epochs_done * trainer.steps_per_epoch,
            best_epoch=self.best_epoch,
            best_value=self.best_value,
            log_bytes=log_bytes,
            recipe_digest=self.digest,
            recipe=self.recipe,
        )
        checkpoints.save_checkpoint(self.folder.checkpoint, checkpoint)

    def _save_best(self) -> None:
        notes = {"epoch": self.best_epoch, "recipe_digest": self.digest}
        checkpoints.save_weights(self.folder.best, self.trainer.model, notes)

    def _best_is_there(self) -> bool:
        path = self.folder.best
        return path.is_file() and checkpoints.read_notes(path).get("epoch") == self.best_epoch
