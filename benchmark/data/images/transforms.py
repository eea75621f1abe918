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
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmark.data.images.resizing import resize_bicubic
from benchmark.inputs import (
    ImageInput,
    ImageTransform,
    OwnPixelInput,
    PixelInput,
    RegionInput,
    WholePixelInput,
)

AREA = (0.08, 1.0)
"""The share of the picture's area that a training crop has."""

RATIO = (3 / 4, 4 / 3)
"""The width over the height of a training crop; drawn evenly on a logarithmic scale."""

CROP_AREA = (0.64, 1.0)
"""The area of a `scale_crop_flip` crop, as a share of the largest area that fits with its ratio (data.md 7.6)."""

_LOG_RATIO = torch.log(torch.tensor(RATIO)).tolist()  # in float32, as torchvision draws it

BILINEAR = (
    Image.Resampling.BILINEAR
)  # Pillow's: a filter as wide as the pictures shrink, so there is no aliasing


def seeded(key: Sequence[int]) -> torch.Generator:
    """Make a generator for `key`, which nothing else draws from."""
    state = np.random.SeedSequence(key).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state) >> 1)


def evaluation_image(image: Image.Image, spec: PixelInput) -> Image.Image:
    """Cut and scale an RGB picture as it is evaluated, size x size."""
    size = spec.size
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
    """Cut and scale an RGB picture as it is trained on, size x size; crop and flip depend on `key` only."""
    if spec.train == "plain":
        return evaluation_image(image, spec)
    generator = seeded(key)
    box = crop_box(*image.size, generator)
    image = image.crop(box)
    if image.size != (spec.size, spec.size):
        image = image.resize((spec.size, spec.size), BILINEAR)
    flipped = bool(torch.rand(1, generator=generator) < 0.5)
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flipped else image


def crop_box(width: int, height: int, generator: torch.Generator) -> tuple[int, int, int, int]:
    """Draw left, top, right and bottom of a crop as torchvision's RandomResizedCrop does, in its order.

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


def stored_image(image: Image.Image, spec: WholePixelInput) -> Image.Image:
    """Make a picture as the authors stored it: shorter side `resize_to`, bicubic, perhaps through a JPEG file."""
    scale = spec.resize_to / min(image.size)
    width, height = (round(side * scale) for side in image.size)
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    if spec.stored_quality is None:
        return image
    file = io.BytesIO()
    image.save(file, "JPEG", quality=spec.stored_quality)
    return Image.open(file).convert("RGB")


def scaled_crop(image: Image.Image, spec: WholePixelInput, key: Sequence[int]) -> Tensor:
    """Cut a large part of the stored picture, (3, size, size) float32 of about 0..255; draws depend on `key` only."""
    generator = seeded(key)
    stored = stored_image(image, spec)
    left, top, right, bottom = scaled_box(*stored.size, generator)
    pixels = resize_bicubic(np.asarray(stored)[top:bottom, left:right], spec.size, spec.size)  # (S, S, 3)
    if torch.rand(1, generator=generator) < 0.5:
        pixels = pixels[:, ::-1]
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def scaled_box(width: int, height: int, generator: torch.Generator) -> tuple[int, int, int, int]:
    """Draw left, top, right and bottom of a crop: a ratio, a share of the largest part that has it, a place."""
    ratio = math.exp(torch.empty(1).uniform_(*_LOG_RATIO, generator=generator).item())
    share = math.sqrt(torch.empty(1).uniform_(*CROP_AREA, generator=generator).item())
    largest = min(width / math.sqrt(ratio), height * math.sqrt(ratio))  # side of the square of that area
    w, h = round(share * largest * math.sqrt(ratio)), round(share * largest / math.sqrt(ratio))
    left = int(torch.randint(0, width - w + 1, (1,), generator=generator))
    top = int(torch.randint(0, height - h + 1, (1,), generator=generator))
    return left, top, left + w, top + h


def as_pixels(images: Sequence[Image.Image], size: int) -> Tensor:
    """Stack RGB pictures of size x size as (B, 3, size, size) uint8."""
    pixels = np.empty((len(images), 3, size, size), dtype=np.uint8)
    for image, planes in zip(images, pixels, strict=True):
        for band, plane in zip("RGB", planes, strict=True):  # twice as fast as turning an array's axes
            plane[:] = np.frombuffer(image.tobytes("raw", band), np.uint8).reshape(size, size)
    return torch.from_numpy(pixels)  # (B, 3, S, S)


def normalise(pixels: Tensor, spec: PixelInput | WholePixelInput) -> Tensor:
    """Make float32 of (B, 3, H, W) from 0 to 255: over the divisor, less the mean, over the deviation.

    This happens where the pixels lie. Each step is rounded by itself, so that a GPU can give the CPU's bits; for that
    the divisor is a tensor there, since by a plain number a GPU does not divide but multiplies by its reciprocal.
    """
    device = pixels.device
    mean, std = (torch.tensor(three, device=device).reshape(3, 1, 1) for three in (spec.mean, spec.std))
    divisor = torch.tensor(spec.divisor, device=device)
    if device.type == "cpu":
        # numpy asks for large memory pages, torch does not: filling a fresh batch takes less than half the time
        values = torch.from_numpy(np.empty(pixels.shape, dtype=np.float32))
    else:
        values = torch.empty(pixels.shape, device=device)
    return values.copy_(pixels).div_(divisor).sub_(mean).div_(std)  # (B, 3, S, S)


# the transform of an input


class PictureTransform(ABC):
    """Turns a picture into a tensor that can be kept, and a batch of those into the model's input."""

    one_shape: ClassVar[bool] = False
    """True where evaluated pictures have the same shape as those of training."""

    @property
    def fixed(self) -> bool:
        """True where a training picture is the same (3, size, size) uint8 in every epoch."""
        return False

    @abstractmethod
    def train(self, picture: Image.Image, key: Sequence[int]) -> Tensor:
        """Return a picture as it is trained on; random numbers depend on `key` only."""

    @abstractmethod
    def evaluate(self, picture: Image.Image) -> Tensor:
        """Return a picture as it is evaluated."""

    def finish(self, batch: Tensor) -> Tensor:
        """Return the model's input, float32, on the device where the batch lies."""
        return batch


