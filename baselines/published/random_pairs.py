"""Batches of random pairs of the published sizes, for what times a training step."""

from __future__ import annotations

import torch

from benchmark.batches import CaptionBatch, ImageBatch, PairBatch

VOCABULARY = 8481
"""The words of Flickr30K's vocabulary as the authors of SCAN and its followers have it."""
WORD_PIECES = 30_522
"""The word pieces of bert-base-uncased."""


def random_pairs(
    count: int,
    device: torch.device,
    *,
    image: tuple[int, ...] = (36, 2048),
    lengths: tuple[int, int] = (6, 20),
    vocabulary: int = VOCABULARY,
) -> PairBatch:
    """Pairs of random images (count, *image), regions by default, and captions of random lengths, the same every time.

    `lengths`: words of the shortest and of the longest caption.
    """
    draw, index = torch.Generator().manual_seed(1), torch.arange(count)
    words = torch.randint(lengths[0], lengths[1] + 1, (count,), generator=draw)
    ids = torch.randint(4, vocabulary, (count, int(words.max())), generator=draw)
    ids[torch.arange(ids.shape[1]) >= words[:, None]] = 0
    pixels = torch.randn(count, *image, generator=draw)
    return PairBatch(ImageBatch(pixels, index), CaptionBatch(ids, words, index)).to(device)
