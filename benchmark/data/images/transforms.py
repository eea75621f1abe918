"""Pictures as tensors: the published transforms (data.md 7.6), pixel for pixel those of torchvision on PIL images.

Cutting and scaling is Pillow's, one picture at a time; scaling to 0..1 and normalising happen a batch at a time.

On one core a photo-like JPEG file of 500x375 and 100 KB takes 1.6 ms to decode, 0.9 ms to cut, scale and turn for
training (1.4 ms for evaluation) and 0.2 ms to normalise. What would be faster has other pixels: torch's own scaling
of uint8 takes half the time and differs by 1 in 0.16 % of the values, and decoding at a smaller scale differs more.
torchvision's JPEG decoder gives Pillow's pixels, but not as the Pillow image that the scaling needs.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmark.data.images.resizing import resize_bicubic
from benchmark.inputs import PixelInput

AREA = (0.08, 1.0)
"""Share of the picture's area that a training crop has."""

RATIO = (3 / 4, 4 / 3)
"""Width over height of a training crop; drawn evenly on a logarithmic scale."""

CROP_AREA = (0.64, 1.0)
"""The area of a `scale_crop_flip` crop, as a share of the largest area that fits with its ratio (data.md 7.6)."""

_LOG_RATIO = torch.log(torch.tensor(RATIO)).tolist()  # in float32, as torchvision draws it

BILINEAR = (
    Image.Resampling.BILINEAR
)  # Pillow's: a filter as wide as the pictures shrink, so there is no aliasing


def seeded(key: Sequence[int]) -> torch.Generator:
    """A generator of its own for `key`, which nothing else draws from."""
    state = np.random.SeedSequence(key).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state) >> 1)


def evaluation_image(image: Image.Image, spec: PixelInput) -> Image.Image:
    """One RGB picture as it is evaluated, size x size; a whole one keeps its shape."""
    size = spec.size
    if spec.evaluate == "whole":
        return stored_image(image, spec)
    if spec.evaluate == "resize":
        return image if image.size == (size, size) else image.resize((size, size), BILINEAR)
    width, height = image.size
    short, long = spec.resize_to, int(spec.resize_to * max(image.size) / min(image.size))  # rounded down
    wide, high = (short, long) if width <= height else (long, short)
    left, top = (round((edge - size) / 2) for edge in (wide, high))  # halves to even, as torchvision rounds
    # Pillow scales across, then down: what the cut takes off the sides need not go through the second pass
    image = image.resize((wide, height), BILINEAR).crop((left, 0, left + size, height))
    return image.resize((size, high), BILINEAR).crop((0, top, size, top + size))


def training_image(image: Image.Image, spec: PixelInput, key: Sequence[int]) -> Image.Image:
    """One RGB picture as it is trained on, size x size; crop and flip depend on `key` only."""
    if spec.train == "plain":
        if spec.evaluate == "whole":
            return image.resize((spec.size, spec.size), Image.Resampling.BICUBIC)
        return evaluation_image(image, spec)
    generator = seeded(key)
    box = crop_box(*image.size, generator)
    image = image.crop(box)
    if image.size != (spec.size, spec.size):
        image = image.resize((spec.size, spec.size), BILINEAR)
    flipped = bool(torch.rand(1, generator=generator) < 0.5)
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flipped else image


def crop_box(width: int, height: int, generator: torch.Generator) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a random crop, with the draws of torchvision's RandomResizedCrop in their order.

    Ten tries at an area and a ratio that fit; else the largest centred part whose ratio is allowed.
    """
    for _ in range(10):
        area = width * height * torch.empty(1).uniform_(*AREA, generator=generator).item()
        ratio = torch.exp(torch.empty(1).uniform_(*_LOG_RATIO, generator=generator)).item()
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            top = int(torch.randint(0, height - h + 1, (1,), generator=generator))
            left = int(torch.randint(0, width - w + 1, (1,), generator=generator))
            return left, top, left + w, top + h
    w, h = width, height
    if width / height < RATIO[0]:
        h = round(width / RATIO[0])
    elif width / height > RATIO[1]:
        w = round(height * RATIO[1])
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


# whole pictures and large crops (data.md 7.6, 7.7)


def stored_image(image: Image.Image, spec: PixelInput) -> Image.Image:
    """A picture as the authors stored it: its shorter side `resize_to`, bicubic, and perhaps through a JPEG file."""
    scale = spec.resize_to / min(image.size)
    width, height = (round(side * scale) for side in image.size)
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    if spec.stored_quality is None:
        return image
    file = io.BytesIO()
    image.save(file, "JPEG", quality=spec.stored_quality)
    return Image.open(file).convert("RGB")


def scaled_crop(image: Image.Image, spec: PixelInput, key: Sequence[int]) -> Tensor:
    """A large crop of the stored picture, (3, size, size) float32 of about 0..255; all draws depend on `key` only."""
    generator = seeded(key)
    stored = stored_image(image, spec)
    left, top, right, bottom = scaled_box(*stored.size, generator)
    pixels = resize_bicubic(np.asarray(stored)[top:bottom, left:right], spec.size, spec.size)  # (S, S, 3)
    if torch.rand(1, generator=generator) < 0.5:
        pixels = pixels[:, ::-1]
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def scaled_box(width: int, height: int, generator: torch.Generator) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a crop: a ratio, then a share of the largest part that has it, then a place."""
    ratio = math.exp(torch.empty(1).uniform_(*_LOG_RATIO, generator=generator).item())
    share = math.sqrt(torch.empty(1).uniform_(*CROP_AREA, generator=generator).item())
    largest = min(width / math.sqrt(ratio), height * math.sqrt(ratio))  # side of the square of that area
    w, h = round(share * largest * math.sqrt(ratio)), round(share * largest / math.sqrt(ratio))
    left = int(torch.randint(0, width - w + 1, (1,), generator=generator))
    top = int(torch.randint(0, height - h + 1, (1,), generator=generator))
    return left, top, left + w, top + h


def whole_pixels(image: Image.Image, spec: PixelInput) -> Tensor:
    """A picture as it is evaluated whole, (3, height, width) uint8."""
    return torch.from_numpy(np.array(evaluation_image(image, spec)).transpose(2, 0, 1).copy())


def as_pixels(images: Sequence[Image.Image], size: int) -> Tensor:
    """RGB pictures of size x size as (B, 3, size, size) uint8."""
    pixels = np.empty((len(images), 3, size, size), dtype=np.uint8)
    for image, planes in zip(images, pixels, strict=True):
        for band, plane in zip("RGB", planes, strict=True):  # twice as fast as turning an array's axes
            plane[:] = np.frombuffer(image.tobytes("raw", band), np.uint8).reshape(size, size)
    return torch.from_numpy(pixels)  # (B, 3, S, S)


def normalise(pixels: Tensor, spec: PixelInput) -> Tensor:
    """(B, 3, H, W) uint8, or float32 of that range -> float32, over the divisor, less the mean, over the deviation."""
    mean = torch.tensor(spec.mean).reshape(3, 1, 1)
    std = torch.tensor(spec.std).reshape(3, 1, 1)
    # numpy asks for large memory pages, torch does not: filling a fresh batch takes less than half the time
    values = torch.from_numpy(np.empty(pixels.shape, dtype=np.float32))
    return values.copy_(pixels).div_(spec.divisor).sub_(mean).div_(std)  # (B, 3, S, S)
