"""Holm's correction: several tests at once, and still at most the stated chance of one false alarm."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.errors import UserError


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values in the order given: those at or below a level may be called significant together.

    The i-th smallest of m, counted from 0, is multiplied by m - i, is at least the one before it and at most
    1 (Holm 1979). It holds whatever the tests have to do with each other. [] gives [].
    Raises UserError for a value outside [0, 1].
    """
    wrong = [p for p in p_values if not 0 <= p <= 1]
    if wrong:
        raise UserError(f"Holm's correction: found p-value {wrong[0]}, expected 0 to 1")
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = highest
    return adjusted
