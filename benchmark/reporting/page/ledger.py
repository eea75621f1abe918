"""Claims: the verdict of the committed results on each, with a strip for each interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from benchmark.reporting.claims.checks import JudgedCheck
from benchmark.reporting.claims.definition import Growth
from benchmark.reporting.claims.judge import JudgedClaim
from benchmark.reporting.claims.page import CERTAINTY, SETTINGS, checks_sheet, summary
from benchmark.reporting.page.svg import Marks, strips
from benchmark.reporting.sheet import Sheet

CHECKS = ("check", "n", "estimate", "interval", "p", "p_holm", "verdict")
"""The columns of a claim's checks; their places stand above them."""


@dataclass(frozen=True)
class ClaimSection:
    """A claim as the page shows it."""

    judged: JudgedClaim
    where: str
    """The places that decided the verdict; empty: none did."""
    because: list[str]
    certainty: str
    settings: str
    checks: Sheet
    axis: Markup
    """Empty where its checks are in several units."""
    strips: list[Markup]


def show_claim(judged: JudgedClaim) -> ClaimSection:
    """The section of a claim."""
    shown = [check for check in judged.checks if check.place != "-"]
    settings = dict.fromkeys(f"{total.place}: {SETTINGS[total.setting]}" for total in judged.totals)
    return ClaimSection(
        judged,
        judged.text.removeprefix(judged.verdict).strip(),
        [summary(total) for total in judged.totals],
        CERTAINTY[judged.claim.certainty],
        "; ".join(text for text in settings if not text.startswith("-")),
        checks_sheet(shown).only(CHECKS),
        *_strips(shown),
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
