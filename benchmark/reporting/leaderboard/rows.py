"""The leaderboard: run records in, rows with the paper's value, ours, the difference and a verdict out.

A row is one run over its seeds. Rows share a table where they were scored on the same test split under the same rules;
what a method reads, the precision of its scores and the number of its models are told in the row.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from benchmark.errors import UserError
from benchmark.files import sha256_bytes
from benchmark.places import PAPER
from benchmark.records.paper import ReportedRow, find_paper, find_row, reported_protocols
from benchmark.records.record import RunRecord
from benchmark.records.signature import Signature, parse
from benchmark.statistics.verdict import Verdict, Z, judge

INPUTS = re.compile(r"(regions|guides) of '(\w+)': (.*) \(identity \w+\)")
"""A record's note about vectors that a model reads in place of pixels, or beside them."""
INPUT_NAMES = {"regions": "region features", "guides": "image vectors"}
TRAINING_OPTIONS = ("n_train", "n_val", "restval")
"""Options of a dataset that leave its test split as it is."""


@dataclass(frozen=True)
class Row:
    """One run under one protocol, over its seeds."""

    name: str
    """The run's name; with a digest where runs of that name differ in more than the seed."""
    variant: str
    """The paper's name of the row that the run answers to."""
    protocol: str
    records: tuple[RunRecord, ...]
    """The records by seed."""
    paper: ReportedRow | None
    """The paper's row; None: its values are unknown."""
    departures: tuple[str, ...]
    title: str = ""
    """The method and its variant as the tables call them."""

    @property
    def method(self) -> str:
        """The method's registered name."""
        return self.records[0].method

    @property
    def comparable(self) -> bool:
        """True where the run is the paper's set-up."""
        return not self.departures

    @property
    def models(self) -> int:
        """The number of models whose similarities are averaged."""
        return max(1, len(self.records[0].members))

    @property
    def signature(self) -> str:
        """The signature line that all seeds share."""
        return self.records[0].results[self.protocol].signature

    @property
    def inputs(self) -> tuple[tuple[str, str], ...]:
        """Kind and description of the vectors that the models read in place of pixels, or beside them."""
        first = self.records[0]
        notes = [INPUTS.fullmatch(note) for note in first.notes]
        return tuple((note[1], note[3]) for note in notes if note is not None and note[2] == first.split)

    @property
    def reads(self) -> str:
        """The kind of the models' input: pixels, or vectors of regions, and vectors that guide these."""
        if self.records[0].weights == "elsewhere":
            return "unknown"
        return " + ".join(kind for kind, _ in self.inputs) or "pixels"

    @property
    def features(self) -> str:
        """The models' input in full."""
        if self.records[0].weights == "elsewhere":
            return self.method
        return " and ".join(f"{INPUT_NAMES[kind]} ({text})" for kind, text in self.inputs) or "pixels"

    @property
    def chance(self) -> dict[str, float] | None:
        """The scores of a random order, by metric, where the protocol has them beside."""
        return self.records[0].results[self.protocol].chance

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

    @cached_property
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
    """Rows of one table: the same test split under the same rules."""

    protocol: str
    rows: tuple[Row, ...]
    """Best rsum first."""

    @property
    def signature(self) -> str:
        """The rows' signature, with `*` in the fields in which they differ."""
        found = [parse(row.signature).told() for row in self.rows]
        names = dict.fromkeys(name for item in found for name in item)
        fields = {name: {item.get(name, "") for item in found} for name in names}
        return "|".join(
            f"{name}:{values.pop() if len(values) == 1 else '*'}" for name, values in fields.items()
        )

    @property
    def chance(self) -> dict[str, float] | None:
        """The scores of a random order on the test split, by metric, where the protocol has them beside."""
        return self.rows[0].chance

    @property
    def size(self) -> str:
        """The test split in words."""
        first = parse(self.rows[0].signature)
        folds = f", {first.folds} folds" if first.folds > 1 else ""
        return f"{first.split} split of {first.images:,} images, {first.captions:,} captions{folds}"


