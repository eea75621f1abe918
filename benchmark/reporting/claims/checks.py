"""The evidence of the committed results on one check of a claim: an estimate with its interval, and a verdict.

Nothing is run; each file is read when it is first asked for. Holm's correction comes after, in judge.py.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, singledispatchmethod
from pathlib import Path
from typing import Literal

from benchmark.data.published.catalogue import get_entry
from benchmark.evaluation.protocol import get_protocol
from benchmark.places import PAPER, RUNS, STUDIES
from benchmark.records.paper import find_row, load_paper
from benchmark.records.record import read_all
from benchmark.records.signature import differences, parse
from benchmark.records.study import StudyResults, read_part, read_results
from benchmark.records.timed_study import TimedGroup, TimingResults
from benchmark.reporting.claims.definition import (
    Check,
    Claim,
    Growth,
    LatencyRatio,
    NoCheck,
    PaperGain,
    RunDifference,
    StudyDifference,
    gain_claim,
)
from benchmark.reporting.leaderboard.comparisons import MAY_DIFFER, RunComparison, compare_runs
from benchmark.reporting.leaderboard.rows import Row, leaderboard
from benchmark.statistics.seed_differences import MOST, SeedDifference, seed_difference, seeds_to_tell
from benchmark.statistics.seeds import within_limits
from benchmark.statistics.verdict import ENOUGH_SEEDS
from benchmark.timing.contenders import growth, ratio

Verdict = Literal["holds", "does not hold", "cannot be tested here"]
HOLDS: Verdict = "holds"
FAILS: Verdict = "does not hold"
OPEN: Verdict = "cannot be tested here"
INCLUDES = "the interval includes 0"
Setting = Literal["paper", "analogue", "timing", "other"]
"""`paper`: the paper's data and set-up; `analogue`: small models on scenes; `timing`: this machine's time; `other`:
the paper's data in another set-up, or no data at all."""


@dataclass(frozen=True)
class JudgedCheck:
    """A check with the results that bear on it; None: there is none."""

    check: Check
    label: str
    """The two sides that are compared."""
    place: str
    """Dataset or protocol; `latency`; `-` where there is no check."""
    setting: Setting
    verdict: Verdict
    cause: str = ""
    """The reason why it cannot be tested, in a few words; the same for like checks."""
    why: str = ""
    """The cause in full, or a remark on a verdict."""
    unit: str = ""
    """The unit of the estimate."""
    counted: str = "seeds"
    n: int | None = None
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    sd: float | None = None
    """The standard deviation of the differences over the seeds."""
    p: float | None = None
    holm: float | None = None
    """The p-value, adjusted over all tested checks of the paper."""
    family: int | None = None
    """The number of tested checks of the paper."""
    images: RunComparison | None = None
    """The paired test over the images, of two runs' records."""


