"""All run records as one pandas DataFrame, to sort, group and plot: one row a record and protocol.

`from benchmark.records.frame import frame; frame().groupby(["run", "protocol"])["rsum"].agg(["mean", "std"])`
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.places import RUNS
from benchmark.records.parts import METRICS
from benchmark.records.record import RunRecord, read_all

if TYPE_CHECKING:
    from pandas import DataFrame

IDENTITY = ("dataset", "protocol", "run", "method", "variant", "seed")
RANKS = tuple(f"{way}_{kind}_rank" for way in ("i2t", "t2i") for kind in ("median", "mean"))
BOUNDS = tuple(f"{name}_{side}" for name in METRICS for side in ("low", "high"))
STATUS = ("comparable", "departures", "reasons", "weights", "members", "images", "captions", "codec")
TRAINING = ("epochs", "best_epoch", "train_seconds")
STAGES = {
    "encode_image_ms": "encode image",
    "encode_caption_ms": "encode caption",
    "query_i2t_ms": "score query i2t",
    "query_t2i_ms": "score query t2i",
}
"""Median times of one item, by the name that a record has for the operation."""
LATENCY = (
    *STAGES,
    "parameters",
    "peak_memory_bytes",
    "latency_hardware",
    "latency_device",
    "latency_threads",
)
ORIGIN = ("score_precision", "device", "hardware", "version", "git_commit")
HASHES = ("recipe_digest", "signature", "canonical_hash")
COLUMNS = (*IDENTITY, *METRICS, *RANKS, *BOUNDS, *STATUS, *TRAINING, *LATENCY, *ORIGIN, *HASHES)
"""The columns of `frame`: recalls and rsum are in percent, `_low` and `_high` bound their bootstrap intervals,
`departures` counts the reasons against a comparison with the paper, which `reasons` names; a value that a record does
not have is missing."""


def frame(records: Sequence[RunRecord] | None = None, runs: Path = RUNS) -> DataFrame:
    """Make the frame of some records, or of all below `runs`, with those of an installed package.

    Raises UserError for a record at fault.
    """
    import pandas

    return pandas.DataFrame(frame_rows(records, runs), columns=list(COLUMNS))


def frame_rows(records: Sequence[RunRecord] | None = None, runs: Path = RUNS) -> list[dict[str, Any]]:
    """Make the rows of `frame` without pandas, whose import takes longer than a list of runs.

    Raises UserError for a record at fault.
    """
    found = read_all(runs, packaged=True) if records is None else records
    return [_row(record, protocol) for record in found for protocol in record.results]


def _row(record: RunRecord, protocol: str) -> dict[str, Any]:
    result = record.results[protocol]
    values: dict[str, Any] = {
        "dataset": record.dataset.name,
        "protocol": protocol,
        "run": record.run,
        "method": record.method,
        "variant": record.variant,
        "seed": record.seed,
        "comparable": record.comparable,
        "departures": len(record.departures),
        "reasons": "; ".join(record.departures),
        "weights": record.weights,
        "members": " + ".join(member.run for member in record.members),
        "images": result.images,
        "captions": result.captions,
        "codec": record.codec,
        "train_seconds": record.wall_seconds.get("train"),
        "score_precision": record.score_precision,
        "device": record.environment.device,
        "hardware": record.environment.device_name,
        "version": record.version,
        "git_commit": record.environment.git_commit,
        "recipe_digest": record.recipe_digest,
        "signature": result.signature,
        "canonical_hash": record.canonical_hash,
    }
    values |= {name: result.metrics.value(name) for name in METRICS}
    for way in ("i2t", "t2i"):
        side = getattr(result.metrics, way)
        values |= {f"{way}_{kind}_rank": getattr(side, f"{kind}_rank") for kind in ("median", "mean")}
    for name, interval in result.intervals.items():
        values |= {f"{name}_low": interval.low, f"{name}_high": interval.high}
    if record.training is not None:
        values |= {"epochs": record.training.epochs, "best_epoch": record.training.best_epoch}
    return values | _latency(record)


def _latency(record: RunRecord) -> dict[str, Any]:
    found = record.latency
    if found is None:
        return {}
    times = {stage.name: stage.median_ms for stage in found.stages if stage.batch == 1}
    values: dict[str, Any] = {key: times.get(name) for key, name in STAGES.items()}
    values |= {name: getattr(found, name) for name in ("parameters", "peak_memory_bytes")}
    return values | {f"latency_{name}": getattr(found, name) for name in ("hardware", "device", "threads")}
