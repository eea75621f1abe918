"""Two methods on the same images: paired tests from the ranks beside the run records, with no re-run.

The unit is the image with its captions (statistics/queries.py); a run of several seeds enters with each
image's mean over its seeds. So the test says whether these trained models differ on images like these; with
one seed each, another seed may turn the order round, and no test over images can know. Where both runs have
three seeds or more, Welch's t test over the seeds is asked too, and the larger p-value counts: a difference
must hold for other images and for other seeds.

Both rows must be of the same test split under the same rules (rows.same_split): whether an ensemble, float64 scores or
region features help is a fair question on the same gallery, but other images, folds, tie rules or versions make another
number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmark.errors import UserError
from benchmark.evaluation.ranking import Ranks
from benchmark.files import sha256_bytes
from benchmark.places import RUNS
from benchmark.records.record import RunRecord
from benchmark.records.sidecar import Sidecar, read_sidecar
from benchmark.records.signature import differences, parse
from benchmark.reporting.leaderboard.rows import Group, Row, same_split
from benchmark.statistics.bootstrap_difference import DifferenceInterval, paired_bootstrap
from benchmark.statistics.holm import holm
from benchmark.statistics.permutation import PairedTest, flip_bound, sign_flip
from benchmark.statistics.queries import Values, image_values
from benchmark.statistics.seeds import welch
from benchmark.statistics.verdict import ENOUGH_SEEDS

MAY_DIFFER = ("ensemble", "precision", "compiled")
"""Fields of the signature that two runs of a comparison need not share; nor the fingerprint, where they read other
vectors of the same split."""
LEVEL = 0.05
FLIPS = 10_000
FEW_FLIPS = 1_000
"""Flips after which a difference that is not significant by itself is tested no further."""
MOST_FLIPS = 100_000


@dataclass(frozen=True)
class RunComparison:
    """Two rows on the same images; differences are the first less the second."""

    a: str
    b: str
    metric: str
    seeds: tuple[int, int]
    """The number of seeds of each row."""
    test: PairedTest
    interval: DifferenceInterval
    seeds_p: float | None
    """The p-value of Welch's t test over the seeds; None where a row has under three."""

    @property
    def p(self) -> float:
        """The larger of both p-values."""
        return max(self.test.p_value, self.seeds_p or 0.0)


class Pair(NamedTuple):
    """One of several comparisons made together."""

    a: str
    b: str
    test: PairedTest
    p: float
    """The larger of both tests' p-values, Holm-adjusted over all pairs."""
    seeds_p: float | None
    """The p-value of Welch's t test over the seeds, not adjusted; None where a row has under three."""


@dataclass(frozen=True)
class Sample:
    """A row's images."""

    name: str
    record: RunRecord
    """The first of its records."""
    protocol: str
    sidecar: Sidecar
    values: Values
    """(n_images,) mean over the seeds."""


def compare_runs(a: Row, b: Row, metric: str = "rsum", runs_dir: Path = RUNS) -> RunComparison:
    """Sign-flip test and bootstrap interval of the difference of two rows in a metric (of METRICS).

    Raises UserError where the rows were not scored on the same images in the same way (it names the fields
    that differ), and where a sidecar is missing or changed.
    """
    one, other = _sample(a, metric, runs_dir), _sample(b, metric, runs_dir)
    change, seeds = image_differences(one, other), (len(a.records), len(b.records))
    return judge_difference((a.name, b.name), change, metric, seeds, _seeds_p(a, b, metric))


def judge_difference(
    names: tuple[str, str], change: Values, metric: str, seeds: tuple[int, int], seeds_p: float | None
) -> RunComparison:
    """Test a difference (n_images,) over the images, beside what a test over the seeds says."""
    test = sign_flip(change, permutations=FLIPS)
    return RunComparison(*names, metric, seeds, test, paired_bootstrap(change), seeds_p)


def pairwise(rows: Group | Sequence[Row], metric: str = "rsum", runs_dir: Path = RUNS) -> list[Pair]:
    """All pairs of the rows in their order, p-values Holm-adjusted over all pairs; raises as `compare_runs`."""
    samples = [_sample(row, metric, runs_dir) for row in _rows(rows)]
    pairs = list(combinations(_rows(rows), 2))
    flips = max(FLIPS, 200 * len(pairs))  # the smallest p there is must survive the correction
    tests = [sign_flip(image_differences(a, b), permutations=flips) for a, b in combinations(samples, 2)]
    over_seeds = [_seeds_p(a, b, metric) for a, b in pairs]
    adjusted = holm([max(test.p_value, p or 0.0) for test, p in zip(tests, over_seeds, strict=True)])
    found = zip(pairs, tests, adjusted, over_seeds, strict=True)
    return [Pair(a.name, b.name, test, p, seeds_p) for (a, b), test, p, seeds_p in found]


