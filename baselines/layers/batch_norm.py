"""Batch norm whose running statistics change only when they are told to: once a step, after the update.

A layer that counts while it normalises counts again whenever a step is computed again (chunks of pairs, gradient
checks). Here the statistics of a batch are handed out, and `update` takes them in.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class BatchNorm(nn.Module):
    """PyTorch's batch norm over dimension 1, with its names, eps 1e-5 and momentum 0.1.

    With one channel, an input (n, c, k) is c batches of their own that share weight, bias and running statistics.
    """

    weight: nn.Parameter
    bias: nn.Parameter
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, channels: int, *, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def forward(
        self, values: Tensor, *, batch_statistics: bool, padding: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Normalise `values` (n, c) or (n, c, k) per channel; also return the statistics used, (2, c).

        With `batch_statistics` these are mean and unbiased variance of the batch, of which each channel needs two
        values or more; otherwise the running ones. `padding` (c, k): true where `values` do not count.
        """
        channels = values.shape[1]
        if batch_statistics and padding is not None:
            return self._without_padding(values, padding)
        parts = (self.running_mean, self.running_var, self.weight, self.bias)
        mean, variance, weight, bias = (part.expand(channels).contiguous() for part in parts)
        if batch_statistics:
            mean, variance = torch.zeros_like(mean), torch.zeros_like(variance)
        # with a momentum of 1 what comes in is forgotten, and mean and unbiased variance come out
        normalised = F.batch_norm(
            values, mean, variance, weight, bias, batch_statistics, momentum=1.0, eps=self.eps
        )
        return normalised, torch.stack([mean, variance])

    def _without_padding(self, values: Tensor, padding: Tensor) -> tuple[Tensor, Tensor]:
        kept = (~padding).to(values.dtype)  # (c, k)
        counts = len(values) * kept.sum(1)  # (c,)
        mean = (values * kept).sum((0, 2)) / counts
        centred = (values - mean[:, None]) * kept
        squares = centred.square().sum((0, 2))  # (c,)
        scale = self.weight * (squares / counts + self.eps).rsqrt()
        normalised = torch.addcmul(self.bias[:, None], centred, scale[:, None])
        return normalised, torch.stack([mean, squares / (counts - 1)])

    @torch.no_grad()
    def update(self, statistics: Tensor) -> None:
        """Take in statistics (2, k channels) of k batches, first one first, as if they had come one by one."""
        batches = statistics.view(2, -1, len(self.running_mean))  # (2, k, channels)
        count = batches.shape[1]
        age = torch.arange(count - 1, -1, -1, device=batches.device, dtype=torch.float64)
        shares = (self.momentum * (1 - self.momentum) ** age).to(batches.dtype)  # (k,)
        for running, latest in zip((self.running_mean, self.running_var), batches, strict=True):
            running.mul_((1 - self.momentum) ** count).add_(shares @ latest)
        self.num_batches_tracked += count
