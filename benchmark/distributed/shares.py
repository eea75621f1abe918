"""Shares: what a method may ask of a batch, or of work, of which its process has a part.

The harness says when that is so; otherwise a process is alone, and every function here gives back what it was given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate, pairwise

from torch import Tensor

from benchmark.batches import Codes, numbers_of
from benchmark.distributed import gathering
from benchmark.distributed.processes import Processes
from benchmark.errors import UserError


@dataclass(frozen=True)
class Share:
    """The rows of a batch that a process has: `counts` says how many each process has, one after the other."""

    rank: int
    counts: tuple[int, ...]

    @property
    def start(self) -> int:
        return sum(self.counts[: self.rank])

    @property
    def stop(self) -> int:
        return self.start + self.counts[self.rank]

    @property
    def rows(self) -> slice:
        """Its rows in the batch."""
        return slice(self.start, self.stop)

    @property
    def total(self) -> int:
        """The rows of the batch."""
        return sum(self.counts)


def divide_evenly(count: int, parts: int) -> tuple[int, ...]:
    """The sizes of `parts` parts of `count` items, which differ by 1 at most."""
    edges = [count * part // parts for part in range(parts + 1)]
    return tuple(end - begin for begin, end in pairwise(edges))


def share_of_batch(pairs: int, rank: int, size: int) -> Share | None:
    """The share of a batch; None: it has fewer than two pairs for each process, and every process takes all of it."""
    return None if size == 1 or pairs < 2 * size else Share(rank, divide_evenly(pairs, size))


@dataclass
class _Together:
    """The processes and their parts, while a part of a batch is read, or the work of an objective is divided."""

    processes: Processes
    share: Share | None
    apart: bool = False
    """True where the part is a batch of its own."""
    drawing: bool = False
    """True while random numbers are drawn for the whole batch."""


_together: _Together | None = None


@contextmanager
def together(processes: Processes, share: Share | None) -> Iterator[None]:
    """Let the block's work be divided; `share`: the rows of the batch that it has, None: all."""
    global _together
    before, _together = _together, None if processes.alone else _Together(processes, share)
    try:
        yield
    finally:
        _together = before


def state() -> _Together | None:
    """Return what holds now; None: the process is alone."""
    return _together


# ------------------------------------------------------------- in `prepare_batch` and `training_codes`


def own_rows(count: int) -> slice:
    """The rows in the whole batch of the `count` items that are here."""
    share = None if _together is None else _together.share
    return slice(0, count) if share is None else share.rows


def whole_count(count: int) -> int:
    """The number of rows, `count` of which are here, in the whole batch: of items, or of as many for each item."""
    share = None if _together is None or _together.apart else _together.share
    if share is None:
        return count
    each, rest = divmod(count, share.counts[share.rank])
    if rest:
        raise ValueError(f"found {count} rows, expected as many for each of {share.counts[share.rank]} items")
    return each * share.total


def gather_items(values: Tensor) -> Tensor:
    """The rows of the whole batch, of which `values` (n, ...) are here; differentiable."""
    share = None if _together is None else _together.share
    if _together is None or share is None:
        return values
    return gathering.gather(values, share.counts, _together.processes)


def gather_rows(values: Tensor) -> Tensor:
    """The rows of all processes, any number of which `values` (k, ...) are here; no gradient."""
    if _together is None or _together.share is None:
        return values
    now = _together.processes
    return now.gather_rows(values, now.of_all(len(values)))


def longest(lengths: Tensor) -> int:
    """The largest of the whole batch's lengths, of which (n,) are here."""
    share = None if _together is None else _together.share
    own = max(numbers_of(lengths))
    return own if _together is None or share is None else _together.processes.largest(own)


def draw(count: int, make: Callable[[int], Tensor]) -> Tensor:
    """Return what `make` draws for `count` items: it draws for the whole batch, so all have what they would."""
    share = None if _together is None else _together.share
    if _together is None or share is None:
        return make(count)
    _together.drawing = True
    try:
        return make(whole_count(count))[share.rows]
    finally:
        _together.drawing = False


@contextmanager
def apart() -> Iterator[None]:
    """Let the batch norms of the block take what is here for a batch of its own."""
    if _together is None:
        yield
        return
    _together.apart = True
    try:
        yield
    finally:
        _together.apart = False


def replicas_here(count: int, replicas: int, where: str) -> int:
    """Count the parts of this process's `count` items, of `replicas` parts of the whole batch (`Tensor.chunk`).

    Raises UserError where a part lies in two processes; `where` is the field that names `replicas`.
    """
    share = None if _together is None else _together.share
    if _together is None or share is None or replicas == 1:
        return replicas
    size = -(-share.total // replicas)
    if share.start % size or (share.stop % size and share.stop != share.total):
        raise UserError(
            f"field '{where}': found {replicas}, whose parts of {size} pairs of a batch of {share.total} do not lie "
            f"whole in one of {_together.processes.size} processes; expected as many processes as divide {replicas}"
        )
    return -(-count // size)


# --------------------------------------------------------------------------------------- in `objective`


def divided(count: int) -> slice | None:
    """The part of `count` equal pieces of work that this process does; None: it does all."""
    if _together is None or count < _together.processes.size:
        return None
    counts = divide_evenly(count, _together.processes.size)
    start = list(accumulate(counts, initial=0))[_together.processes.rank]
    return slice(start, start + counts[_together.processes.rank])


def join(values: Tensor, count: int, dim: int = 0) -> Tensor:
    """The results of all `count` pieces of work along `dim`, where each process has those of its part."""
    assert _together is not None, "nothing was divided"
    counts = divide_evenly(count, _together.processes.size)
    joined = gathering.gather(values.movedim(dim, 0), counts, _together.processes)
    return joined.movedim(0, dim)


def divide(work: Callable[[Codes], Tensor], items: Codes, dim: int = 0) -> Tensor:
    """The results of `work` for all items, along `dim`; each process does its part, where several divide them."""
    own = divided(len(items))
    return work(items) if own is None else join(work(items.rows(own)), len(items), dim)


def add_up(values: Tensor) -> Tensor:
    """The sum of what the processes have of divided work, differentiable."""
    assert _together is not None, "nothing was divided"
    return gathering.add_up(values, _together.processes)
