"""Pictures as the detector reads them: blue, green, red, less the mean, the shorter side of a wanted length."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmark.data.regions.detector.settings import DetectorSettings

Picture = np.ndarray[Any, np.dtype[np.uint8]]
"""(H, W, 3), red, green, blue."""

MEAN = (102.9801, 115.9465, 122.7717)
"""Of blue, green and red (data.md 3.1)."""


def scale_of(height: int, width: int, settings: DetectorSettings) -> float:
    """Return the factor that a picture is resized by: to the shorter side, unless the longer one becomes too long."""
    return min(settings.short_side / min(height, width), settings.longest_side / max(height, width))


def prepare(picture: Picture, settings: DetectorSettings) -> Tensor:
    """Return a picture (3, h, w) float32 for the network.

    Sizes are rounded as in data.md 3.3: half a pixel is added, and the fraction cut off. In mode `caffe` resized values
    are not rounded, which is the same as to subtract the mean before resizing, as the original does (data.md 3.1).
    """
    height, width = picture.shape[:2]
    scale = scale_of(height, width, settings)
    size = int(width * scale + 0.5), int(height * scale + 0.5)
    kind = np.uint8 if settings.mode == "hub" else np.float32
    pixels = [
        np.asarray(
            Image.fromarray(picture[..., colour].astype(kind)).resize(size, Image.Resampling.BILINEAR),
            np.float32,
        )
        for colour in (2, 1, 0)
    ]
    return torch.from_numpy(np.stack(pixels)).sub_(torch.tensor(MEAN)[:, None, None])
