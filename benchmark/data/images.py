"""Pictures as tensors: the published transforms (hat.md 6), with torchvision.

Decoding and cropping give uint8; normalising happens a batch at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmark.baseline import PixelInput


@contextmanager
def seeded(*key: int) -> Iterator[None]:
    """Make torch's CPU generator depend on `key` only, and put it back as it was."""
    before = torch.get_rng_state()
    state = np.random.SeedSequence(key).generate_state(1, np.uint64)[0]
    # not torch.manual_seed, which would reset the devices' generators too
    torch.default_generator.manual_seed(int(state) >> 1)
    try:
        yield
    finally:
        torch.set_rng_state(before)


def evaluation_pixels(image: Image.Image, spec: PixelInput) -> Tensor:
    """One picture as it is evaluated: (3, size, size) uint8."""
    from torchvision.transforms import functional as tv  # here, since importing it takes seconds

    if spec.evaluate == "resize_center_crop":
        image = tv.center_crop(tv.resize(image, spec.resize_to), [spec.size, spec.size])
    elif image.size != (spec.size, spec.size):
        image = tv.resize(image, [spec.size, spec.size])
    pixels: Tensor = tv.pil_to_tensor(image)
    return pixels  # (3, S, S)


def training_pixels(image: Image.Image, spec: PixelInput, key: tuple[int, ...]) -> Tensor:
    """One picture as it is trained on, (3, size, size) uint8; crop and flip depend on `key` only."""
    if spec.train == "plain":
        return evaluation_pixels(image, spec)
    from torchvision import transforms
    from torchvision.transforms import functional as tv

    with seeded(*key):
        image = transforms.RandomResizedCrop(spec.size)(image)
        image = transforms.RandomHorizontalFlip()(image)
    pixels: Tensor = tv.pil_to_tensor(image)
    return pixels  # (3, S, S)


def normalise(pixels: Tensor, spec: PixelInput) -> Tensor:
    """(B, 3, S, S) uint8 -> float32, scaled to 0..1, less the mean, over the deviation."""
    mean = torch.tensor(spec.mean).reshape(3, 1, 1)
    std = torch.tensor(spec.std).reshape(3, 1, 1)
    return pixels.to(torch.float32).div_(255).sub_(mean).div_(std)  # (B, 3, S, S)
