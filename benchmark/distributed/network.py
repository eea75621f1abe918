"""A simulated network: the time of a training step's messages round a ring of cards, for plans and docs/distributed.md.

Nothing is measured. Each link is simulated message by message: a card passes a part on once it has it and its link is
free, so that slow links, uneven shares of a batch and the latency of many small messages show.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from benchmark.distributed.processes import BUCKET
from benchmark.distributed.shares import divide_evenly
from benchmark.distributed.traffic import StepTraffic

SMALL = 12
"""Messages of a few numbers in a step, at most: lengths, statistics, scores, the loss; HAT has 11, RCAR 12."""
FORWARD = 1 / 3
"""The part of a card's time before it gathers codes; a backward pass takes as long as two forward."""


@dataclass(frozen=True)
class Network:
    """Machines of some cards each; times in seconds."""

    gigabits: float
    """A second, between two machines and in each direction."""
    latency: float = 30e-6
    cards: int = 4
    """In a machine; they reach each other at `inside_gigabits`, those of two machines by one link of the ring."""
    inside_gigabits: float = 200.0
    inside_latency: float = 5e-6

    def link(self, card: int, cards: int) -> tuple[float, float]:
        """The latency, and seconds a byte, of the link from a card to the next one of a ring of `cards`."""
        if cards > self.cards and (card % self.cards == self.cards - 1 or card == cards - 1):
            return self.latency, 8 / (self.gigabits * 1e9)
        return self.inside_latency, 8 / (self.inside_gigabits * 1e9)


@dataclass(frozen=True)
class Message:
    """A call that all cards make together: parts of so many bytes go round a ring, once or twice."""

    kind: Literal["gather", "sum"]
    part: float

    def rounds(self, cards: int) -> int:
        return (cards - 1) * (1 if self.kind == "gather" else 2)


def messages_of(traffic: StepTraffic) -> Iterator[Message]:
    """Yield the messages of a step after its forward pass, in order; parts of codes are as long as the longest."""
    n = traffic.processes
    yield Message("gather", max(divide_evenly(traffic.pairs, n)) * traffic.pair_bytes)
    yield Message("sum", traffic.gathered / n)
    yield from [Message("sum", 8.0)] * SMALL
    left = traffic.gradient_bytes
    while left > 0:
        yield Message("sum", min(left, 4 * BUCKET) / n)
        left -= 4 * BUCKET


def pass_round(now: list[float], message: Message, network: Network) -> list[float]:
    """The times at which the cards are done with a message, which they come to at the times `now`."""
    n = len(now)
    links = [network.link(card, n) for card in range(n)]
    for _ in range(message.rounds(n)):
        sent = [at + message.part * byte for at, (_, byte) in zip(now, links, strict=True)]
        came = [sent[card - 1] + links[card - 1][0] for card in range(n)]
        now = [max(pair) for pair in zip(sent, came, strict=True)]
    return now


def simulate_step(traffic: StepTraffic, network: Network, seconds: float = 0.0) -> float:
    """The time of a step by several cards that takes `seconds` on one; 0: that of the messages alone."""
    shares = [rows / traffic.pairs for rows in divide_evenly(traffic.pairs, traffic.processes)]
    now = [FORWARD * seconds * share for share in shares]
    of_codes, *others = messages_of(traffic)
    now = pass_round(now, of_codes, network)
    now = [at + (1 - FORWARD) * seconds * share for at, share in zip(now, shares, strict=True)]
    for message in others:
        now = pass_round(now, message, network)
    return max(now)
