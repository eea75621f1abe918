"""Queues of keys: the latest vectors of a momentum encoder, which stand for negatives beyond the batch (user.md 5)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class KeyQueues(nn.Module):
    """Two queues of the same size, of captions and of images, filled in step; they belong to the model's state.

    They begin with vectors from U[0, 1), normalised, as published (user.md 3.4): all in the positive orthant.
    """

    captions: Tensor
    images: Tensor
    pointer: Tensor

    def __init__(self, dim: int, size: int) -> None:
        super().__init__()
        self.register_buffer("captions", F.normalize(torch.rand(dim, size), dim=0))  # (D, K)
        self.register_buffer("images", F.normalize(torch.rand(dim, size), dim=0))  # (D, K)
        self.register_buffer("pointer", torch.tensor(0))

    @torch.no_grad()
    def enqueue(self, images: Tensor, captions: Tensor) -> None:
        """The keys (B, D) of a batch take the place of the oldest; B must divide the size of the queues."""
        size, count = self.images.shape[1], len(images)
        assert size % count == 0, f"a queue of {size} cannot be filled {count} at a time"
        places = self.pointer + torch.arange(
            count, device=images.device
        )  # on the device: the host need not know
        self.images.index_copy_(1, places, images.T.to(self.images.dtype))
        self.captions.index_copy_(1, places, captions.T.to(self.captions.dtype))
        self.pointer.add_(count).remainder_(size)