@dataclass(frozen=True)
class Results:
    """The committed results below a folder, each read when it is first asked for."""

    root: Path
    known: Sequence[Row] | None = None
    """The rows of the leaderboard, where they are made already."""

    @cached_property
    def rows(self) -> Sequence[Row]:
        """Every run over its seeds, under every protocol."""
        if self.known is not None:
            return self.known
        groups = leaderboard(read_all(self.root / RUNS), self.root / PAPER)
        return [row for group in groups for row in group.rows]

    @singledispatchmethod
    def judged(self, check: Check, claim: Claim) -> JudgedCheck:
        """Judge a check by itself; Holm's correction comes after."""
        raise NotImplementedError(f"{check.kind} of {claim.id}")

    @judged.register
    def _no_check(self, check: NoCheck, claim: Claim) -> JudgedCheck:  # noqa: ARG002
        return JudgedCheck(check, "no check", "-", "other", OPEN, "no check", check.why)

    @judged.register
    def _study_difference(self, check: StudyDifference, claim: Claim) -> JudgedCheck:  # noqa: ARG002
        label = f"{check.study}: {check.of} - {check.against}, {title(check.metric)}"
        blank = JudgedCheck(check, label, "scenes", "analogue", OPEN, unit=unit(check.metric))
        path = self.root / STUDIES / f"{check.study}.json"
        if not path.is_file():
            return _none_yet(blank, f"no results of study {check.study}")
        results = read_results(path)
        values = _by_seed(results, check)
        if not values:
            return _none_yet(blank, f"study {check.study} has no seed of both")
        return _told_by_seeds(blank, check.metric, values)

    @judged.register
    def _run_difference(self, check: RunDifference, claim: Claim) -> JudgedCheck:  # noqa: ARG002
        label = f"runs {check.of} - {check.against}, {title(check.metric)}"
        embedded = get_entry(get_protocol(check.protocol).dataset).embedded
        setting: Setting = "analogue" if embedded else "paper"
        blank = JudgedCheck(check, label, check.protocol, setting, OPEN, unit=unit(check.metric))
        pair = [self._row(name, check.protocol) for name in (check.of, check.against)]
        for found in pair:
            if isinstance(found, str):
                return _none_yet(blank, found)
        of, against = (row for row in pair if isinstance(row, Row))
        if setting == "paper" and (of.departures or against.departures):
            blank = replace(blank, setting="other")
        fault = _differ(of, against)
        if fault:
            return replace(blank, cause="signatures differ", why=fault)
        of, against = _of_seeds(of, against.seeds), _of_seeds(against, of.seeds)
        if not of.records:
            return _none_yet(blank, "the two runs have no seed in common")
        pairs = zip(of.values(check.metric), against.values(check.metric), strict=True)
        images = compare_runs(of, against, check.metric, self.root / RUNS)
        return _told_by_seeds(replace(blank, images=images), check.metric, [a - b for a, b in pairs])

    def _row(self, run: str, protocol: str) -> Row | str:
        """The run under the protocol; why not, where there is none or more than one."""
        found = [row for row in self.rows if (row.records[0].run, row.protocol) == (run, protocol)]
        if not found:
            return f"no run record of {run} on {protocol}"
        if len(found) > 1:
            return f"the records of {run} on {protocol} are of {len(found)} recipes"
        return found[0]

    @judged.register
    def _paper_gain(self, check: PaperGain, claim: Claim) -> JudgedCheck:
        gain = gain_claim(load_paper(claim.paper, self.root / PAPER), check)
        percent = gain.i2t_r1_percent if check.metric == "i2t_r1" else gain.t2i_r1_percent
        label = f"run {check.run}: {title(check.metric)} {percent:g} % over the baseline's"
        place = check.protocol or check.dataset
        blank = JudgedCheck(check, label, place, "paper", OPEN, unit="% of the baseline")
        if check.baseline is None:
            return replace(blank, cause="baseline unknown", why=f"the baseline is not known ({gain.note})")
        if check.protocol is None:
            return replace(blank, cause="protocol unknown", why=f"the protocol is not known ({gain.note})")
        method, variant = check.baseline.method, check.baseline.variant
        printed = find_row(method, variant, check.protocol, self.root / PAPER)
        base = None if printed is None else printed.value(check.metric)
        if not base:
            why = f"{variant}'s {title(check.metric)} on {check.protocol} is not known"
            return replace(blank, cause="baseline unknown", why=why)
        row = self._row(check.run, check.protocol)
        if isinstance(row, str):
            return _none_yet(blank, row)
        if row.departures:
            why = f"not the paper's set-up: {row.departures[0]}"
            return replace(blank, setting="other", cause="not the paper's set-up", why=why)
        gains = [100 * (value / base - 1) for value in row.values(check.metric)]
        found = seed_difference(gains)
        if found is None or found.n < ENOUGH_SEEDS:
            return _too_few(blank, gains)
        blank = replace(blank, n=found.n, estimate=found.mean, low=found.low, high=found.high)
        return _told_of_size(blank, percent)

    @judged.register
    def _latency_ratio(self, check: LatencyRatio, claim: Claim) -> JudgedCheck:  # noqa: ARG002
        label = f"{check.study}: {check.task}: {check.of} / {check.against}"
        blank = JudgedCheck(check, label, "latency", "timing", OPEN, unit="% saved", counted="rounds")
        groups = self._groups(check.study, check.task)
        if isinstance(groups, str):
            return _none_yet(blank, groups)
        group = groups[-1]  # the largest size
        value, low, high = ratio(group.seconds[check.of], group.seconds[check.against])
        saved = [100 * (1 - part) for part in (value, high, low)]
        blank = replace(blank, n=group.rounds, estimate=saved[0], low=saved[1], high=saved[2])
        if check.saving is not None:
            return _told_of_size(blank, check.saving)
        return _told_of_side(blank, saved[1], saved[2])

    @judged.register
    def _growth(self, check: Growth, claim: Claim) -> JudgedCheck:  # noqa: ARG002
        label = f"{check.study}: {check.task}: {check.contender}, exponent {check.exponent:g}"
        blank = JudgedCheck(check, label, "latency", "timing", OPEN, unit="exponent", counted="rounds")
        groups = self._groups(check.study, check.task)
        if isinstance(groups, str):
            return _none_yet(blank, groups)
        if len(groups) < 2:
            return _none_yet(blank, "the task was timed at one size only")
        seconds = {group.size or 0: group.seconds[check.contender] for group in groups}
        value, low, high = growth(seconds)
        blank = replace(blank, n=groups[0].rounds, estimate=value, low=low, high=high)
        bottom, top = check.exponent - check.within, check.exponent + check.within
        if bottom <= low and high <= top:
            return replace(blank, verdict=HOLDS)
        if high < bottom or low > top:
            return replace(blank, verdict=FAILS)
        why = f"the interval is partly outside {bottom:g} to {top:g}; more rounds would tell"
        return replace(blank, cause="interval too wide", why=why)

    def _groups(self, study: str, task: str) -> list[TimedGroup] | str:
        path = self.root / STUDIES / f"{study}.json"
        if not path.is_file():
            return f"no results of study {study}"
        return read_part(path, TimingResults).by_task()[task]


