"""A part of a batch that behaves as in the whole one: dropout draws what it would draw there, batch norm sees all.

Methods, and the libraries that they are made of, call torch's own functions. Those that look at a whole batch are
taken over while a process reads its part: every process draws for all rows and takes its own, and statistics of
batches are gathered. Whatever else draws random numbers is refused, since it would not be that of one process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from benchmark.distributed import gathering
from benchmark.distributed.processes import Processes
from benchmark.distributed.shares import Share, state, together, whole_count

_OTHER_DRAWS = {
    *(torch.rand, torch.randn, torch.randint, torch.randperm, torch.rand_like, torch.randn_like),
    *(torch.randint_like, torch.normal, torch.bernoulli, torch.multinomial, torch.poisson),
    *(torch.Tensor.normal_, torch.Tensor.uniform_, torch.Tensor.random_, torch.Tensor.exponential_),
    *(F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout, F.gumbel_softmax),
    *(torch.alpha_dropout, torch.feature_dropout, torch.feature_alpha_dropout, torch.native_dropout),
    *(F.rrelu, torch.rrelu),
}
"""Functions that draw from the common stream, and are not taken over."""


@contextmanager
def as_one_batch(processes: Processes, share: Share | None) -> Iterator[None]:
    """Let the block's model read the rows of `share`; None: it reads all rows, and so do all processes."""
    if processes.alone or share is None:
        yield
        return
    with together(processes, share), _AsOneBatch():
        yield


class _AsOneBatch(TorchFunctionMode):
    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        given = kwargs or {}
        now = state()
        assert now is not None, "only inside `together`"
        if function in (F.dropout, torch.dropout):
            return _dropout(*args, **given)
        if function is F.batch_norm and not now.apart:
            return _batch_norm(*args, **given)
        if function is torch.Tensor.bernoulli_:
            return _bernoulli(*args, **given)
        draws = function in _OTHER_DRAWS or _drops_inside(function, args, given)
        if draws and not now.drawing and given.get("generator") is None:
            name = getattr(function, "__name__", str(function))
            raise NotImplementedError(
                f"{name}: draws random numbers for a part of a batch, so that they depend on how it is divided; use "
                "dropout, or `benchmark.distributed.shares.draw`"
            )
        return function(*args, **given)


def _drops_inside(function: Callable[..., Any], args: tuple[Any, ...], given: dict[str, Any]) -> bool:
    """Return True for a function of torch that calls dropout itself, where its rate is not zero."""
    if function in (F.scaled_dot_product_attention, torch._C._nn.scaled_dot_product_attention):
        return bool(given.get("dropout_p", args[4] if len(args) > 4 else 0.0))
    if function is F.multi_head_attention_forward:
        return bool(given.get("training", True)) and any(
            isinstance(rate, float) and rate > 0 for rate in args
        )
    if function in (torch.gru, torch.lstm, torch.rnn_tanh, torch.rnn_relu):  # the one float is the rate
        return any(isinstance(rate, float) and rate > 0 for rate in args)
    return False


def _dropout(values: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """F.dropout, of the numbers that the whole batch would draw; `torch.dropout` has `train` in its place."""
    if p == 0 or not training:
        return F.dropout(values, p, training, inplace)
    factors = _own(F.dropout(_whole_like(values).fill_(1), p, training=True), values)
    return values.mul_(factors) if inplace else values * factors


def _bernoulli(values: Tensor, p: Any = 0.5, **given: Any) -> Tensor:
    """Tensor.bernoulli_, with a number for `p`."""
    if given.get("generator") is not None:
        return values.bernoulli_(p, **given)
    if isinstance(p, Tensor):
        raise NotImplementedError("bernoulli_: found a probability for each number, expected one for all")
    return values.copy_(_own(_whole_like(values).bernoulli_(p), values))


def _whole_like(values: Tensor) -> Tensor:
    """An empty tensor of the whole batch, its axes in the order in memory of those of `values`: draws follow it."""
    strides = values.stride()
    order = sorted(range(values.ndim), key=lambda axis: -strides[axis])
    size = (whole_count(len(values)), *values.shape[1:])
    return torch.empty_permuted(size, order, dtype=values.dtype, device=values.device)


def _own(whole: Tensor, values: Tensor) -> Tensor:
    """The rows of `values` in the whole batch, which has as many for each item."""
    now = state()
    assert now is not None, "only inside `together`"
    assert now.share is not None, "only where a part is read"
    each = len(values) // now.share.counts[now.share.rank]
    return whole[each * now.share.start : each * now.share.stop]


def _batch_norm(
    values: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """F.batch_norm, by the statistics of the whole batch."""
    if not training:
        return F.batch_norm(values, running_mean, running_var, weight, bias, training, momentum, eps)
    now = state()
    assert now is not None, "only inside `together`"
    count = whole_count(len(values)) * (values[0].numel() // values.shape[1])
    normalised, mean, variance = gathering.batch_norm(
        values, weight, bias, count=count, eps=eps, processes=now.processes
    )
    with torch.no_grad():
        for running, latest in ((running_mean, mean), (running_var, variance * (count / (count - 1)))):
            if running is not None:
                running.mul_(1 - momentum).add_(latest.to(running.dtype), alpha=momentum)
    return normalised
