r"""The verdict: does the paper's single number fit the distribution of our seeds?

The model. A method on a dataset has a distribution of results over seeds, taken as normal. Our n seeds
x_1 ... x_n with mean m and standard deviation s are draws from it; the paper's number y is one draw from the
paper's. The question is whether the two distributions are one. If they are, y lies with 95 % probability in
the prediction interval of one further seed

$$ m \pm t_{n-1,\,0.975}\; s\, \sqrt{1 + 1/n} $$

It is two-sided, and wider than the interval of the mean, which would ask whether y is the *mean* of all seeds.

What a number inside means depends on the width. Papers call one point of recall a difference, so an interval
wider than that on either side (margin: 1 for a recall, 6 for rsum, the sum of six) holds numbers that nobody
would call the same; then the verdict is "cannot tell", with the seeds it would take for an interval of
± margin, if s stays as it is. As y stays one draw, the interval never gets narrower than ± 1.96 s: at s >
margin / 1.96 no number of seeds tells. Numbers outside are told whatever the width. So "reproduced" is said
of a true difference of twice the margin in under 2.5 % of cases, whatever n and s; of one margin in up to half,
which no single number can better.

The noise of the test set. Both numbers come from the same test images, which shift them alike, so the
bootstrap over images does not widen the interval. It says something else: where a difference is no larger
than 1.96 test_noise (test_noise: standard deviation over draws of images), other images might not show it,
and that is remarked. The noise of a *difference* on shared images is usually smaller, but needs the paper's
ranks of every query, which nobody publishes; so the remark is cautious.

What the model leaves out. Papers print one decimal: a difference of up to ROUNDING beyond the interval is
none. A paper's number may be the best of several runs; then it lies above the mean of its own distribution,
and "below" comes too often (best of five: 8 to 10 % in place of 2.5 %, simulation.py). Skewed seeds err more,
too. Under three seeds s says next to nothing, and no verdict is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from benchmark.statistics.power import detectable, least_told, seeds_for_width
from benchmark.statistics.seeds import prediction_half_width, seed_summary, within_limits

Kind = Literal[
    "not comparable", "too few seeds", "paper value unknown", "reproduced", "below", "above", "cannot tell"
]
ENOUGH_SEEDS = 3
POINT = 1.0
"""The difference in recall that everyone would call one."""
ROUNDING = 0.05
"""Half the last digit that papers print."""
Z = 1.959963984540054
"""Half a 95 % interval in standard deviations."""


@dataclass(frozen=True)
class Verdict:
    """The verdict of the seeds on the paper's number; None: unknown, or not comparable."""

    kind: Kind
    text: str
    """The verdict for a cell of a table."""
    n: int
    mean: float
    sd: float | None = None
    paper: float | None = None
    difference: float | None = None
    """Mean less the paper's number."""
    interval: tuple[float, float] | None = None
    """95 % prediction interval of one further seed, within what the metric can be; None under three seeds."""
    metric: str = "rsum"
    margin: float | None = None
    """The difference that everyone would call one, in the metric's unit."""
    seeds_needed: int | None = None
    """Seeds for an interval of ± margin at this spread, three or more; None: no number of them, or spread unknown."""
    detectable: float | None = None
    """The smallest true difference that n seeds tell with 80 % power."""
    floor: float | None = None
    """1.96 sd: a smaller difference from a single number is never told."""
    test_noise: float | None = None
    """Standard deviation of the metric over draws of test images."""
    within_test_noise: bool = False
    """True where the number is below or above the paper's by no more than 1.96 test_noise."""


def judge(
    values: Sequence[float],
    paper: float | None,
    *,
    test_noise: float | None,
    departures: Sequence[str],
    metric: str = "rsum",
) -> Verdict:
    """Hold the seeds' values against the paper's number.

    values: the metric of each seed, at least one; paper: None where unknown; test_noise: standard deviation
    of the metric over draws of test images; departures: why this is not the paper's set-up; metric: of
    METRICS (reporting/parts.py), for the margin and the text.
    In this order: departures -> "not comparable"; under three seeds -> "too few seeds"; no number -> "paper
    value unknown"; outside the prediction interval -> "below" or "above"; an interval wider than ± margin ->
    "cannot tell"; else "reproduced". Raises UserError for no value.
    """
    seeds = seed_summary(values)
    n, mean, sd = seeds.n, seeds.mean, seeds.sd
    if departures:
        more = f" (and {len(departures) - 1} more)" if len(departures) > 1 else ""
        return Verdict(
            "not comparable", f"not comparable: {departures[0]}{more}", n, mean, sd, paper, metric=metric
        )
    if n < ENOUGH_SEEDS or sd is None:
        text = f"too few seeds ({n} of at least {ENOUGH_SEEDS})"
        difference = None if paper is None else mean - paper
        return Verdict("too few seeds", text, n, mean, sd, paper, difference, metric=metric)
    verdict = _held(mean, sd, n, paper, test_noise, metric)
    return replace(verdict, text=_text(verdict))


