"""The training loop: any method through the `Baseline` contract, stage after stage, safe to kill at any time.

At the end of an epoch: validation, a log line, the checkpoint, the best weights, in this order, so that a
kill between any two of them loses nothing. The checkpoint knows the sha256 of the other two; what is resumed or
scored is what was written. How a step goes is in `trainer.py`.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmark.devices import named_device
from benchmark.distributed.processes import Processes
from benchmark.errors import UserError
from benchmark.files import sha256_bytes, sha256_file, write_bytes
from benchmark.method import Baseline
from benchmark.recipe.training import Training
from benchmark.strict import Strict
from benchmark.training import checkpoints
from benchmark.training.checkpoints import Checkpoint, CheckpointFacts
from benchmark.training.folder import WorkFolder, check_best, check_vocabulary
from benchmark.training.log import ANEW, Log, check_log
from benchmark.training.stages import is_validated, set_trainable, stage_of
from benchmark.training.trainer import Batches, EpochTrace, Trainer, TrainingDivergedError


@dataclass(frozen=True)
class TrainingResult:
    """The outcome of a finished training; the model holds the best weights."""

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
    weights_sha256: str
    """The sha256 of the file of the best weights, as it was when they were loaded."""
    devices: Sequence[str] = ()
    """The devices that it ran on, kind and name, one after the other."""


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
    lay_beside: Callable[[bool], None] | None = None,
) -> TrainingResult:
    """Move `model` to `device`, train it as `training` says and load its best weights.

    `make_batches(epoch)`: the batches of an epoch, equally many in each. `validate()`: metric name -> value of the
    model as it is. `recipe`: the recipe as JSON; a checkpoint of another one is refused, and what differs is named.
    `show_progress`: None shows the bar on a terminal only. `on_epoch` gets every new log entry: epoch, stage, steps,
    pairs, loss (mean), lr (first step), lr_last, losses (one a step), skipped_steps (float16 overflows), seconds,
    validation_seconds, validation (or null), best (whether this epoch is the best so far), and of several processes
    their number, communication_seconds and communication_bytes (of one process). `lay_beside(resumes)` writes the
    vocabulary beside the checkpoint, or checks it where a training goes on.

    Where several processes make the run, all call this; the first one alone touches files.

    Without `resume`, the files of an earlier run in `work_dir` move to `work_dir/previous`, and an interrupted one is
    spoken of. With it, the result is, bit for bit on the same machine, that of a run that was never stopped.

    Raises UserError for whatever a recipe or a file can have wrong, TrainingDivergedError for a loss that is not
    finite.
    """
    trainer = Trainer(model, training, loss_type, make_batches, device, show_progress)
    folder, first = WorkFolder(work_dir), trainer.processes.first
    said = trainer.processes.on_first(lambda: folder.prepare(resume))
    if said is not None and first:
        print(said, flush=True)
    run = _Run(trainer, folder, recipe_digest, json.loads(json.dumps(recipe or {})))
    resumed_from = run.begin(lay_beside)
    try:
        for epoch in range(run.epochs_done, training.epochs):
            entry = run.epoch(epoch, validate)
            if on_epoch is not None and first:
                on_epoch(entry)
    finally:
        set_trainable(model, trainer.free)
        trainer.optimizer.zero_grad(set_to_none=True)  # what is measured next has the memory to itself
    return run.result(resumed_from)


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


def _told(processes: Processes, trace: EpochTrace) -> dict[str, Any]:
    """Return the log's fields of an epoch that several processes made."""
    if trace.communication is None:
        return {}
    seconds, sent = trace.communication
    return {
        "processes": processes.size,
        "communication_seconds": round(seconds, 3),
        "communication_bytes": sent,
    }