def _of_seeds(row: Row, seeds: Sequence[int]) -> Row:
    """The row with the records of these seeds alone."""
    return replace(row, records=tuple(record for record in row.records if record.seed in seeds))


# ----------------------------------------------------------------------------------- decisions


def _told_by_seeds(check: JudgedCheck, metric: str, values: Sequence[float]) -> JudgedCheck:
    """Judge one difference a seed; the claim is that it is larger."""
    found = seed_difference(values)
    if found is None or found.n < ENOUGH_SEEDS:
        return _too_few(check, values)
    low, high = within_limits(found.low, found.high, metric, difference=True)
    told = replace(check, n=found.n, estimate=found.mean, low=low, high=high, sd=found.sd, p=found.p)
    return _told_of_side(told, low, high, _more_seeds(found))


def _told_of_side(
    check: JudgedCheck, low: float, high: float, remedy: str = "more rounds would tell"
) -> JudgedCheck:
    """Judge the side of zero on which an interval lies; the claim is above zero."""
    if low > 0:
        return replace(check, verdict=HOLDS)
    if high < 0:
        return replace(check, verdict=FAILS)
    return replace(check, cause=INCLUDES, why=f"{INCLUDES}; {remedy}")


def _told_of_size(check: JudgedCheck, size: float) -> JudgedCheck:
    """Judge the size of a gain: an interval that begins at the claimed one says yes, one that ends short of it no."""
    assert check.low is not None
    assert check.high is not None
    if check.high < size:
        return replace(check, verdict=FAILS, why=f"the interval ends short of {size:g}")
    if check.low >= size:
        return replace(check, verdict=HOLDS)
    return replace(check, cause="interval too wide", why=f"the interval includes {size:g}, and less")


def _more_seeds(found: SeedDifference) -> str:
    """Say how many seeds would tell a true difference of this size, at this spread, on its own."""
    n = seeds_to_tell(found.mean, found.sd)
    if n is None:
        return f"no number of seeds up to {MOST:,} would tell a difference this small"
    if n <= found.n:
        return "a few more seeds would tell a difference this large"
    return f"about {n} seeds would tell a difference this large, this way or the other"


def _too_few(check: JudgedCheck, values: Sequence[float]) -> JudgedCheck:
    """Return the check with the values there are, and no verdict."""
    over = "" if check.images is None else f"; over the images alone, {over_images(check.images)}"
    why = f"too few seeds ({len(values)} of at least {ENOUGH_SEEDS}){over}"
    return replace(check, n=len(values), estimate=statistics.fmean(values), cause="too few seeds", why=why)


def _none_yet(check: JudgedCheck, why: str) -> JudgedCheck:
    """Nothing to judge from, so far."""
    return replace(check, cause="no results yet", why=why)


def over_images(found: RunComparison) -> str:
    """The paired test of two runs' images in words."""
    test, interval = found.test, found.interval
    bounds = f"{interval.low:+.2f} to {interval.high:+.2f}"
    return f"{test.difference:+.2f} ({bounds}, n {test.n}, sign-flip p {test.p_value:.4f})"


def _by_seed(results: StudyResults, check: StudyDifference) -> list[float]:
    """The metric of one variant less the other's, over the seeds that both have."""
    of, against = results.runs_of(check.of), results.runs_of(check.against)
    return [
        of[seed].metrics[check.metric] - against[seed].metrics[check.metric] for seed in of if seed in against
    ]


def _differ(of: Row, against: Row) -> str:
    """Say why two runs cannot be compared with each other; '': they can."""
    one, other = (parse(row.records[0].results[row.protocol].signature) for row in (of, against))
    fields = [name for name in differences(one, other) if name not in MAY_DIFFER]
    return f"the runs' signatures differ in {', '.join(fields)}" if fields else ""


def title(metric: str) -> str:
    """`mean_r1` -> `mean R@1`, `i2t_r5` -> `i2t R@5`."""
    return metric.replace("_r", " R@") if metric != "rsum" else metric


def unit(metric: str) -> str:
    """The unit of differences of a metric."""
    return "rsum" if metric == "rsum" else "points"
