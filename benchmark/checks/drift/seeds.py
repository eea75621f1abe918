r"""The third level: new seeds against the distribution of the committed seeds, two-sided.

In the manner of MLPerf's reference convergence points: what a training gives is a distribution over seeds, so
new seeds may differ from the old as draws of one distribution do. Student's test with the pooled variance of n
committed and k new seeds asks whether they do:

$$ |\bar y - \bar x| \le t_{n+k-2,\,1-\alpha/2m}\; s\, \sqrt{1/n + 1/k} $$

with one run for each of m tests, so that all of them together give a false alarm with probability alpha at most.
For k = 1 this is the prediction interval of one further seed. Fewer than three committed seeds decide nothing.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from pathlib import Path

from scipy import special

from benchmark.checks.drift.findings import Finding
from benchmark.errors import UserError
from benchmark.records.record import RunRecord
from benchmark.records.signature import differences, parse

LEVEL = 0.05
"""Probability of a false alarm in one call, over all runs."""
ENOUGH = 3
"""Committed seeds, at least."""
ROUNDING = 1e-9


def seed_findings(
    reference: Sequence[RunRecord], new: Sequence[RunRecord], level: float = LEVEL
) -> list[Finding]:
    """Compare the rsum of every run in `new`: its seeds against the seeds of the same run in `reference`.

    Raises UserError for new seeds that cannot be held against the committed ones: another recipe, another signature.
    """
    runs = list(dict.fromkeys((record.dataset.name, record.run) for record in new))
    sides = [(_of(run, reference), _of(run, new)) for run in runs]
    for committed, fresh in sides:
        _check_alike([*committed, *fresh])
    tests = sum(len(committed) >= ENOUGH for committed, _ in sides)
    return [_finding(committed, fresh, level, tests) for committed, fresh in sides]


def _of(run: tuple[str, str], records: Sequence[RunRecord]) -> list[RunRecord]:
    return [record for record in records if (record.dataset.name, record.run) == run]


def tolerated(reference: Sequence[float], new: Sequence[float], level: float) -> tuple[float, float]:
    """Return the tolerated distance of two means at a level, and the two-sided p-value; at least three values."""
    n, k = len(reference), len(new)
    freedom = n + k - 2
    squares = sum((value - statistics.fmean(side)) ** 2 for side in (reference, new) for value in side)
    error = math.sqrt(squares / freedom * (1 / n + 1 / k))
    bar = float(special.stdtrit(freedom, 1 - level / 2)) * error + ROUNDING
    apart = abs(statistics.fmean(new) - statistics.fmean(reference))
    if apart <= ROUNDING:
        return bar, 1.0
    return bar, 0.0 if error == 0 else float(2 * special.stdtr(freedom, -apart / error))


def too_few(run: str, committed: Sequence[RunRecord], found: float = math.nan) -> Finding:
    """Return the finding for a run with too few committed seeds to decide."""
    before = [_rsum(record) for record in committed]
    note = f"{len(before)} committed seed{'s' if len(before) != 1 else ''}, {ENOUGH} or more decide"
    return Finding(
        run, "seeds", "mean rsum", statistics.fmean(before) if before else math.nan, found, None, note
    )


def _finding(reference: Sequence[RunRecord], new: Sequence[RunRecord], level: float, tests: int) -> Finding:
    run, before, after = (
        new[0].run,
        [_rsum(record) for record in reference],
        [_rsum(record) for record in new],
    )
    if len(before) < ENOUGH:
        return too_few(run, reference, statistics.fmean(after))
    bar, p_value = tolerated(before, after, level / tests)
    note = f"{_spread(before)} committed, {_spread(after)} new; p {p_value:.2g} at level {level:g}/{tests}"
    return Finding(run, "seeds", "mean rsum", statistics.fmean(before), statistics.fmean(after), bar, note)


def _spread(values: Sequence[float]) -> str:
    return f"{len(values)}" if len(values) == 1 else f"{len(values)} (sd {statistics.stdev(values):.2f})"


def _rsum(record: RunRecord) -> float:
    return next(iter(record.results.values())).metrics.rsum


def _check_alike(records: Sequence[RunRecord]) -> None:
    """Raise UserError unless all are seeds of one recipe; Rematch's version may differ: that is what drift is about."""
    first = records[0]
    for record in records[1:]:
        name = Path(record.path).as_posix()
        if record.recipe_digest != first.recipe_digest:
            raise UserError(
                f"{name}: made with another version of {record.recipe_path} than {first.path.as_posix()}"
            )
        for protocol, result in record.results.items():
            other = first.results.get(protocol)
            fields = (
                [protocol] if other is None else differences(parse(other.signature), parse(result.signature))
            )
            if fields not in ([], ["version"]):
                raise UserError(
                    f"{name}: its signature and that of {first.path.as_posix()} differ in {', '.join(fields)}"
                )


def committed_and_new(
    reference: Sequence[RunRecord], new: Sequence[RunRecord], folder: Path, method: str | None
) -> tuple[list[RunRecord], list[RunRecord]]:
    """Both, of one method; raises UserError where there is nothing new to compare."""
    both = [
        [record for record in side if method in (None, Path(record.recipe_path).parent.name)]
        for side in (reference, new)
    ]
    if not both[1]:
        raise UserError(f"{folder.as_posix()}: no run records of {method or 'any method'} to compare")
    return both[0], both[1]
