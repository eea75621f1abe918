"""The bytes that a training step of several processes sends, by arithmetic: for plans, and docs/distributed.md."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class StepTraffic:
    """The bytes of a step, by messages that go round a ring; those of batch statistics and numbers are left out."""

    pairs: int
    """The pairs of the whole batch."""
    pair_bytes: float
    """The codes of an image and a caption."""
    gradient_bytes: float
    """The gradients of all trained parameters."""
    processes: int

    @property
    def gathered(self) -> float:
        """The codes of the whole batch, which every process has after the gathering."""
        return self.pairs * self.pair_bytes

    @property
    def sent(self) -> float:
        """Bytes that each process sends: its codes to all, and sums of the codes' and the parameters' gradients."""
        return (self.processes - 1) / self.processes * (3 * self.gathered + 2 * self.gradient_bytes)

    def seconds(self, gigabits: float) -> float:
        """The time of that on a network of so many gigabits a second, if it does nothing else."""
        return self.sent / (gigabits * 1e9 / 8)
