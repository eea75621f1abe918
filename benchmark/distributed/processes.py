"""The processes of a run: which of them this one is, what they tell each other, and how long that takes.

Alone, a process tells itself everything at once: no call here copies, sends or changes anything.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmark.errors import UserError

BUCKET = 2**23
"""Numbers of gradients that are added up in one message: 32 MB of float32."""

Result = TypeVar("Result")


class LostProcessError(UserError):
    """Another process of the run has ended, or cannot be reached."""


class TogetherError(UserError):
    """An error of the first process, raised in all of them; the first one says it."""


@dataclass
class Traffic:
    """The communication of a process: seconds, waiting for others among them, and bytes that it sent.

    Bytes are those of messages that go round a ring: an all-gather of n parts passes on n - 1 of them, an all-reduce
    sends 2 (n - 1) / n of its size.
    """

    seconds: float = 0.0
    sent_bytes: float = 0.0
    events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = field(default_factory=list)
    """Begin and end of the calls on a GPU that are not in `seconds` yet."""

    def take(self) -> tuple[float, int]:
        """Return seconds and bytes since they were last asked for."""
        for begin, end in self.events:
            end.synchronize()
            self.seconds += begin.elapsed_time(end) / 1000
        found = self.seconds, round(self.sent_bytes)
        self.seconds, self.sent_bytes = 0.0, 0.0
        self.events.clear()
        return found


class Processes:
    """All processes of a run, as one of them sees them."""

    def __init__(self, rank: int = 0, size: int = 1, control: Any = None) -> None:
        """`control`: the group of processes for messages that lie on the CPU; None: the same as for tensors."""
        self.rank, self.size, self.control = rank, size, control
        self.traffic = Traffic()

    @property
    def alone(self) -> bool:
        return self.size == 1

    @property
    def first(self) -> bool:
        """True for the one process that writes files, holds the lock and speaks."""
        return self.rank == 0

    # ------------------------------------------------------------------------- tensors, not differentiable

    def gather_rows(self, values: Tensor, counts: Sequence[int]) -> Tensor:
        """Join the rows of all processes, of which there are `counts`; (sum of counts, ...)."""
        if self.alone:
            return values
        most, kind = max(counts), values.dtype
        sent = values.detach().contiguous()
        sent = sent.view(torch.uint8) if kind == torch.bool else sent
        if len(sent) < most:
            sent = torch.cat([sent, sent.new_zeros(most - len(sent), *sent.shape[1:])])
        found = sent.new_empty(self.size, *sent.shape)
        if found.numel():
            with self._telling(sent.device, (self.size - 1) * sent.nbytes):
                dist.all_gather(list(found.unbind()), sent)
        whole = found.flatten(0, 1)
        if min(counts) < most:
            whole = torch.cat([part[:count] for part, count in zip(found, counts, strict=True)])
        return whole.view(torch.bool) if kind == torch.bool else whole

    def add_up(self, values: Tensor) -> Tensor:
        """Replace `values`, contiguous, by their sum over all processes, and return them."""
        if not self.alone:
            with self._telling(values.device, 2 * (self.size - 1) / self.size * values.nbytes):
                dist.all_reduce(values)
        return values

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Add up the gradients of all processes; one that has none adds nothing, and gets what the others have."""
        if self.alone:
            return
        there = torch.tensor([parameter.grad is not None for parameter in parameters], dtype=torch.int32)
        with self._telling(there.device, 2 * there.nbytes):
            dist.all_reduce(there, dist.ReduceOp.MAX, group=self.control)
        moved = [one for one, has in zip(parameters, there.tolist(), strict=True) if has]
        for parameter in moved:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        for bucket in _buckets(moved):
            flat = self.add_up(torch.cat([one.grad.flatten() for one in bucket if one.grad is not None]))
            sizes = [one.numel() for one in bucket]
            for parameter, total in zip(bucket, torch.split(flat, sizes), strict=True):
                assert parameter.grad is not None
                parameter.grad.copy_(total.view_as(parameter))

    def copy_state(self, module: nn.Module) -> None:
        """Give the parameters and buffers of the first process to all."""
        if self.alone:
            return
        with torch.no_grad():
            for tensor in module.state_dict().values():
                tensor.copy_(self.copy_of_first(tensor))

    def copy_of_first(self, values: Tensor) -> Tensor:
        """Return the first process's tensor, of the same shape and type in all."""
        if self.alone:
            return values
        sent = values.detach().clone(memory_format=torch.contiguous_format)
        with self._telling(sent.device, sent.nbytes):
            dist.broadcast(sent.view(torch.uint8) if sent.dtype == torch.bool else sent, 0)
        return sent

    def rows_to_first(self, values: NDArray[Any]) -> NDArray[Any]:
        """Join the rows (n, ...) of all processes in the first one; the others get their own back."""
        counts = self.of_all(len(values))
        if self.alone:
            return values
        own = torch.from_numpy(np.ascontiguousarray(values))
        if not self.first:
            if len(own):
                with self._telling(own.device, own.nbytes):
                    dist.send(own, 0, group=self.control)
            return values
        whole = np.empty((sum(counts), *values.shape[1:]), values.dtype)
        whole[: len(values)] = values
        begin = len(values)
        for rank, count in enumerate(counts[1:], start=1):
            if count:
                with self._telling(own.device, 0):
                    dist.recv(torch.from_numpy(whole[begin : begin + count]), rank, group=self.control)
            begin += count
        return whole

    # ------------------------------------------------------------------------------ words and numbers

    def of_first(self, value: Result) -> Result:
        """Return the first process's value in all of them; it must be one that can be pickled."""
        if self.alone:
            return value
        held: list[Any] = [value if self.first else None]
        with self._telling(torch.device("cpu"), 0):
            dist.broadcast_object_list(held, 0, group=self.control)
        result: Result = held[0]
        return result

    def of_all(self, value: Result) -> list[Result]:
        """Return the values of all processes, in order."""
        if self.alone:
            return [value]
        held: list[Any] = [None] * self.size
        with self._telling(torch.device("cpu"), 0):
            dist.all_gather_object(held, value, group=self.control)
        return held

    def largest(self, value: int) -> int:
        """Return the largest number of all processes."""
        if self.alone:
            return value
        held = torch.tensor([value])
        with self._telling(held.device, 2 * held.nbytes):
            dist.all_reduce(held, dist.ReduceOp.MAX, group=self.control)
        return int(held)

    def on_first(self, work: Callable[[], Result]) -> Result:
        """Do something in the first process alone; all get its result, or raise its UserError."""
        result: Any = None
        with self.in_turn():
            if self.first:
                result = work()
        return self.of_first(result)  # type: ignore[no-any-return]

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """Let the first process go through the block before the others, which then find what it has made.

        Where it raises a UserError there, so do all.
        """
        if not self.first:
            said = self.of_first(None)
            if said is not None:
                raise TogetherError(said)
            yield
            return
        try:
            yield
        except UserError as error:
            self.of_first(str(error))
            raise
        self.of_first(None)

    # --------------------------------------------------------------------------------------- how long

    @contextmanager
    def _telling(self, device: torch.device, sent: float) -> Iterator[None]:
        """Time a call, and turn an error of it into one line."""
        self.traffic.sent_bytes += sent
        begin = time.perf_counter()
        marks: tuple[torch.cuda.Event, torch.cuda.Event] | None = None
        if device.type == "cuda":
            make: Callable[..., torch.cuda.Event] = torch.cuda.Event
            marks = make(enable_timing=True), make(enable_timing=True)
            marks[0].record()
        try:
            yield
        except RuntimeError as error:
            raise self.lost(error) from None
        if marks is None:
            self.traffic.seconds += time.perf_counter() - begin
        else:
            marks[1].record()
            self.traffic.events.append(marks)

    def lost(self, error: BaseException) -> LostProcessError:
        """The error of a message that did not arrive."""
        reason = " ".join(str(error).split())[:120]
        return LostProcessError(
            f"process {self.rank} of {self.size} (from 0): another one has ended or cannot be reached ({reason}); the "
            "last checkpoint is kept; run again with --resume"
        )


def _buckets(parameters: Sequence[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """Parameters of one type, in groups of at most BUCKET numbers or of one parameter."""
    for dtype in dict.fromkeys(parameter.dtype for parameter in parameters):
        bucket: list[nn.Parameter] = []
        for parameter in (one for one in parameters if one.dtype == dtype):
            if bucket and sum(one.numel() for one in bucket) + parameter.numel() > BUCKET:
                yield bucket
                bucket = []
            bucket.append(parameter)
        if bucket:
            yield bucket


_current = Processes()


def processes() -> Processes:
    """The processes of this run; one that is alone where it was not started with others."""
    return _current


def set_processes(found: Processes) -> None:
    """Say which processes this run has, from now on."""
    global _current
    _current = found
