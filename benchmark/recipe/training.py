"""The part of a recipe between the initial weights and the last checkpoint: optimiser, schedules, stages."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_serializer, model_validator

from benchmark.errors import UserError
from benchmark.strict import LATER, Grown, Seed, Strict

Metric = Literal["rsum", "r1_sum", "i2t_r1", "t2i_r1"]
"""The values that a best checkpoint is chosen by; `r1_sum` is R@1(i2t) + R@1(t2i), in percent."""


class ParameterGroup(Strict):
    """Parameters with a learning rate, or a weight decay, of their own."""

    parameters: list[str] = Field(min_length=1)
    """Globs over parameter names; a parameter is in the first group that has it."""
    lr_factor: float = Field(default=1.0, gt=0)
    """Their learning rate is this times that of the schedule."""
    weight_decay: float | None = Field(default=None, ge=0)
    """The weight decay of the group; None means the optimiser's."""


class Optimizer(Grown):
    """The optimiser of the parameters; frozen ones get no update because they get no gradient."""

    name: Literal["adam", "adamw", "sgd"]
    lr: float = Field(gt=0)
    betas: tuple[float, float] = (0.9, 0.999)
    """The decay rates of Adam and AdamW's averages; SGD has neither these nor `eps`."""
    eps: float = 1e-8
    momentum: Annotated[float | None, LATER] = Field(default=None, ge=0, lt=1)
    """The momentum of SGD; None means 0."""
    nesterov: Annotated[bool | None, LATER] = None
    """True where SGD takes Nesterov's momentum; None means false."""
    weight_decay: float = 0.0
    clip_norm: float | None = None
    """The largest norm of all gradients together; None means no clipping."""
    groups: Annotated[list[ParameterGroup] | None, LATER] = None
    """The parts with a learning rate of their own; None means all parameters alike."""

    @model_validator(mode="after")
    def _of_this_kind(self) -> Self:
        foreign = {"sgd": ("betas", "eps")}.get(self.name, ("momentum", "nesterov"))
        for field in foreign:
            if field in self.model_fields_set:
                raise UserError(f"field 'training.optimizer.{field}': {self.name} has none; leave it out")
        return self

    @model_serializer(mode="wrap")
    def _of_its_kind(self, dump: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        document = self._without_later(dump)
        unread = ("betas", "eps") if self.name == "sgd" else ()
        return {key: value for key, value in document.items() if key not in unread}


class BaseSchedule(Strict):
    """Learning rates as a pure function of where training stands, so that a resumed run cannot be off by one.

    Epochs and steps count from 0 and run on across stages, but for a stage with a schedule of its own.
    """

    def factor(self, epoch: int, step: int, total_steps: int) -> float:  # noqa: ARG002
        """Return the learning rate of optimiser step `step` in `epoch`, as a multiple of the base."""
        return 1.0

    def check_steps(self, total_steps: int, where: str = "training.schedule") -> None:
        """Raise UserError where the schedule at `where` does not fit into the steps of training."""


class ConstantSchedule(BaseSchedule):
    """The same lr from the first step to the last; `schedule: constant` is short for it."""

    name: Literal["constant"]


class StepSchedule(BaseSchedule):
    """The rate lr * gamma ** floor(epoch / every); epochs from 0, running on across stages."""

    name: Literal["step"]
    every: int = Field(ge=1)
    gamma: float = Field(gt=0)

    def factor(self, epoch: int, step: int, total_steps: int) -> float:  # noqa: ARG002
        """Return the decay of the epoch."""
        return float(self.gamma ** (epoch // self.every))


class MilestoneSchedule(BaseSchedule):
    """The rate lr * gamma ** (number of the epochs in `at` that have begun)."""

    name: Literal["milestones"]
    at: list[Annotated[int, Field(ge=1)]] = Field(min_length=1)
    gamma: float = Field(gt=0)

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if any(late <= early for early, late in zip(self.at, self.at[1:], strict=False)):
            raise UserError(f"field 'training.schedule.at': found {self.at}, expected rising epochs")
        return self

    def factor(self, epoch: int, step: int, total_steps: int) -> float:  # noqa: ARG002
        """Return the decay of the epoch."""
        return float(self.gamma ** sum(epoch >= begin for begin in self.at))


class CosineSchedule(BaseSchedule):
    """Linear warm-up over `warmup_steps`, then half a cosine down to `floor` * lr at the last step."""

    name: Literal["cosine"]
    warmup_steps: int = Field(default=0, ge=0)
    floor: float = Field(default=0.0, ge=0, le=1)

    def factor(self, epoch: int, step: int, total_steps: int) -> float:  # noqa: ARG002
        """Return 1/warmup, 2/warmup, ..., 1, then half a cosine from 1 (first step after) to `floor` (last step)."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        rest = total_steps - 1 - self.warmup_steps
        done = (step - self.warmup_steps) / rest if rest > 0 else 1.0
        return self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * done))

    def check_steps(self, total_steps: int, where: str = "training.schedule") -> None:
        """Raise UserError where the warm-up would not end before training, or the stage at `where`, does."""
        if self.warmup_steps >= total_steps:
            raise UserError(
                f"field '{where}.warmup_steps': found {self.warmup_steps}, "
                f"expected less than the {total_steps} steps of this training"
            )


def _by_name(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


Schedule = Annotated[
    ConstantSchedule | StepSchedule | MilestoneSchedule | CosineSchedule,
    Field(discriminator="name"),
    BeforeValidator(_by_name),
]


class Stage(Grown):
    """Consecutive epochs with the same settings."""

    epochs: int = Field(ge=1, le=100_000)
    loss: dict[str, Any] = {}
    """The settings of the method's objective, checked against its own schema."""
    trainable: list[str] = ["*"]
    """Globs over parameter names; the rest has requires_grad=False and nothing else."""
    frozen: list[str] = []
    """Globs taken out of `trainable`."""
    optimizer: Literal["keep", "reset"] = "keep"
    start_from: Literal["previous", "checkpoint"] = "previous"
    """`checkpoint`: begin with the best weights so far."""
    schedule: Annotated[Schedule | None, LATER] = None
    """The stage's own schedule, with epochs and steps from its first; None means the training's, running on."""


UNTRAINED = "none"
"""The word for no training in a recipe: weights that were made elsewhere are evaluated as they are."""
KEPT = ("seed", "stages", "workers")
"""The fields that are left of a training where there is none."""


class Untrained(Strict):
    """What a recipe may say beside `stages: []`."""

    seed: Seed = 0
    stages: list[Stage] = Field(default=[], max_length=0)
    workers: int = Field(default=0, ge=0, le=1024)


class Training(Grown):
    """Everything between the initial weights and the last checkpoint."""

    seed: Seed = 0
    batch_size: int = Field(ge=2, le=100_000)
    precision: Literal["float32", "float16", "bfloat16"] = "float32"
    """float16: autocast with a loss scaler that starts at 65536; bfloat16: autocast."""
    compile: Annotated[bool, LATER] = False
    """True: torch.compile compiles the parts that the method names, for training alone; results differ by rounding."""
    optimizer: Optimizer
    schedule: Schedule
    stages: list[Stage] = Field(min_length=1)
    pair_budget_mb: int | None = Field(default=None, le=2**24)
    """The memory for temporary pair tensors; over it the objective works in chunks. None means no limit."""
    workers: int = Field(default=0, ge=0, le=1024)
    """The number of loader processes; they change speed, never results."""
    validate_from_epoch: int = Field(default=0, ge=0)
    """The first epoch (from 0) that is validated."""
    validate_every: int = Field(default=1, ge=1)
    select: Metric | Literal["last"] = "rsum"
    """The validation value that chooses the best checkpoint; `last`: the last epoch, without validation."""

    @model_validator(mode="wrap")
    @classmethod
    def _none(cls, value: Any, handler: Callable[[Any], Training]) -> Training:
        """Read `none`, and how it is recorded, as no training at all."""
        given = {"stages": []} if value == UNTRAINED else value
        if isinstance(given, dict) and given.get("stages") == [] and set(given) <= {*KEPT}:
            return cls._untrained(given)
        return handler(value)

    @classmethod
    def _untrained(cls, given: dict[str, Any]) -> Training:
        """Make the training of weights that are taken as they are; it has no batches and no optimiser."""
        plain = Untrained.model_validate(given)
        return cls.model_construct(_fields_set={*KEPT}, **dict(plain))

    @model_serializer(mode="wrap")
    def _if_any(self, dump: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        return self._without_later(dump) if self.stages else {name: getattr(self, name) for name in KEPT}

    @property
    def epochs(self) -> int:
        return sum(stage.epochs for stage in self.stages)
