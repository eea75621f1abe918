"""Timings as sheets: the latency of a model, the speed of scoring, ranking, training steps, loading pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from benchmark.reporting.sheet import NONE, Column, Sheet, make_sheet
from benchmark.timing.detector import DetectorSpeed
from benchmark.timing.loading import SpeedRow
from benchmark.timing.model import LatencyReport
from benchmark.timing.scoring import RankRow, ScoringRow
from benchmark.timing.training import TrainingRow


def latency_sheet(report: LatencyReport, model: str) -> Sheet:
    """Each operation of a model with its times; the notes say how they were measured."""
    times = [Column(f"{name}_ms", name, unit="ms", spec=".3f") for name in ("median", "p95")]
    speed = Column("items_per_second", "items/s", spec=",.0f")
    rows = [
        (model, stage.name, stage.batch, stage.median_ms, stage.p95_ms, stage.items_per_second)
        for stage in report.stages
    ]
    memory = f"peak memory {report.peak_memory_bytes / 2**20:,.0f} MiB"
    note = f"{report.parameters:,} parameters, {memory}; {report.method}"
    where = f"{report.hardware} ({report.device}, {report.threads} threads, {report.precision})"
    heads: list[Column | str] = ["model", "operation", "batch", *times, speed]
    return make_sheet(f"latency on {where}", heads, rows, left=2, notes=[note])


def scoring_sheet(rows: Iterable[ScoringRow], title: str, notes: Sequence[str] = ()) -> Sheet:
    """Each case: the published loop, the fast code, and how far both are from the floor and from each other."""
    times = [Column(f"{name}_ms", name, unit="ms", spec=".1f") for name in ("loop", "fast")]
    ratios = [Column("ratio", "times as fast", spec=".2f"), Column("over_floor", "time / floor", spec=".2f")]
    difference = Column("difference", "largest difference", spec=".1e")
    values = [
        (row.name, row.form, 1e3 * row.naive, 1e3 * row.fast, row.ratio, row.over_floor, row.difference)
        for row in rows
    ]
    return make_sheet(title, ["case", "form", *times, *ratios, difference], values, left=2, notes=notes)


def detector_sheet(speed: DetectorSpeed, title: str) -> Sheet:
    """The detector in each form beside the recorded way, with pictures a second and the peak of memory."""
    rates = [f"{row.form}: {speed.pictures / row.fast:.3g} images/s" for row in speed.rows]
    memory = f"peak memory of ours {speed.peak_bytes / 2**20:,.0f} MiB ({speed.memory})"
    return scoring_sheet(speed.rows, title, [*rates, memory])


TRAINING = {
    "published_ms": Column("published_ms", "published", unit="ms", spec=",.0f"),
    "own_ms": Column("own_ms", "ours", unit="ms", spec=",.0f"),
    "times_published": Column("times_published", "times as fast", spec=".2f"),
    "published_mb": Column("published_mb", "published", unit="MB", spec=",.0f", missing=NONE),
    "own_mb": Column("own_mb", "ours", unit="MB", spec=",.0f", missing=NONE),
    "memory_over_published": Column("memory_over_published", "memory / published", spec=".2f", missing=NONE),
    "over_floor": Column("over_floor", "time / floor", spec=".2f"),
}
"""The columns of numbers of `training_sheet`."""


def training_sheet(rows: Iterable[TrainingRow], title: str) -> Sheet:
    """Each case: a step the published way, ours, and how far ours is from the floor."""
    values = [
        (f"{row['case']}{'*' if row['extrapolated'] else ''}", row["batch"], *(row[key] for key in TRAINING))
        for row in map(training_case, rows)
    ]
    note = "* the published way does not fit: extrapolated from a quarter and half of the batch"
    heads: list[Column | str] = ["case", "batch", *TRAINING.values()]
    return make_sheet(title, heads, values, notes=[note] if any("*" in str(row[0]) for row in values) else [])


def training_case(row: TrainingRow) -> dict[str, Any]:
    """The case as JSON has it; memory is that of a step above what is there before it."""
    published, own = (None if peak is None else peak / 2**20 for peak in (row.published_peak, row.own_peak))
    return {
        "case": row.name,
        "batch": row.batch,
        "published_ms": 1e3 * row.published,
        "own_ms": 1e3 * row.own,
        "times_published": row.times_published,
        "published_mb": published,
        "own_mb": own,
        "memory_over_published": row.memory_over_published,
        "over_floor": row.over_floor,
        "extrapolated": row.extrapolated,
    }


def rank_sheet(rows: Iterable[RankRow]) -> Sheet:
    """The time to rank in both directions, by the size of the matrix."""
    heads: list[Column | str] = ["images", "captions", Column("seconds", "time", unit="s", spec=".3f")]
    values = [(row.n_images, row.n_captions, row.seconds) for row in rows]
    return make_sheet("ranks in both directions", heads, values, left=0)


def speed_sheet(rows: Iterable[SpeedRow]) -> Sheet:
    """Pictures a second by step and number of loader processes."""
    rates = [
        Column("rate", "images/s", spec=".0f"),
        Column("rate_per_worker", "images/s per worker", spec=".0f"),
    ]
    time = Column("ms_per_image", "ms per image and worker", spec=".2f")
    values = [
        (row.step, row.workers, row.images, row.rate, row.rate_per_worker, 1000 / row.rate_per_worker)
        for row in rows
    ]
    return make_sheet("pictures a second", ["step", "workers", "images", *rates, time], values)