class _Run:
    """A training in its folder: the epochs done, the best one, and the record of each epoch."""

    def __init__(self, trainer: Trainer, folder: WorkFolder, digest: str, recipe: dict[str, Any]) -> None:
        self.trainer, self.folder, self.digest, self.recipe = trainer, folder, digest, recipe
        self.epochs_done = 0
        self.best_epoch: int | None = None
        self.best_value: float | None = None
        self.best_sha256: str | None = None
        self.best_is_there = True
        self.vocabulary_sha256: str | None = None
        self.processes = trainer.processes
        each = "" if self.processes.alone else f" ({self.processes.size} processes)"
        self.devices = [f"{named_device(trainer.device)}{each}"]
        self.log = Log(folder.log)

    def begin(self, lay_beside: Callable[[bool], None] | None) -> int | None:
        """Take up the checkpoint where there is one, else begin anew; returns the epochs done.

        Every file is checked before the first is written.
        """

        def find() -> Checkpoint | None:
            state = self._checked() if self.folder.checkpoint.is_file() else None
            if lay_beside is not None:
                lay_beside(state is not None)
            return state

        self.processes.copy_state(self.trainer.model)
        state = self.processes.on_first(find)
        if state is not None:
            self._take_up(state)
        vocabulary = self.folder.vocabulary
        if self.processes.first:
            self.vocabulary_sha256 = sha256_file(vocabulary) if vocabulary.is_file() else None
        return None if state is None else self.epochs_done

    def _checked(self) -> Checkpoint:
        """The checkpoint; raises UserError where it, or a file beside it, is not what this training wrote."""
        path, trainer = self.folder.checkpoint, self.trainer
        state = checkpoints.load_checkpoint(path, self.digest, self.recipe)
        checkpoints.check_state(path, state.model, trainer.model)
        facts = state.facts
        counts = {
            "epochs": (facts.epochs, trainer.training.epochs),
            "step": (facts.step, facts.epochs_done * trainer.steps_per_epoch),
        }
        for name, (found, expected) in counts.items():
            if found != expected:
                raise UserError(
                    f"{path.as_posix()}: field '{name}': found {found}, expected {expected}; {ANEW}"
                )
        self.best_is_there = check_best(self.folder.best, facts)
        self.log = check_log(self.folder.log, facts.log_bytes, facts.log_sha256)
        check_vocabulary(self.folder.vocabulary, facts)
        return state

    def _take_up(self, state: Checkpoint) -> None:
        """Go on from a checkpoint: its state, the log cut to its length, the best weights."""
        trainer, facts, path = self.trainer, state.facts, self.folder.checkpoint
        try:
            trainer.optimizer.load_state_dict(state.optimizer)
            trainer.scaler.load_state_dict(state.scaler)
        except (ValueError, KeyError, RuntimeError, TypeError) as error:
            reason = " ".join(str(error).split())
            raise UserError(
                f"{path.as_posix()}: field 'optimizer': does not fit ({reason}); {ANEW}"
            ) from None
        trainer.model.load_state_dict(state.model)
        self.epochs_done = facts.epochs_done
        self.best_epoch, self.best_value = facts.best_epoch, facts.best_value
        self.best_sha256 = facts.best_sha256
        self.devices = [*facts.devices, *(now for now in self.devices if now != facts.devices[-1])]
        self.processes.on_first(self._mend)

    def _mend(self) -> None:
        """Put right what a kill left undone after the checkpoint was written."""
        path = self.folder.checkpoint
        if not self.best_is_there:
            content = self._best_bytes()
            if sha256_bytes(content) != self.best_sha256:
                raise UserError(f"{path.as_posix()}: field 'best_sha256': not of its own weights; {ANEW}")
            write_bytes(self.folder.best, content)
        self.log.cut()

    def finish(self) -> list[dict[str, Any]]:
        """Load the best weights and return the log; raises UserError where either is not what was written."""
        self._check_chosen()
        lines, self.best_sha256 = self.processes.on_first(self._finish)
        self.processes.copy_state(self.trainer.model)
        return lines

    def result(self, resumed_from: int | None) -> TrainingResult:
        """Finish the training, and return what it came to."""
        lines = self.finish()
        assert self.best_epoch is not None and self.best_sha256 is not None  # noqa: PT018
        return TrainingResult(
            best_epoch=self.best_epoch,
            best_value=self.best_value,
            epochs=self.trainer.training.epochs,
            log=lines,
            best_weights=self.folder.best,
            last_checkpoint=self.folder.checkpoint,
            wall_seconds=sum(line["seconds"] + line["validation_seconds"] for line in lines),
            resumed_from=resumed_from,
            weights_sha256=self.best_sha256,
            devices=self.devices,
        )

    def _finish(self) -> tuple[list[dict[str, Any]], str | None]:
        path = self.folder.best
        notes = checkpoints.load_weights(path, self.trainer.model)
        wanted = {"epoch": self.best_epoch, "recipe_digest": self.digest}
        if sha256_file(path) != self.best_sha256 or notes != wanted:
            raise UserError(
                f"{path.as_posix()}: found other weights than this training wrote, those of epoch "
                f"{notes.get('epoch')}, expected epoch {self.best_epoch}; {ANEW}"
            )
        return self.log.entries(), self.best_sha256

    def epoch(self, epoch: int, validate: Callable[[], dict[str, float]] | None) -> dict[str, Any]:
        """Train an epoch, validate, and write log line, checkpoint and best weights; returns the log entry."""
        self._enter(epoch)
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
            **_told(self.processes, trace),
        }
        self.epochs_done = epoch + 1
        if self.processes.first:
            self._write(entry, chosen=chosen)
        return entry

    def _write(self, entry: dict[str, Any], *, chosen: bool) -> None:
        """Write the log line, the checkpoint and, where they are the best ones, the weights."""
        before, content = self.best_sha256, self._best_bytes() if chosen else None
        if content is not None:
            self.best_sha256 = sha256_bytes(content)
        self.log.append(entry)
        self._save(before)
        if content is not None:
            write_bytes(self.folder.best, content)

    def _enter(self, epoch: int) -> None:
        """Set up the stage; the weights that one begins with must be those that were chosen."""
        plan, best = stage_of(self.trainer.plans, epoch), self.folder.best
        begins = plan.from_checkpoint and epoch == plan.first_epoch
        if begins:
            self._check_chosen()
        if begins and self.processes.first and sha256_file(best) != self.best_sha256:
            raise UserError(f"{best.as_posix()}: not the weights of epoch {self.best_epoch}; {ANEW}")
        self.trainer.enter(epoch, best)

    def _validate(
        self, epoch: int, validate: Callable[[], dict[str, float]] | None
    ) -> dict[str, float] | None:
        if not is_validated(self.trainer.training, epoch):
            return None
        if validate is None:
            raise ValueError("a recipe that selects by a metric needs `validate`")
        self.trainer.model.eval()
        with torch.no_grad():
            values = {name: float(value) for name, value in validate().items()}
        return self.processes.of_first(values)

    def _choose(self, epoch: int, validation: dict[str, float] | None) -> bool:
        """Return True if this epoch is the best so far; equal values keep the earlier one.

        The value must be above 0, where the published programs begin: an epoch that retrieves nothing is never the
        best one.
        """
        select = self.trainer.training.select
        if select == "last":
            chosen = epoch == self.trainer.training.epochs - 1
        elif validation is None:
            return False
        else:
            value = validation[select]
            if not math.isfinite(value):
                raise TrainingDivergedError(f"epoch {epoch}: the validation value '{select}' is {value}")
            chosen = value > (self.best_value or 0.0)
            self.best_value = value if chosen else self.best_value
        if chosen:
            self.best_epoch = epoch
        return chosen

    def _check_chosen(self) -> None:
        """Raise TrainingDivergedError where validation has chosen no epoch yet."""
        if self.best_epoch is None:
            raise TrainingDivergedError(
                f"no validated epoch has a '{self.trainer.training.select}' above 0, so none is the best one; "
                "'training.select: last' keeps the last weights instead"
            )

    def _save(self, best_before: str | None) -> None:
        trainer = self.trainer
        facts = CheckpointFacts(
            epochs=trainer.training.epochs,
            epochs_done=self.epochs_done,
            step=self.epochs_done * trainer.steps_per_epoch,
            best_epoch=self.best_epoch,
            best_value=self.best_value,
            best_sha256=self.best_sha256,
            best_before_sha256=best_before,
            log_bytes=self.log.size,
            log_sha256=self.log.sha256,
            vocabulary_sha256=self.vocabulary_sha256,
            devices=self.devices,
            recipe_digest=self.digest,
            recipe=self.recipe,
        )
        checkpoint = Checkpoint(
            model=trainer.model.state_dict(),
            optimizer=trainer.optimizer.state_dict(),
            scaler=trainer.scaler.state_dict(),
            facts=facts,
        )
        checkpoints.save_checkpoint(self.folder.checkpoint, checkpoint)

    def _best_bytes(self) -> bytes:
        """The weights as they are, as the best ones."""
        notes = {"epoch": self.best_epoch, "recipe_digest": self.digest}
        return checkpoints.weight_bytes(self.trainer.model, notes)
