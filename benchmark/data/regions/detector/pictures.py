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
    height, width = picture.shape[:2]
    scale: float = min(settings.short_side / min(height, width), settings.longest_side / max(height, width))
    return scale


def prepare(picture: Picture, settings: DetectorSettings) -> Tensor:
    """Return a picture (3, h, w) float32 for the network; the sides of freakish ones are 16 pixels at least.

    Half a pixel goes up in mode `hub` (data.md 3.3), and to the even number in mode `caffe`, in which resized values
    are not rounded: that is the same as to subtract the mean before resizing, as the original does (data.md 3.1).
    """
    scale, port = scale_of(picture, settings), settings.mode == "hub"
    sides = (side * scale for side in picture.shape[:2])
    height, width = (max(STRIDE, int(side + 0.5) if port else round(side)) for side in sides)
    kind = np.uint8 if port else np.float32
    planes = (Image.fromarray(picture[..., colour].astype(kind)) for colour in (2, 1, 0))
    pixels = [
        np.asarray(plane.resize((width, height), Image.Resampling.BILINEAR), np.float32) for plane in planes
    ]
    return torch.from_numpy(np.stack(pixels)).sub_(torch.tensor(MEAN)[:, None, None])
