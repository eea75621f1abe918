"""Claims: what the committed results say about each, as claims_judge.py has it, with a strip for each interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from benchmark.reporting.claims.checks import JudgedCheck
from benchmark.reporting.claims.definition import CLAIMS, Growth
from benchmark.reporting.claims.judge import JudgedClaim, judge_claims
from benchmark.reporting.claims.page import CERTAINTY, SETTINGS, counted, estimate, interval, summary
from benchmark.reporting.page.svg import Marks, strips


@dataclass(frozen=True)
class LedgerCheck:
    """A line of a claim's table."""

    label: str
    strip: Markup
    cells: list[str]
    """n, estimate, interval, p, Holm's p."""
    verdict: str
    why: str


@dataclass(frozen=True)
class Told:
    """A claim as the page shows it."""

    judged: JudgedClaim
    where: str
    """The places that told the verdict; empty: none did."""
    because: list[str]
    certainty: str
    settings: str
    axis: Markup
    """Empty where its checks are in several units."""
    checks: list[LedgerCheck]


def claims(root: Path) -> list[Told]:
    """All claims in their order; [] where there is no ledger. Raises UserError as `judge_claims` does."""
    if not (root / CLAIMS).is_file():
        return []
    return [_told(judged) for judged in judge_claims(root)]


def _told(judged: JudgedClaim) -> Told:
    shown = [check for check in judged.checks if check.place != "-"]
    axis, drawn = _strips(shown)
    settings = dict.fromkeys(f"{total.place}: {SETTINGS[total.setting]}" for total in judged.totals)
    return Told(
        judged,
        judged.text.removeprefix(judged.verdict).strip(),
        [summary(total) for total in judged.totals],
        CERTAINTY[judged.claim.certainty],
        "; ".join(text for text in settings if not text.startswith("-")),
        axis,
        [
            LedgerCheck(check.label, strip, _cells(check), check.verdict, check.why)
            for check, strip in zip(shown, drawn, strict=True)
        ],
    )


def _strips(checks: Sequence[JudgedCheck]) -> tuple[Markup, list[Markup]]:
    """One scale where all estimates are in one unit; else there are no strips."""
    measured = [check for check in checks if check.estimate is not None]
    if not measured or len({check.unit for check in measured}) > 1:
        return Markup(), [Markup()] * len(checks)
    growth = next((check.check for check in measured if isinstance(check.check, Growth)), None)
    marks = [
        Marks(check.estimate, None if check.low is None or check.high is None else (check.low, check.high))
        for check in checks
    ]
    axis, *drawn = strips(marks, origin=0.0 if growth is None else growth.exponent)
    return axis, drawn


def _cells(check: JudgedCheck) -> list[str]:
    adjusted = "" if check.holm is None else f"{check.holm:.4f} of {check.family}"
    p = "" if check.p is None else f"{check.p:.4f}"
    return [counted(check), estimate(check), interval(check), p, adjusted]
