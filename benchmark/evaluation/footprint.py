"""The memory that scoring a split takes, before there are codes: for `--dry-run`, and for a check before training."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from benchmark.batches import CaptionBatch, ImageBatch
from benchmark.evaluation.encoding import evaluation_mode
from benchmark.evaluation.scoring import block_of_images
from benchmark.inputs import InputSpec
from benchmark.method import Baseline

LONGEST = 80
"""Tokens of the longest caption where nothing cuts it and no text was read: 375 characters (data.md 1.5)."""


@dataclass(frozen=True)
class Footprint:
    """Bytes that scoring a split takes at most; the model is not among them."""

    captions: int
    """Codes of all captions, on the host."""
    images: int
    """Codes of a block of images and of the batch that waits for the next one, on the host."""
    matrix: int
    """The scores, on the host."""
    block: int
    """Codes of a block of images with those of its captions, on the device."""
    pairs: int
    """The budget of a block's temporaries, on the device."""

    @property
    def host(self) -> int:
        """Bytes on the host."""
        return self.captions + self.images + self.matrix

    @property
    def device(self) -> int:
        """Bytes where pairs are scored."""
        return self.block + self.pairs


NOTHING = Footprint(0, 0, 0, 0, 0)
"""Takes no memory."""


def measure_footprint(
    model: Baseline,
    spec: InputSpec,
    *,
    n_images: int,
    n_captions: int,
    longest: int,
    batch_size: int,
    memory_bytes: int,
    dtype: torch.dtype,
    device: torch.device,
) -> Footprint:
    """Encode one blank picture and one caption of `longest` tokens, and count up to a split; draws no random number."""
    index, image = torch.zeros(1, dtype=torch.long), spec.image
    guides = None if image.guide_dim is None else torch.zeros(1, image.guide_dim)
    picture = ImageBatch(torch.zeros(1, *image.shape), index, guides=guides)
    caption = CaptionBatch(torch.ones(1, longest, dtype=torch.long), torch.tensor([longest]), index)
    with evaluation_mode(model):
        images = model.encode_images(picture.to(device)).of_type(dtype)
        captions = model.encode_captions(caption.to(device)).of_type(dtype)
        pairs = memory_bytes // max(1, model.pair_bytes(images, captions))
    rows = max(1, block_of_images(n_images, n_captions, pairs))
    columns = min(n_captions, max(1, pairs // rows))
    return Footprint(
        captions=n_captions * captions.nbytes,
        images=min(n_images, rows + batch_size) * images.nbytes,
        matrix=n_images * n_captions * dtype.itemsize,
        block=rows * images.nbytes + columns * captions.nbytes,
        pairs=memory_bytes,
    )