def leaderboard(records: Sequence[RunRecord], paper_dir: Path = PAPER) -> list[Group]:
    """All groups, by protocol, the largest first.

    Raises UserError where a record's `paper_row` names no variant of the paper.
    """
    rows: dict[tuple[str, ...], list[RunRecord]] = {}
    for record in records:
        for protocol in record.results:
            rows.setdefault((protocol, *_identity(record, protocol)), []).append(record)
    names = [(key[0], found[0].run) for key, found in rows.items()]
    made: dict[str, list[Row]] = {}
    for key, found in rows.items():
        first, protocol = found[0], key[0]
        double = names.count((protocol, first.run)) > 1
        row = Row(
            name=f"{first.run} ({sha256_bytes(repr(key).encode())[:6]})" if double else first.run,
            variant=first.variant,
            protocol=protocol,
            records=tuple(sorted(found, key=lambda record: record.seed)),
            paper=_reported(first, protocol, paper_dir),
            departures=tuple(_departures(first, protocol, paper_dir)),
            title=row_title(first.method, first.recipe_path, first.variant, paper_dir),
        )
        made.setdefault(protocol, []).append(row)
    return [group for protocol in sorted(made) for group in _groups(protocol, made[protocol])]


def row_title(method: str, recipe: str, variant: str, paper_dir: Path = PAPER) -> str:
    """The name of a recipe's row in the tables: the one that the paper's file gives it, else the paper's variant."""
    paper = find_paper(method, paper_dir)
    key = "-".join(Path(recipe).stem.split("-")[1:])  # the recipe's name without its dataset
    return variant if paper is None else paper.names.get(key, variant)


def _groups(protocol: str, rows: Sequence[Row]) -> list[Group]:
    """The rows of a protocol by test split, most rows first."""
    splits: list[list[Row]] = []
    for row in sorted(rows, key=_order):
        for found in splits:
            if all(same_split(row.records[0], other.records[0], protocol) for other in found):
                found.append(row)
                break
        else:
            splits.append([row])
    return [Group(protocol, tuple(found)) for found in sorted(splits, key=len, reverse=True)]


def same_split(a: RunRecord, b: RunRecord, protocol: str) -> bool:
    """Return True where two records were scored on the same test split under the same rules.

    A fingerprint covers pictures, captions and the vectors that are read: where two runs read the same and their
    fingerprints differ, their splits do. What scores from elsewhere were made of is unknown, and is like nothing else.
    """
    one, other = (parse(record.results[protocol].signature) for record in (a, b))
    alike = a.notes == b.notes or "elsewhere" in (a.weights, b.weights)
    return (
        _rules(one) == _rules(other)
        and _options(a) == _options(b)
        and (not alike or one.fingerprint == other.fingerprint)
    )


def _rules(signature: Signature) -> tuple[object, ...]:
    """The fields of a signature that all rows of a table share."""
    told = ("fingerprint", "ensemble", "precision", "features", "compiled")
    return tuple(value for name, value in vars(signature).items() if name not in told)


def _options(record: RunRecord) -> dict[str, object]:
    """The options of the dataset that decide its test split."""
    found = record.dataset.options.items()
    return {name: value for name, value in found if name not in TRAINING_OPTIONS}


def _identity(record: RunRecord, protocol: str) -> list[str]:
    """Return the facts that two records must share to be seeds of one row."""
    members = [member.run + member.recipe_digest for member in record.members]
    parts = [record.run, record.method, record.recipe_digest, record.weights, record.codec, *members]
    parts += filter(None, [record.transform])
    paper = [record.paper_method, record.variant]
    return [*parts, *paper, record.results[protocol].signature, *record.departures]


def _reported(record: RunRecord, protocol: str, paper_dir: Path) -> ReportedRow | None:
    """The paper's row that a record answers to; None where it answers to none, or its values are unknown."""
    if record.paper_row is None:
        return None
    try:
        return find_row(record.paper_row.method, record.paper_row.variant, protocol, paper_dir)
    except UserError as error:
        raise UserError(f"{record.path.as_posix()}: {error}") from None


def _departures(record: RunRecord, protocol: str, paper_dir: Path) -> list[str]:
    """The record's reasons, and that no paper reports the protocol."""
    if record.departures or protocol in reported_protocols(paper_dir):
        return record.departures
    return [f"no paper reports {protocol}"]


def _order(row: Row) -> tuple[float, str]:
    return -row.mean("rsum"), row.name
