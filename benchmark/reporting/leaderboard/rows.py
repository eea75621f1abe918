"""The leaderboard: run records in, rows with the paper's value, ours, the difference and a verdict out.

A row is one run over its seeds. Rows share a group only where their signatures are the same; runs that are
not the paper's set-up, and ensembles, stand in groups of their own.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from benchmark.errors import UserError
from benchmark.files import sha256_bytes
from benchmark.records.paper import PAPER, ReportedProtocol, ReportedRow, find_row
from benchmark.records.record import RunRecord
from benchmark.statistics.verdict import Verdict, Z, judge


@dataclass(frozen=True)
class Row:
    """One run under one protocol, over its seeds."""

    name: str
    """The run's name; with a digest where runs of that name differ in more than the seed."""
    variant: str
    protocol: str
    records: tuple[RunRecord, ...]
    """The records by seed."""
    paper: ReportedRow | None
    """The paper's row; None: its values are unknown."""
    departures: tuple[str, ...]

    @property
    def seeds(self) -> list[int]:
        return [record.seed for record in self.records]

    def values(self, metric: str) -> list[float]:
        """The metric of each seed."""
        return [record.results[self.protocol].metrics.value(metric) for record in self.records]

    def mean(self, metric: str) -> float:
        return statistics.fmean(self.values(metric))

    def spread(self, metric: str) -> float | None:
        """Standard deviation over the seeds (n - 1); None for one seed."""
        return statistics.stdev(self.values(metric)) if len(self.records) > 1 else None

    def bounds(self, metric: str) -> tuple[float, float] | None:
        """The seeds' bootstrap intervals, bounds averaged; None where a seed has none."""
        found = [record.results[self.protocol].intervals.get(metric) for record in self.records]
        intervals = [interval for interval in found if interval is not None]
        if len(intervals) < len(found):
            return None
        low, high = ([getattr(interval, side) for interval in intervals] for side in ("low", "high"))
        return statistics.fmean(low), statistics.fmean(high)

    @property
    def headline(self) -> str:
        """The metric that the verdict is about: rsum, or where the paper gives no rsum the mean R@1."""
        return "rsum" if self.paper is None or self.paper.rsum is not None else "mean_r1"

    @property
    def paper_value(self) -> float | None:
        """The paper's headline value."""
        return None if self.paper is None else self.paper.value(self.headline)

    @property
    def difference(self) -> float | None:
        """Our value less the paper's; None where one is unknown or the two cannot be compared."""
        if self.departures or self.paper_value is None:
            return None
        return self.mean(self.headline) - self.paper_value

    @property
    def query_ms(self) -> float | None:
        """Median time to score one caption against the gallery, over the seeds that measured it."""
        times = [
            stage.median_ms
            for record in self.records
            if record.latency is not None
            for stage in record.latency.stages
            if (stage.name, stage.batch) == ("score query t2i", 1)
        ]
        return statistics.median(times) if times else None

    @property
    def test_noise(self) -> float | None:
        """Standard deviation of the headline metric over draws of test images; None where no interval has it.

        Records hold no interval of mean R@1; the mean of both R@1s' is an upper bound of its noise.
        """
        metrics = ("i2t_r1", "t2i_r1") if self.headline == "mean_r1" else (self.headline,)
        bounds = [found for found in map(self.bounds, metrics) if found is not None]
        if len(bounds) < len(metrics):
            return None
        return statistics.fmean((high - low) / (2 * Z) for low, high in bounds)

    @property
    def judgement(self) -> Verdict:
        """The judgement of the seeds on the paper's headline value (statistics/verdict.py)."""
        return judge(
            self.values(self.headline),
            self.paper_value,
            test_noise=self.test_noise,
            departures=self.departures,
            metric=self.headline,
        )

    @property
    def verdict(self) -> str:
        """The judgement in a few words."""
        return self.judgement.text


@dataclass(frozen=True)
class Group:
    """Rows whose numbers may stand in one column."""

    protocol: str
    signature: str
    comparable: bool
    ensemble: bool
    rows: tuple[Row, ...]
    """Best rsum first."""

    @property
    def title(self) -> str:
        kind = "ensembles" if self.ensemble else "single models"
        place = "The papers' set-up" if self.comparable else "Not comparable with the papers"
        return f"{place}: {kind}"


def leaderboard(records: Sequence[RunRecord], paper_dir: Path = PAPER) -> list[Group]:
    """All groups, by protocol, the papers' set-up first, single models before ensembles.

    Raises UserError where a record's `paper_row` names no variant of the paper.
    """
    rows: dict[tuple[str, ...], list[RunRecord]] = {}
    for record in records:
        for protocol in record.results:
            rows.setdefault((protocol, *_identity(record, protocol)), []).append(record)
    names = [(key[0], found[0].run) for key, found in rows.items()]
    groups: dict[tuple[str, bool, bool, str], list[Row]] = {}
    for key, found in rows.items():
        first, protocol = found[0], key[0]
        double = names.count((protocol, first.run)) > 1
        row = Row(
            name=f"{first.run} ({sha256_bytes(repr(key).encode())[:6]})" if double else first.run,
            variant=first.paper_row.variant,
            protocol=protocol,
            records=tuple(sorted(found, key=lambda record: record.seed)),
            paper=_reported(first, protocol, paper_dir),
            departures=tuple(_departures(first, protocol)),
        )
        place = (protocol, bool(row.departures), bool(first.members), first.results[protocol].signature)
        groups.setdefault(place, []).append(row)
    return [
        Group(protocol, signature, not departs, ensemble, tuple(sorted(found, key=_order)))
        for (protocol, departs, ensemble, signature), found in sorted(groups.items())
    ]


def _identity(record: RunRecord, protocol: str) -> list[str]:
    """Return the facts that two records must share to be seeds of one row."""
    members = [member.run + member.recipe_digest for member in record.members]
    parts = [record.run, record.method, record.recipe_digest, record.weights, record.codec, *members]
    paper = [record.paper_row.method, record.paper_row.variant]
    return [*parts, *paper, record.results[protocol].signature, *record.departures]


def _reported(record: RunRecord, protocol: str, paper_dir: Path) -> ReportedRow | None:
    """The paper's row that a record answers to."""
    try:
        return find_row(record.paper_row.method, record.paper_row.variant, protocol, paper_dir)
    except UserError as error:
        raise UserError(f"{record.path.as_posix()}: {error}") from None


def _departures(record: RunRecord, protocol: str) -> list[str]:
    """The record's reasons, and that no paper reports the protocol."""
    if protocol in get_args(ReportedProtocol) or record.departures:
        return record.departures
    return [f"no paper reports {protocol}"]


def _order(row: Row) -> tuple[float, str]:
    return -row.mean("rsum"), row.name
