"""The arithmetic of what a step sends, and the table of it in docs/distributed.md."""

from __future__ import annotations

import pytest

from benchmark.distributed.traffic import StepTraffic
from tests.paths import ROOT

HAT = (58, 3_456_008, 4 * 199_377_592)
RCAR = (128, 204_824, 4 * 16_708_052)
"""Pairs, bytes of a pair's codes (HAT: 1,029 tokens of an image and 96 of a caption, of 768 numbers), of gradients."""


def test_a_ring_sends_what_a_loop_counts() -> None:
    """Each process passes on n - 1 shares of codes, and twice n - 1 parts of what is added up."""
    traffic = StepTraffic(12, 10.0, 600.0, 3)
    gather = sum(12 / 3 * 10.0 for _ in range(3 - 1))
    sums = sum(2 * (part / 3) for part in (12 * 10.0, 600.0) for _ in range(3 - 1))
    assert traffic.sent == pytest.approx(gather + sums)
    assert traffic.seconds(8) == pytest.approx(traffic.sent / 1e9)
    assert StepTraffic(12, 10.0, 600.0, 1).sent == 0


@pytest.mark.parametrize(
    ("recipe", "sizes", "digits"), [("hat/mscoco-i2t", HAT, 2), ("rcar/mscoco-t2i", RCAR, 2)]
)
@pytest.mark.parametrize("processes", [4, 16])
def test_the_documented_table_is_this_arithmetic(
    recipe: str, sizes: tuple[int, float, float], digits: int, processes: int
) -> None:
    found = StepTraffic(*sizes, processes)
    row = (
        f"| {recipe} | {sizes[0]} | {found.gathered / 1e6:.1f} MB | {sizes[2] / 1e6:.1f} MB | {processes} | "
        f"{found.sent / 1e6:.1f} MB | {found.seconds(10):.{digits}f} s | {found.seconds(100):.{digits + 1}f} s |"
    )
    assert row in (ROOT / "docs/distributed.md").read_text(encoding="utf-8")
