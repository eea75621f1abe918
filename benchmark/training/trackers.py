"""Trackers: where the epochs of a training are shown beside its own log: TensorBoard, Trackio, Weights & Biases, JSON.

A tracker is told of each epoch once its log line is on disk. One that fails says so in one line and is not asked again;
the training goes on, and its record does not know of any.
"""

from __future__ import annotations

import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from benchmark.errors import UserError, nearest
from benchmark.memory import peak_bytes

TrackerName = Literal["tensorboard", "trackio", "wandb", "jsonl"]
TRACKERS: tuple[TrackerName, ...] = ("tensorboard", "trackio", "wandb", "jsonl")
PROJECT = "rematch"
"""The name of the project at trackers that have projects."""


@dataclass(frozen=True)
class Tracked:
    """A training as trackers know it."""

    name: str
    """`dataset/run/seed`."""
    folder: Path
    """Where trackers may write, one folder each."""
    recipe: Mapping[str, Any]
    """The recipe as resolved."""
    device: torch.device


class Tracker(ABC):
    """Takes the epochs of one training."""

    @abstractmethod
    def log(self, values: Mapping[str, float], epoch: int) -> None:
        """Take the values of an epoch, counted from 1."""

    @abstractmethod
    def close(self) -> None:
        """Write what is not written yet."""


class TensorBoardTracker(Tracker):
    """Event files for `tensorboard --logdir .rematch/logs/tensorboard`."""

    def __init__(self, training: Tracked) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer: Any = SummaryWriter(str(training.folder / "tensorboard" / training.name))
        self.writer.add_text("recipe", f"```json\n{json.dumps(training.recipe, indent=1)}\n```")

    def log(self, values: Mapping[str, float], epoch: int) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, epoch)
        self.writer.flush()

    def close(self) -> None:
        self.writer.close()


class ProjectTracker(Tracker):
    """Trackio, or Weights & Biases, whose functions have the same names."""

    def __init__(self, module: Any, training: Tracked, **more: Any) -> None:
        self.module = module
        module.init(project=PROJECT, name=training.name, config=dict(training.recipe), **more)

    def log(self, values: Mapping[str, float], epoch: int) -> None:
        self.module.log(dict(values), step=epoch)

    def close(self) -> None:
        self.module.finish()


class LineTracker(Tracker):
    """A JSON line an epoch, without the loss of each step that the training's own log has."""

    def __init__(self, training: Tracked) -> None:
        self.path = training.folder / "jsonl" / f"{training.name}.jsonl"
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def log(self, values: Mapping[str, float], epoch: int) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"epoch": epoch, **values}) + "\n")

    def close(self) -> None:
        """Nothing is left to write."""


def make_tracker(name: TrackerName, training: Tracked) -> Tracker:
    """Begin a tracker; raises whatever its library does."""
    if name == "tensorboard":
        return TensorBoardTracker(training)
    if name == "jsonl":
        return LineTracker(training)
    if name == "trackio":
        import trackio

        return ProjectTracker(trackio, training)
    import wandb

    training.folder.mkdir(parents=True, exist_ok=True)
    return ProjectTracker(wandb, training, dir=str(training.folder))  # in which it makes a folder `wandb`


def check_trackers(names: Sequence[str]) -> tuple[TrackerName, ...]:
    """Return the trackers that are asked for, each once; raises UserError for one that is unknown or not installed."""
    chosen: list[TrackerName] = []
    for name in dict.fromkeys(names):
        known = next((one for one in TRACKERS if one == name), None)
        if known is None:
            raise UserError(
                f"option '--log': found '{name}', expected {', '.join(TRACKERS)}{nearest(name, TRACKERS)}"
            )
        try:
            if known == "tensorboard":
                import tensorboard  # noqa: F401
            elif known == "trackio":
                import trackio  # noqa: F401
            elif known == "wandb":
                import wandb  # noqa: F401
        except ImportError:
            raise UserError(
                f"option '--log': {name} is not installed; uv pip install 'rematch-bench[{name}]' adds it"
            ) from None
        chosen.append(known)
    return tuple(chosen)


def say_on_stderr(line: str) -> None:
    """Print a warning beside a progress bar."""
    print(f"\n{line}", file=sys.stderr, flush=True)


def epoch_values(entry: Mapping[str, Any], memory: int) -> dict[str, float]:
    """Return the numbers of a log entry by name; memory: the most bytes that the training has held so far."""
    values = {
        "loss": float(entry["loss"]),
        "lr": float(entry["lr_last"]),
        "images_per_second": entry["pairs"] / max(entry["seconds"], 0.001),
        "seconds": float(entry["seconds"]),
        "validation_seconds": float(entry["validation_seconds"]),
        "skipped_steps": float(entry["skipped_steps"]),
        "memory_gib": memory / 2**30,
    }
    recalls = entry["validation"] or {}
    return values | {f"validation/{name}": float(value) for name, value in recalls.items()}


@dataclass
class Trackers:
    """Several trackers of one training; use as a context."""

    names: Sequence[TrackerName]
    training: Tracked
    warn: Callable[[str], None]
    """Takes the one line that is said of a tracker that failed."""
    running: dict[str, Tracker] = field(default_factory=dict)

    def __enter__(self) -> Trackers:
        for name in self.names:
            made = self._safely(name, lambda name=name: make_tracker(name, self.training))  # type: ignore[misc]
            if made is not None:
                self.running[name] = made
        return self

    def __exit__(self, *_fault: object) -> None:
        for name, tracker in list(self.running.items()):
            self._safely(name, tracker.close)

    def log(self, entry: Mapping[str, Any]) -> None:
        """Tell all trackers of an epoch's log entry."""
        for name, tracker in list(self.running.items()):
            values = epoch_values(entry, peak_bytes(self.training.device))
            self._safely(name, lambda t=tracker, v=values: t.log(v, int(entry["epoch"]) + 1))  # type: ignore[misc]

    def _safely(self, name: str, step: Callable[[], Any]) -> Any:
        try:
            return step()
        except Exception as error:  # a tracker is somebody else's code, and no training ends for it
            self.running.pop(name, None)
            reason = " ".join(str(error).split())[:160] or type(error).__name__
            self.warn(f"warning: {name} failed and gets no more epochs ({reason}); the training goes on")
            return None