def _held(
    mean: float, sd: float, n: int, paper: float | None, test_noise: float | None, metric: str
) -> Verdict:
    """The verdict of enough seeds, without its text."""
    difference = None if paper is None else mean - paper
    half, margin = prediction_half_width(sd, n), margin_of(metric)
    kind = _kind(difference, half, margin)
    noise = None if test_noise is None else Z * test_noise
    within = difference is not None and noise is not None and abs(difference) <= noise
    return Verdict(
        kind=kind,
        text="",
        n=n,
        mean=mean,
        sd=sd,
        paper=paper,
        difference=difference,
        interval=within_limits(mean - half, mean + half, metric),
        metric=metric,
        margin=margin,
        seeds_needed=_enough(seeds_for_width(margin, sd)),
        detectable=detectable(sd, n),
        floor=least_told(sd),
        test_noise=test_noise,
        within_test_noise=within and kind in ("below", "above"),
    )


def _enough(seeds: int | None) -> int | None:
    return None if seeds is None else max(seeds, ENOUGH_SEEDS)


def margin_of(metric: str) -> float:
    """The difference in a metric that everyone would call one: a point in every recall."""
    return 6 * POINT if metric == "rsum" else POINT


def _kind(difference: float | None, half: float, margin: float) -> Kind:
    if difference is None:
        return "paper value unknown"
    if abs(difference) > half + ROUNDING + 1e-9:  # 1e-9: binary fractions of what is printed
        return "below" if difference < 0 else "above"
    return "reproduced" if half <= margin else "cannot tell"


def _text(verdict: Verdict) -> str:
    """Return the verdict in a few words; the metric is named unless it is rsum."""
    if verdict.difference is None or verdict.interval is None:
        return verdict.kind
    about = "" if verdict.metric == "rsum" else verdict.metric.replace("_r", " R@")
    low, high = verdict.interval
    where = f"({about}{' ' if about else ''}{low:.1f} to {high:.1f})"
    if verdict.kind == "reproduced":
        return f"reproduced {where}"
    if verdict.kind == "cannot tell":
        needed = "no number of" if verdict.seeds_needed is None else str(verdict.seeds_needed)
        return f"cannot tell {where}, {needed} seeds would"
    within = ", within the test set's noise" if verdict.within_test_noise else ""
    return f"{verdict.kind} by {abs(verdict.difference):.2f}{f' ({about})' if about else ''}{within}"


def explain_verdict(verdict: Verdict) -> str:
    """The verdict in sentences, with the figures behind it; for a remark or a page."""
    if verdict.sd is None:
        return f"One seed: {verdict.mean:.2f}; its spread over seeds is unknown."
    found = [f"{verdict.n} seeds: mean {verdict.mean:.2f}, sd {verdict.sd:.2f}."]
    if verdict.interval is None:
        return found[0]
    low, high = verdict.interval
    found.append(f"One further seed would lie between {low:.2f} and {high:.2f} (95 %).")
    if verdict.paper is not None and verdict.difference is not None:
        found.append(f"The paper's number is {verdict.paper:.1f}: ours less it is {verdict.difference:+.2f}.")
    if verdict.detectable is not None and verdict.floor is not None:
        found.append(
            f"{verdict.n} seeds tell a true difference of {verdict.detectable:.2f} with 80 % power; against a "
            f"single number no number of seeds tells one found under {verdict.floor:.2f} (1.96 sd)."
        )
    if verdict.kind == "cannot tell":
        enough = verdict.seeds_needed
        found.append(
            f"The interval is wider than ±{verdict.margin:g}, a difference that counts; "
            + (
                "no number of seeds narrows it so far."
                if enough is None
                else f"{enough} seeds would narrow it so far."
            )
        )
    if verdict.within_test_noise and verdict.test_noise is not None:
        found.append(
            f"The difference holds on these images; it is within the test set's own noise "
            f"(±{Z * verdict.test_noise:.2f}), so that other images might not show it."
        )
    return " ".join(found)
