"""The verdict of the committed results on each claim: judgements of its checks, and their sum place by place.

Nothing is run. The rule is the same for all and stands at the head of results/tables/claims.md (RULE):

- a difference is taken seed by seed over at least three seeds; it holds where its 95 % t interval is clear of zero on
  the claimed side and its p-value, Holm-adjusted over all tested checks of the same paper, is at most 0.05;
- clear of zero on the other side, by the same measure, it does not hold; anything else cannot be told;
- ratios of latency have rounds in the place of seeds, a bootstrap interval, and no p-value.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from benchmark.reporting.claims.checks import FAILS, HOLDS, OPEN, JudgedCheck, Results, Setting, Verdict
from benchmark.reporting.claims.definition import Claim, load_claims
from benchmark.reporting.leaderboard.rows import Row
from benchmark.statistics.holm import holm
from benchmark.statistics.seed_differences import seeds_to_tell

SIGNIFICANT = 0.05
NEAREST: tuple[Setting, ...] = ("paper", "other", "timing", "analogue")
"""The settings by their nearness to the paper's: the verdict of the nearest is a claim's verdict."""


@dataclass(frozen=True)
class Total:
    """The joint verdict of the checks of one place."""

    place: str
    setting: Setting
    verdict: Verdict
    why: str


@dataclass(frozen=True)
class JudgedClaim:
    """A claim with its checks."""

    claim: Claim
    checks: tuple[JudgedCheck, ...]

    @cached_property
    def totals(self) -> tuple[Total, ...]:
        """One a place, in the order of the checks."""
        places = dict.fromkeys((check.place, check.setting) for check in self.checks)
        return tuple(self._total(place, setting) for place, setting in places)

    @property
    def verdict(self) -> Verdict:
        """The verdict in the nearest setting to the paper's that has one."""
        return self._strongest()[0]

    @property
    def text(self) -> str:
        """The verdict in a few words, with the places that told it."""
        verdict, places = self._strongest()
        if verdict == OPEN:
            return OPEN
        return f"{verdict} {' and '.join(_where(total) for total in places)}"

    def _strongest(self) -> tuple[Verdict, list[Total]]:
        told = [total for total in self.totals if total.verdict != OPEN]
        nearest = min((NEAREST.index(total.setting) for total in told), default=0)
        told = [total for total in told if total.setting == NEAREST[nearest]]
        against = [total for total in told if total.verdict == FAILS]
        return (FAILS, against) if against else (HOLDS, told) if told else (OPEN, [])

    def _total(self, place: str, setting: Setting) -> Total:
        checks = [check for check in self.checks if (check.place, check.setting) == (place, setting)]
        counts = {
            verdict: sum(check.verdict == verdict for check in checks) for verdict in (HOLDS, FAILS, OPEN)
        }
        verdict = _sum(counts, len(checks), self.claim.needs)
        if len(checks) == 1:
            return Total(place, setting, verdict, checks[0].why)
        told = [f"{counts[HOLDS]} hold{'s' if counts[HOLDS] == 1 else ''}"] if counts[HOLDS] else []
        told += [f"{counts[FAILS]} {'does' if counts[FAILS] == 1 else 'do'} not"] if counts[FAILS] else []
        causes = Counter(check.cause for check in checks if check.verdict == OPEN)
        told += [f"{counts[OPEN]} cannot be told ({_listed(causes)})"] if counts[OPEN] else []
        rule = "all must hold" if self.claim.needs == "all" else "one must hold"
        return Total(place, setting, verdict, f"of {len(checks)} checks, {', '.join(told)}; {rule}")


def _sum(counts: dict[Verdict, int], n: int, needs: str) -> Verdict:
    if needs == "all":
        return FAILS if counts[FAILS] else HOLDS if counts[HOLDS] == n else OPEN
    return HOLDS if counts[HOLDS] else FAILS if counts[FAILS] == n else OPEN


def _listed(causes: Counter[str]) -> str:
    """`no results yet`, or where there are several, `too few seeds: 2, no results yet: 1`."""
    if len(causes) == 1:
        return next(iter(causes))
    return ", ".join(f"{cause}: {count}" for cause, count in causes.items())


def _where(total: Total) -> str:
    names = {"analogue": " (an analogue)", "timing": " (timed here)", "other": " (not the paper's set-up)"}
    return f"on {total.place}{names.get(total.setting, '')}".replace("on latency", "in latency")


# --------------------------------------------------------------------------------------- judging


def judge_claims(root: Path = Path(), rows: Sequence[Row] | None = None) -> list[JudgedClaim]:
    """All claims of results/claims.yaml below `root`, judged from the files committed there.

    rows: those of the leaderboard below `root`, where they are made already.

    Raises UserError for a fault in the ledger (claims.py) and in a results file that a check needs.
    """
    results = Results(root, rows)
    claims = load_claims(root)
    first = [[results.judged(check, claim) for check in claim.checks] for claim in claims]
    final: dict[int, JudgedCheck] = {}
    for paper in dict.fromkeys(claim.paper for claim in claims):
        family = [
            check
            for claim, checks in zip(claims, first, strict=True)
            if claim.paper == paper
            for check in checks
        ]
        final |= {id(old): new for old, new in zip(family, _corrected(family), strict=True)}
    return [
        JudgedClaim(claim, tuple(final[id(check)] for check in checks))
        for claim, checks in zip(claims, first, strict=True)
    ]


def _corrected(family: Sequence[JudgedCheck]) -> list[JudgedCheck]:
    """Verdicts of a paper's checks with p-values adjusted together; those without one as they are."""
    tested = [check for check in family if check.p is not None]
    adjusted = dict(
        zip(map(id, tested), holm([check.p for check in tested if check.p is not None]), strict=True)
    )
    return [_with_holm(check, adjusted.get(id(check)), len(tested)) for check in family]


def _with_holm(check: JudgedCheck, adjusted: float | None, family: int) -> JudgedCheck:
    if adjusted is None:
        return check
    check = replace(check, holm=adjusted, family=family)
    if check.verdict == OPEN or adjusted <= SIGNIFICANT:
        return check
    assert check.estimate is not None
    assert check.sd is not None
    n = seeds_to_tell(check.estimate, check.sd, level=1 - SIGNIFICANT / family)
    more = "" if n is None or n <= (check.n or 0) else f"; about {n} seeds would tell it among them"
    why = f"clear of 0, but one of {family} such checks may be so by chance (Holm p {adjusted:.2f}){more}"
    return replace(check, verdict=OPEN, cause="clear of 0, but not after Holm", why=why)
