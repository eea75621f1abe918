"""Batch norm that stores a standard deviation (dualpath.md 3.1).

Statistics of a batch are kept aside while it trains; the model takes them out with `seen_moments` and hands them
back to `update` once a step, so that computing a step again changes nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.distributed import shares


class DeviationNorm(nn.Module):
    """The norm y = g (x - mean) / s + b over dimension 1, s = sqrt(biased variance + eps).

    Stored are running means of (mean, s), with eps in s already: a test adds none. They begin at zero, as published,
    and move by `rate` a step, which is not scaled by the learning rate.
    """

    weight: nn.Parameter
    bias: nn.Parameter
    moments: Tensor

    def __init__(self, channels: int, *, eps: float = 1e-3, rate: float = 0.05) -> None:
        super().__init__()
        self.eps, self.rate = eps, rate
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("moments", torch.zeros(channels, 2))
        self.seen: Tensor | None = None
        """Moments (C, 2) of the latest batch in train mode."""

    def forward(self, values: Tensor) -> Tensor:
        """Values (B, C, ...) -> the same shape; by the batch's moments in train mode, frozen or not."""
        if self.training:
            return self._by_batch(values)
        shape = (1, -1) + (1,) * (values.ndim - 2)
        scale = self.weight / self.moments[:, 1]
        shift = self.bias - self.moments[:, 0] * scale
        return values * scale.view(shape) + shift.view(shape)

    def _by_batch(self, values: Tensor) -> Tensor:
        count = shares.whole_count(values.numel() // values.shape[1])
        mean, variance = torch.zeros_like(self.bias), torch.zeros_like(self.bias)
        if count > 1:  # torch's kernel leaves mean and unbiased variance in what it is given
            normalised = F.batch_norm(
                values, mean, variance, self.weight, self.bias, training=True, momentum=1.0, eps=self.eps
            )
            variance = variance * (count - 1) / count
        else:  # of a single value: x - mean is zero
            mean = values.detach().flatten()
            normalised = values - values + self.bias.view(1, -1, *[1] * (values.ndim - 2))
        self.seen = torch.stack([mean, (variance + self.eps).sqrt()], dim=1).detach()  # (C, 2)
        return normalised

    @torch.no_grad()
    def update(self, seen: Tensor) -> None:
        """Take in the moments (C, 2) of a batch."""
        self.moments.mul_(1 - self.rate).add_(seen, alpha=self.rate)


def norms(module: nn.Module) -> dict[str, DeviationNorm]:
    """All norms inside a module by their names."""
    return {name: part for name, part in module.named_modules() if isinstance(part, DeviationNorm)}


def seen_moments(module: nn.Module) -> dict[str, Tensor]:
    """The moments that each norm has seen since they were last asked for; they are forgotten."""
    found = {}
    for name, norm in norms(module).items():
        if norm.seen is not None:
            found[name], norm.seen = norm.seen, None
    return found


def as_deviation_norms(module: nn.Module, rate: float) -> None:
    """Put a DeviationNorm in the place of every torch batch norm in a module; in test mode the same values come out."""
    for name, part in list(module.named_children()):
        if isinstance(part, nn.BatchNorm2d):
            norm = DeviationNorm(part.num_features, eps=part.eps, rate=rate)
            assert part.running_mean is not None
            assert part.running_var is not None
            with torch.no_grad():
                norm.weight.copy_(part.weight)
                norm.bias.copy_(part.bias)
                norm.moments.copy_(torch.stack([part.running_mean, (part.running_var + part.eps).sqrt()], 1))
            setattr(module, name, norm.train(part.training))
        else:
            as_deviation_norms(part, rate)
