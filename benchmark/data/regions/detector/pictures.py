"""Pictures as the detector reads them: blue, green, red, less the mean, the shorter side of a wanted length."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmark.data.regions.detector.boxes import STRIDE
from benchmark.data.regions.detector.settings import DetectorSettings

Picture = np.ndarray[Any, np.dtype[np.uint8]]
"""(H, W, 3), red, green, blue."""

MEAN = (102.9801, 115.9465, 122.7717)
"""Of blue, green and red (data.md 3.1)."""


def scale_of(picture: Picture, settings: DetectorSettings) -> float:
    """Return the factor that a picture is resized by: to the shorter side, unless the longer one becomes too long."""
    sides = picture.shape[:2]
    return min(settings.short_side / min(sides), settings.longest_side / max(sides))


def prepare(picture: Picture, settings: DetectorSettings) -> Tensor:
    """Return a picture (3, h, w) float32 for the network; the sides of freakish ones are 16 pixels at least.

    Sizes are rounded as in data.md 3.3: half a pixel is added, and the fraction cut off. In mode `caffe` resized values
    are not rounded, which is the same as to subtract the mean before resizing, as the original does (data.md 3.1).
    """
    scale = scale_of(picture, settings)
    height, width = (max(STRIDE, int(side * scale + 0.5)) for side in picture.shape[:2])
    kind = np.uint8 if settings.mode == "hub" else np.float32
    planes = (Image.fromarray(picture[..., colour].astype(kind)) for colour in (2, 1, 0))
    pixels = [
        np.asarray(plane.resize((width, height), Image.Resampling.BILINEAR), np.float32) for plane in planes
    ]
    return torch.from_numpy(np.stack(pixels)).sub_(torch.tensor(MEAN)[:, None, None])
