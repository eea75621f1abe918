"""The parts of a run record: metrics, data, training, latency. They are strict: reading returns the written values."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from benchmark.strict import LATER, Grown, Strict

RECALLS = ("i2t_r1", "i2t_r5", "i2t_r10", "t2i_r1", "t2i_r5", "t2i_r10")
METRICS = (*RECALLS, "rsum", "mean_r1")
"""Names of the numbers that tables, intervals and recipes speak of; all in percent."""
Percent = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
Percent6 = Annotated[float, Field(ge=0, le=600, allow_inf_nan=False)]
"""A recall, or the sum of six."""
Real = Annotated[float, Field(allow_inf_nan=False)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Fingerprint = Annotated[str, Field(pattern=r"^([0-9a-f]{64}|unknown)$")]
Count = Annotated[int, Field(ge=0)]


class Part(Strict):
    """A part of a record, without coercion, so that reading returns the written values."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Direction(Part):
    """One retrieval direction: recall at K in percent, ranks counted from 1."""

    r1: Percent
    r5: Percent
    r10: Percent
    median_rank: Annotated[float, Field(ge=1, allow_inf_nan=False)]
    mean_rank: Annotated[float, Field(ge=1, allow_inf_nan=False)]

    @model_validator(mode="after")
    def _monotone(self) -> Self:
        if not self.r1 <= self.r5 + 1e-9 <= self.r10 + 2e-9:
            raise ValueError(f"recalls fall with K: {self.r1}, {self.r5}, {self.r10}")
        return self


class Metrics(Part):
    """The metrics of both directions of one protocol or fold."""

    i2t: Direction
    t2i: Direction
    rsum: Annotated[float, Field(ge=0, le=600, allow_inf_nan=False)]

    @model_validator(mode="after")
    def _sum(self) -> Self:
        total = sum(self.value(name) for name in RECALLS)
        if abs(total - self.rsum) > 1e-6:
            raise ValueError(f"rsum is {self.rsum}, the six recalls add up to {total}")
        return self

    def value(self, name: str) -> float:
        """One of METRICS by name; `mean_r1` is the mean of the two directions' R@1."""
        if name == "rsum":
            return self.rsum
        if name == "mean_r1":
            return (self.i2t.r1 + self.t2i.r1) / 2
        direction, recall = name.split("_")
        return float(getattr(getattr(self, direction), recall))


class Interval(Part):
    """Bootstrap interval over images."""

    low: Real
    high: Real


class ProtocolRecord(Part, Grown):
    """The outcome of one protocol: the mean over its folds, each fold, and how sure the numbers are."""

    images: Annotated[int, Field(ge=1)]
    captions: Annotated[int, Field(ge=1)]
    metrics: Metrics
    folds: list[Metrics] = Field(min_length=1)
    """One entry a fold; a protocol without folds has one."""
    intervals: dict[Literal[METRICS], Interval]  # type: ignore[valid-type]
    interval_method: str
    """`95 % percentile bootstrap over images, 1000 resamples, seed 0`."""
    ties_i2t: Annotated[float, Field(ge=0, le=1)]
    """Share of queries whose rank the tie rule decided."""
    ties_t2i: Annotated[float, Field(ge=0, le=1)]
    tie_rule: Literal["lower_index", "pessimistic"]
    signature: str
    chance: Annotated[dict[str, Percent6] | None, LATER] = None
    """The scores of a random order, by metric, where the protocol has it beside the recalls."""

    @model_validator(mode="after")
    def _mean_of_folds(self) -> Self:
        for name in METRICS:
            mean = sum(fold.value(name) for fold in self.folds) / len(self.folds)
            if abs(mean - self.metrics.value(name)) > 1e-6:
                raise ValueError(f"{name} is {self.metrics.value(name)}, the mean of the folds is {mean}")
        return self


class SplitFacts(Part):
    """Size and content of one split."""

    images: Count
    captions: Count
    fingerprint: Fingerprint
    """The sha256 of the split alone: the test split's is part of the signature, whatever else was loaded."""


class DatasetFacts(Part, Grown):
    """The data as used."""

    name: str
    revision: str | None
    source: str
    fingerprint: Fingerprint
    """The sha256 of all splits that were loaded; `unknown` of scores from elsewhere."""
    splits: dict[str, SplitFacts]
    options: dict[str, int | float | str | bool | None]
    captions_per_image: Annotated[int, Field(ge=1)]
    every_caption: Annotated[bool, LATER] = False
    """True where all captions of an image were used; `captions_per_image` is then the most that one has."""

    @property
    def captions_each(self) -> int | None:
        """The number of captions of an image that were used; None: all."""
        return None if self.every_caption else self.captions_per_image

    features: Annotated[str | None, LATER] = None
    """The maker of region features that the project's detector made, as the signature names it; None: it made none."""


class Member(Part, Grown):
    """A model of an ensemble: its run at the same dataset."""

    run: str
    seed: int
    recipe_digest: Sha256
    canonical_hash: Sha256
    departures: list[str]
    compiled: Annotated[Literal["training"] | None, LATER] = None
    """The mark of its signature."""


class TrainingSummary(Part):
    """The course of a training; the whole log is in the sidecar."""

    epochs: Annotated[int, Field(ge=1)]
    best_epoch: Count
    best_value: Real | None
    """Validation value of the best epoch, in percent; None where the last epoch is taken."""
    selected_by: str
    first_losses: list[Real] = Field(max_length=20)
    """Losses of the first 20 optimiser steps."""
    final_loss: Real
    """Mean loss of the last epoch."""


class LatencyStage(Part):
    """One timed operation, in milliseconds a call."""

    name: str
    """`encode image`, `encode caption`, `score query`, `rank`."""
    batch: Annotated[int, Field(ge=1)]
    warmup: Count
    repeats: Annotated[int, Field(ge=1)]
    median_ms: Annotated[float, Field(ge=0)]
    p95_ms: Annotated[float, Field(ge=0)]
    items_per_second: Annotated[float, Field(ge=0)]


class Latency(Part):
    """Speed, with how and where it was measured."""

    method: str
    hardware: str
    device: str
    threads: Annotated[int, Field(ge=1)]
    precision: str
    gallery: Annotated[int, Field(ge=1)]
    """Items a query is scored against."""
    peak_memory_bytes: int | None
    parameters: Count
    stages: list[LatencyStage] = Field(min_length=1)