@dataclass(frozen=True)
class SquareTransform(PictureTransform):
    """The transform of pictures that are cut and scaled to a square, kept as uint8."""

    spec: PixelInput
    one_shape: ClassVar[bool] = True

    @property
    def fixed(self) -> bool:
        return self.spec.train == "plain"

    def train(self, picture: Image.Image, key: Sequence[int]) -> Tensor:
        return as_pixels([training_image(picture, self.spec, key)], self.spec.size)[0]

    def evaluate(self, picture: Image.Image) -> Tensor:
        return as_pixels([evaluation_image(picture, self.spec)], self.spec.size)[0]

    def finish(self, batch: Tensor) -> Tensor:
        return normalise(batch, self.spec)


@dataclass(frozen=True)
class WholeTransform(PictureTransform):
    """The transform of pictures that are trained on as large crops, and evaluated whole."""

    spec: WholePixelInput

    @property
    def fixed(self) -> bool:
        return self.spec.train == "plain"

    def train(self, picture: Image.Image, key: Sequence[int]) -> Tensor:
        if not self.fixed:
            return scaled_crop(picture, self.spec, key)
        size = self.spec.size
        return as_pixels([picture.resize((size, size), Image.Resampling.BICUBIC)], size)[0]

    def evaluate(self, picture: Image.Image) -> Tensor:
        stored = np.array(stored_image(picture, self.spec))
        return torch.from_numpy(stored.transpose(2, 0, 1).copy())  # (3, H, W)

    def finish(self, batch: Tensor) -> Tensor:
        return normalise(batch, self.spec)


@dataclass(frozen=True)
class OwnTransform(PictureTransform):
    """The transform that a method brings; torch's generator is seeded for each training picture, and put back."""

    transform: ImageTransform

    def train(self, picture: Image.Image, key: Sequence[int]) -> Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seeded(key).initial_seed())  # leaves those of GPUs alone
            return self.transform.train(picture)

    def evaluate(self, picture: Image.Image) -> Tensor:
        return self.transform.evaluate(picture)


def transform_of(image: ImageInput) -> PictureTransform | None:
    """Return the transform that an input calls for; None where no picture is read."""
    match image:
        case PixelInput():
            return SquareTransform(image)
        case WholePixelInput():
            return WholeTransform(image)
        case OwnPixelInput():
            return OwnTransform(image.transform)
        case RegionInput():
            return None
