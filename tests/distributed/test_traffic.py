"""The bytes that a step sends and the time that takes, by arithmetic and on a simulated network; the table of both."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmark.distributed.network import SMALL, Message, Network, messages_of, pass_round, simulate_step
from benchmark.distributed.processes import processes
from benchmark.distributed.traffic import StepTraffic
from tests.baselines.small import RECIPES
from tests.distributed import methods
from tests.distributed.gang import run_together
from tests.paths import ROOT

HAT = (58, 3_456_008, 4 * 199_377_592)
RCAR = (128, 204_824, 4 * 16_708_052)
"""Pairs, bytes of a pair's codes (HAT: 1,029 tokens of an image and 96 of a caption, of 768 numbers), of gradients."""
STEPS = {"hat/mscoco-i2t": HAT, "rcar/mscoco-t2i": RCAR}


def test_a_ring_sends_what_a_loop_counts() -> None:
    """Each process passes on n - 1 shares of codes, and twice n - 1 parts of what is added up."""
    traffic = StepTraffic(12, 10.0, 600.0, 3)
    gather = sum(12 / 3 * 10.0 for _ in range(3 - 1))
    sums = sum(2 * (part / 3) for part in (12 * 10.0, 600.0) for _ in range(3 - 1))
    assert traffic.sent == pytest.approx(gather + sums)
    assert traffic.seconds(8) == pytest.approx(traffic.sent / 1e9)
    assert StepTraffic(12, 10.0, 600.0, 1).sent == 0


@pytest.mark.parametrize("cards", [2, 3, 4])
def test_without_latency_the_network_takes_what_arithmetic_says(cards: int) -> None:
    traffic = StepTraffic(12, 1e6, 1e9, cards)
    network = Network(10, latency=0, cards=1)
    small = SMALL * 2 * (cards - 1) * 8.0 * 8 / 10e9
    assert simulate_step(traffic, network) == pytest.approx(traffic.seconds(10) + small, rel=1e-12)
    assert simulate_step(traffic, network, 6) == pytest.approx(
        6 / cards + traffic.seconds(10) + small, rel=1e-12
    )
    assert simulate_step(StepTraffic(12, 1e6, 1e9, 1), network, 6) == pytest.approx(6)


def test_a_message_waits_for_the_last_and_for_the_slowest_link() -> None:
    """Times by hand: two machines of two cards; 1 s a part between them, 0.1 s inside, latency 0.5 s between."""
    network = Network(8e-9, latency=0.5, cards=2, inside_gigabits=8e-8, inside_latency=0)
    assert [network.link(card, 4) for card in range(4)] == [(0, 0.1), (0.5, 1), (0, 0.1), (0.5, 1)]
    # in the second and third round, a card that got a part late passes it on late
    done = pass_round([0.0, 0.0, 0.0, 0.0], Message("gather", 1.0), network)
    first = [1.5, 1.0, 1.5, 1.0]
    second = [max(1.6, 2.5), max(2.0, 1.6), max(1.6, 2.5), max(2.0, 1.6)]
    third = [max(2.6, 3.5), max(3.0, 2.6), max(2.6, 3.5), max(3.0, 2.6)]
    assert first < second < third
    assert done == pytest.approx(third)
    late = pass_round([7.0, 0.0], Message("gather", 1.0), Network(8e-9, latency=0, cards=1))
    assert late == [8.0, 8.0]


def calls_of_a_step(path: Path) -> list[tuple[str, float]]:
    """The calls of one step of a small model that tell others something, and the bytes of each."""
    now, seen = processes(), list[tuple[str, float]]()

    def noting(kind: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*arguments: Any) -> Any:
            before = now.traffic.sent_bytes
            result = call(*arguments)
            seen.append((kind, now.traffic.sent_bytes - before))
            return result

        return noted

    with pytest.MonkeyPatch.context() as patch:
        for name, kind in (("gather_rows", "gather"), ("add_up", "sum")):
            patch.setattr(now, name, noting(kind, getattr(now, name)))
        for name in ("of_first", "of_all", "largest", "copy_of_first"):
            patch.setattr(now, name, noting("small", getattr(now, name)))
        patch.setattr(methods, "STEPS", 1)
        methods.train_steps(path)
    return seen


def test_the_simulated_messages_are_those_of_a_real_step() -> None:
    path = next(path for path in RECIPES if f"{path.parent.name}/{path.stem}" == "hat/scenes-i2t")
    found = run_together(2, calls_of_a_step, path)[0]
    sizes = sorted((size for kind, size in found if kind == "sum"), reverse=True)
    rows = methods.PAIRS // 2  # of codes, that each of the two has
    codes = [size for kind, size in found if kind == "gather" and size >= 1000 and size % rows == 0]
    traffic = StepTraffic(methods.PAIRS, 2 * sum(codes) / methods.PAIRS, sizes[0], 2)
    simulated = [
        (message.kind, message.part * message.rounds(2))
        for message in messages_of(traffic)
        if message.part > 8
    ]
    for kind in ("gather", "sum"):
        real = sum(size for name, size in found if name == kind)
        assert sum(size for name, size in simulated if name == kind) == pytest.approx(real, rel=0.05)
    large = len(codes) * 2 + 1  # each tensor of codes goes there, and its gradient comes back
    assert len(found) - large <= SMALL


def row_of(recipe: str, cards: int) -> str:
    """A row of the documented table; the simulated machines have one card each."""
    sizes = STEPS[recipe]
    found = StepTraffic(*sizes, cards)
    networks = [Network(gigabits, cards=1) for gigabits in (10, 100)]
    cells = [
        f"{found.gathered / 1e6:.1f} MB",
        f"{sizes[2] / 1e6:.1f} MB",
        f"{found.sent / 1e6:.1f} MB",
        *(f"{found.seconds(network.gigabits):.3f} s" for network in networks),
        *(f"{simulate_step(found, network):.3f} s" for network in networks),
        *(f"{simulate_step(found, network, 1):.2f} s" for network in networks),
    ]
    return f"| {recipe} | {sizes[0]} | {cards} | {' | '.join(cells)} |"


@pytest.mark.parametrize("recipe", STEPS)
@pytest.mark.parametrize("cards", [4, 16])
def test_the_documented_table_is_this_arithmetic_and_this_simulation(recipe: str, cards: int) -> None:
    assert row_of(recipe, cards) in (ROOT / "docs/distributed.md").read_text(encoding="utf-8")


HALVED = {(HAT, 10): 5.5, (HAT, 100): 0.58, (RCAR, 10): 0.52, (RCAR, 100): 0.06}
"""Seconds of a step that four cards halve, by sizes and gigabits a second, as documented."""


def test_four_cards_halve_the_steps_that_the_docs_name() -> None:
    for (sizes, gigabits), seconds in HALVED.items():
        found = simulate_step(StepTraffic(*sizes, 4), Network(gigabits, cards=1), seconds)
        assert found == pytest.approx(seconds / 2, rel=0.02)
    four, one = (simulate_step(StepTraffic(*HAT, 16), Network(10, cards=cards)) for cards in (4, 1))
    assert (round(four, 2), round(one, 2)) == (1.67, 1.70)
