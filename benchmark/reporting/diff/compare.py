"""Two sides in, their differences out: metrics, queries, training, latency, recipe and whatever else differs."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmark.errors import UserError
from benchmark.evaluation.ranking import Ranks
from benchmark.records.parts import Metrics
from benchmark.records.record import RunRecord
from benchmark.records.sidecar import Sidecar
from benchmark.records.signature import differences, parse
from benchmark.reporting.diff.queries import Items, QueryChanges, Retrieved, query_changes
from benchmark.reporting.diff.sides import Side

DIRECTION_FIELDS = ("r1", "r5", "r10", "median_rank", "mean_rank")
METRIC_NAMES = (
    *(f"{side}_{name}" for side in ("i2t", "t2i") for name in DIRECTION_FIELDS),
    "rsum",
    "mean_r1",
)
Value = float | int | str | bool | None


@dataclass(frozen=True)
class Change:
    """One quantity on both sides; numbers are means over the seeds that have it."""

    name: str
    old: Value
    new: Value
    old_sd: float | None = None
    """The standard deviation over the seeds, with n - 1 below; None for one seed."""
    new_sd: float | None = None

    @property
    def change(self) -> float | None:
        """The new value less the old; None where one is not a number."""
        if isinstance(self.old, bool) or isinstance(self.new, bool):
            return None
        if isinstance(self.old, int | float) and isinstance(self.new, int | float):
            return self.new - self.old
        return None


@dataclass(frozen=True)
class ProtocolDiff:
    """One protocol."""

    protocol: str
    signature: str
    metrics: tuple[Change, ...]
    queries: QueryChanges


@dataclass(frozen=True)
class RunDiff:
    """All differences of two sides."""

    old: str
    new: str
    old_seeds: tuple[int, ...]
    new_seeds: tuple[int, ...]
    same_hash: bool
    """The canonical hashes are equal: nothing but times, latency and environment can differ."""
    protocols: tuple[ProtocolDiff, ...]
    training: tuple[Change, ...]
    latency: tuple[Change, ...]
    """Medians in milliseconds, parameters, memory."""
    latency_differs_in: tuple[str, ...]
    """The differences between the measurements; if there are any, the changes are noise."""
    recipe: tuple[Change, ...]
    """Fields of the resolved recipe that differ, but for the seed."""
    other: tuple[Change, ...]
    """Whatever else differs: data, weights, departures, environment."""


def compare(old: Side, new: Side, *, most: int = 10, captions: Sequence[str] | None = None) -> RunDiff:
    """Compare two sides.

    most: how many of the queries to name; captions: (m,) the test split's texts, to name them with.
    Raises UserError, naming the fields, where signatures differ: such numbers have nothing to say to each other.
    """
    check_signatures(old, new)
    first_old, first_new = old.records[0], new.records[0]
    noise = tuple(_latency_context(first_old, first_new))
    return RunDiff(
        old=old.name,
        new=new.name,
        old_seeds=tuple(record.seed for record in old.records),
        new_seeds=tuple(record.seed for record in new.records),
        same_hash=[r.canonical_hash for r in old.records] == [r.canonical_hash for r in new.records],
        protocols=tuple(_protocol(old, new, name, most, captions) for name in first_old.results),
        training=tuple(_series(old.records, new.records, _training)),
        latency=tuple(_series(old.records, new.records, _latency)),
        latency_differs_in=noise,
        recipe=tuple(_differing(_recipe(first_old), _recipe(first_new))),
        other=tuple(_differing(_other(first_old), _other(first_new))),
    )


def check_signatures(old: Side, new: Side) -> None:
    """Raise UserError that names the fields in which signatures of the two sides differ."""
    a, b = old.records[0].results, new.records[0].results
    common = [name for name in a if name in b]
    pairs = [(name, a[name], b[name]) for name in common]
    if len(common) < max(len(a), len(b)):  # other protocols: other data, as their signatures say
        name, other = next(iter(a)), next(iter(b))
        pairs.append((name, a[name], b[other]))
    for name, left, right in pairs:
        one, two = parse(left.signature), parse(right.signature)
        fields = differences(one, two)
        if fields:
            said = ", ".join(f"{field} ({getattr(one, field)}, {getattr(two, field)})" for field in fields)
            raise UserError(
                f"{old.name} and {new.name}: not comparable: the signatures of {name} differ in {said}"
            )
    if len(common) < max(len(a), len(b)):
        raise UserError(
            f"{old.name} and {new.name}: not comparable: protocols {', '.join(a)} and {', '.join(b)}"
        )
    if _items(old.sidecars[0]) != _items(new.sidecars[0]):
        raise UserError(
            f"{old.name} and {new.name}: not comparable: their sidecars name other images or captions"
        )


def _items(sidecar: Sidecar) -> tuple[object, ...]:
    return sidecar.image_ids, sidecar.caption_ids_sha256, sidecar.caption_image.tolist()


# -------------------------------------------------------------------------------- metrics, queries


def _protocol(old: Side, new: Side, protocol: str, most: int, captions: Sequence[str] | None) -> ProtocolDiff:
    result = old.records[0].results[protocol]
    found = _series(old.records, new.records, lambda record: metric_values(record.results[protocol].metrics))
    sidecar = old.sidecars[0]
    changes = query_changes(
        [_retrieved(item, protocol) for item in old.sidecars],
        [_retrieved(item, protocol) for item in new.sidecars],
        Items(sidecar.image_ids, sidecar.caption_image),
        most=most,
        folds=len(result.folds),
        captions=captions,
    )
    return ProtocolDiff(protocol, result.signature, tuple(found), changes)


def metric_values(metrics: Metrics) -> dict[str, Value]:
    """Every metric by its flat name."""
    flat: dict[str, Value] = {}
    for name in METRIC_NAMES:
        side, _, field = name.partition("_")
        direct = side in ("i2t", "t2i") and field in DIRECTION_FIELDS
        flat[name] = float(getattr(getattr(metrics, side), field)) if direct else metrics.value(name)
    return flat


def _retrieved(sidecar: Sidecar, protocol: str) -> Retrieved:
    i2t, t2i = (ranks.astype(np.int64) for ranks in sidecar.ranks[protocol])
    return Retrieved(Ranks(i2t, t2i, 0.0, 0.0), sidecar.i2t_top[:, 0], sidecar.t2i_top[:, 0])


# --------------------------------------------------------------------------------------- the rest


def _series(
    old: Sequence[RunRecord], new: Sequence[RunRecord], values: Callable[[RunRecord], Mapping[str, Value]]
) -> Iterator[Change]:
    """Quantities of both sides, over their seeds, in the order in which they come up."""
    before, after = [values(record) for record in old], [values(record) for record in new]
    for name in dict.fromkeys(name for side in (before, after) for found in side for name in found):
        one, two = ([found[name] for found in side if name in found] for side in (before, after))
        (a, sd_a), (b, sd_b) = _over_seeds(one), _over_seeds(two)
        yield Change(name, a, b, sd_a, sd_b)


def _over_seeds(values: Sequence[Value]) -> tuple[Value, float | None]:
    """Return the mean and standard deviation of numbers; of anything else the distinct values."""
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if not values:
        return None, None
    if len(values) == 1:
        return values[0], None
    if len(numbers) == len(values):
        return statistics.fmean(numbers), statistics.stdev(numbers)
    return ", ".join(dict.fromkeys(str(value) for value in values)), None


def _training(record: RunRecord) -> dict[str, Value]:
    facts: dict[str, Value] = {}
    if record.training is not None:
        facts = dict(record.training.model_dump())
        facts["best_epoch"] = record.training.best_epoch + 1  # epochs count from 1, as on the report page
        losses = facts.pop("first_losses")
        assert isinstance(losses, list)
        if losses:
            facts |= {"first loss": losses[0], f"loss of step {len(losses)}": losses[-1]}
    return facts | {f"seconds, {name}": seconds for name, seconds in record.wall_seconds.items()}


def _latency(record: RunRecord) -> dict[str, Value]:
    found = record.latency
    if found is None:
        return {}
    stages: dict[str, Value] = {f"{s.name}, batch {s.batch}": s.median_ms for s in found.stages}
    return stages | {"parameters": found.parameters, "peak memory, bytes": found.peak_memory_bytes}


def _latency_context(old: RunRecord, new: RunRecord) -> Iterator[str]:
    """Yield the differences between two latency measurements in anything but their outcome."""
    if old.latency is None or new.latency is None:
        return
    for name in ("hardware", "device", "threads", "precision", "gallery", "method"):
        a, b = getattr(old.latency, name), getattr(new.latency, name)
        if a != b:
            yield name if name == "method" else f"{name} ({a}, {b})"


def _recipe(record: RunRecord) -> dict[str, Value]:
    flat = dict(_flat(record.recipe))
    return {name: value for name, value in flat.items() if name != "training.seed"}


def _other(record: RunRecord) -> dict[str, Value]:
    names = ("run", "method", "weights", "weights_sha256", "codec", "comparable", "block_plan", "notes")
    parts = (*names, "transform", "departures", "dataset", "environment")
    document = record.model_dump(mode="json")
    chosen = {name: document.get(name) for name in parts}
    chosen["members"] = {m.run: f"seed {m.seed}, {m.canonical_hash[:12]}" for m in record.members}
    return dict(_flat(chosen))


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Value]]:
    """Leaves with their dotted names; list places are numbers."""
    if isinstance(value, Mapping | list):
        entries = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, item in entries:
            yield from _flat(item, f"{name}.{key}" if name else str(key))
    else:
        yield name, value


def _differing(old: Mapping[str, Value], new: Mapping[str, Value]) -> Iterator[Change]:
    for name in dict.fromkeys([*old, *new]):
        if old.get(name, "") != new.get(name, "") or (name in old) != (name in new):
            yield Change(name, old.get(name), new.get(name))
