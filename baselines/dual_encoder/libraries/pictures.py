"""Pictures through a library's own preprocessing, whole or as large crops."""

from __future__ import annotations

from collections.abc import Callable

from PIL.Image import Image
from torch import Tensor
from torchvision.transforms import RandomResizedCrop

from baselines.dual_encoder.config import DualConfig
from benchmark.inputs import ImageTransform

CROP_AREA, CROP_RATIO = [0.9, 1.0], [3 / 4, 4 / 3]
"""The share of a picture that `large_crops` keeps, and its width over its height."""


def place_of(config: DualConfig) -> str:
    """Return a repository and its commit for identities."""
    return f"{config.name}@{(config.revision or 'newest')[:12]}"


class CroppedPictures(ImageTransform):
    """Pictures as a library makes them of RGB pictures: `make` gives a tensor (3, H, W)."""

    def __init__(self, make: Callable[[Image], Tensor], what: str, place: str, train_transform: str) -> None:
        self.make, self.crops = make, train_transform == "large_crops"
        self.identity = f"{what} of {place}" + ("; large crops" if self.crops else "")

    def train(self, picture: Image) -> Tensor:
        """Return a picture, or a large crop of it, as it is evaluated, (3, H, W)."""
        if self.crops:
            top, left, height, width = RandomResizedCrop.get_params(picture, CROP_AREA, CROP_RATIO)
            picture = picture.crop((left, top, left + width, top + height))
        return self.evaluate(picture)

    def evaluate(self, picture: Image) -> Tensor:
        """Return a picture as the library makes it, (3, H, W)."""
        return self.make(picture)