def tied_with_best(
    rows: Group | Sequence[Row], metric: str = "rsum", runs_dir: Path = RUNS, level: float = LEVEL
) -> frozenset[str]:
    """Names of the rows that tests do not tell apart from the row with the highest metric, that one left out.

    The best row is chosen by looking at all, so the correction is over all pairs, not over those with it; the p-values
    of the others are replaced by an upper bound that takes no flips. Rows whose sources name the images otherwise
    (pictures of the Hub, features of a folder) are not tested against each other.
    """
    best = max(_rows(rows), key=lambda row: row.mean(metric)).name
    samples = {row.name: _sample(row, metric, runs_dir) for row in _rows(rows)}
    images = {name: _images(sample.sidecar) for name, sample in samples.items()}
    pairs = [(a, b) for a, b in combinations(_rows(rows), 2) if images[a.name] == images[b.name]]
    adjusted = []
    for a, b in pairs:
        if not isinstance(rows, Group):  # a group's rows are of one split
            _check_split(samples[a.name], samples[b.name])
        change = samples[a.name].values - samples[b.name].values
        p = _images_p(change, len(pairs), level) if best in (a.name, b.name) else flip_bound(change)
        adjusted.append(max(p, _seeds_p(a, b, metric) or 0.0))
    names = [{a.name, b.name} for a, b in pairs]
    tested = zip(names, holm(adjusted), strict=True)
    return frozenset((pair - {best}).pop() for pair, p in tested if best in pair and p > level)


def _images_p(change: Values, pairs: int, level: float) -> float:
    """The sign-flip test's p-value of one of several pairs, with as few flips as decide whether it is below `level`."""
    p = flip_bound(change)
    if p <= level / pairs:
        return p
    few = sign_flip(change, permutations=FEW_FLIPS).p_value
    if few > level:
        return few
    flips = min(max(FLIPS, 200 * pairs), MOST_FLIPS)
    return min(p, sign_flip(change, permutations=flips).p_value)


def image_means(
    records: Sequence[RunRecord], protocol: str, metric: str, runs_dir: Path = RUNS
) -> tuple[Values, Sidecar]:
    """Each image's share in a metric, mean over the records (n_images,); with the first record's sidecar.

    Raises UserError where a sidecar is missing or changed, or the records are of different images.
    """
    sidecars = [read_sidecar(record, runs_dir) for record in records]
    for record, sidecar in zip(records, sidecars, strict=True):
        _check_images(sidecars[0], sidecar, records[0].path.as_posix(), record.path.as_posix())
    return mean_values(records, sidecars, protocol, metric), sidecars[0]


def mean_values(
    records: Sequence[RunRecord], sidecars: Sequence[Sidecar], protocol: str, metric: str
) -> Values:
    """Each image's share in a metric (n_images,), mean over records of the same images."""
    pairs = zip(records, sidecars, strict=True)
    mean: Values = np.stack([run_values(*pair, protocol, metric) for pair in pairs]).mean(axis=0)
    return mean


def _seeds_p(a: Row, b: Row, metric: str) -> float | None:
    return seeds_p(a.values(metric), b.values(metric))


def seeds_p(a: Sequence[float], b: Sequence[float]) -> float | None:
    """The p-value of Welch's t test over the seeds' values; None where a run has under three."""
    return None if min(len(a), len(b)) < ENOUGH_SEEDS else welch(a, b)


def run_values(record: RunRecord, sidecar: Sidecar, protocol: str, metric: str) -> Values:
    """Each image's share in a metric (n_images,), from the ranks beside a record."""
    result = record.results[protocol]
    i2t, t2i = (ranks.astype(np.int64) for ranks in sidecar.ranks[protocol])
    ranks = Ranks(i2t, t2i, result.ties_i2t, result.ties_t2i, result.tie_rule)
    return image_values(ranks, sidecar.caption_image.astype(np.int64), metric, folds=len(result.folds))


def _sample(row: Row, metric: str, runs_dir: Path) -> Sample:
    values, sidecar = image_means(row.records, row.protocol, metric, runs_dir)
    return Sample(row.name, row.records[0], row.protocol, sidecar, values)


def image_differences(a: Sample, b: Sample) -> Values:
    """Image by image, first less second; raises UserError where they are not of the same images in the same way."""
    _check_split(a, b)
    _check_images(a.sidecar, b.sidecar, a.name, b.name)
    return a.values - b.values


def _check_split(a: Sample, b: Sample) -> None:
    """Raise UserError where two rows were not scored on the same split under the same rules."""
    if a.protocol != b.protocol or not same_split(a.record, b.record, a.protocol):
        one, other = (parse(sample.record.results[sample.protocol].signature) for sample in (a, b))
        fields = [name for name in differences(one, other) if name not in MAY_DIFFER]
        found = "; ".join(f"{name}: {vars(one)[name]} and {vars(other)[name]}" for name in fields)
        raise UserError(
            f"{a.name} and {b.name} cannot be compared, their signatures differ in "
            f"{found or 'the options of the dataset'}"
        )


def _check_images(a: Sidecar, b: Sidecar, name: str, other: str) -> None:
    """Raise UserError with the parts in which the images and captions of two sidecars differ."""
    one, two = _images(a), _images(b)
    differ = [part for part in one if one[part] != two[part]]
    if differ:
        raise UserError(
            f"{name} and {other} cannot be compared: their sidecars differ in {', '.join(differ)}"
        )


def _images(sidecar: Sidecar) -> dict[str, str]:
    """The parts that decide of which images and captions a sidecar is, each as a text."""
    return {
        "images": sha256_bytes("\n".join(sidecar.image_ids).encode()),
        "captions": sidecar.caption_ids_sha256,
        "caption-to-image map": sha256_bytes(sidecar.caption_image.astype(np.int64).tobytes()),
    }


def _rows(rows: Group | Sequence[Row]) -> Sequence[Row]:
    return rows.rows if isinstance(rows, Group) else rows
