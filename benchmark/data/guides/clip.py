"""Image vectors of a pretrained CLIP from the Hub: its projection of each picture, as it is, not normalised.

Pictures are prepared as in CLIP's own code: shorter side to the model's size, bicubic, then the centre.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub import try_to_load_from_cache
from PIL import Image

from benchmark.data.published.remote import SourceRefusedError, fetch_file
from benchmark.errors import UserError
from benchmark.files import sha256_file

MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)
"""The mean and standard deviation of the colours, from 0 to 1, over the pictures that CLIP was trained on."""

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
"""The possible names of the file of weights, the preferred one first."""

Floats = np.ndarray[Any, np.dtype[np.float32]]


class CLIPVectors:
    """Vectors (n, D) of pictures; a `GuideExtractor` of sources.py."""

    proxy = False

    def __init__(self, name: str, revision: str, device: torch.device) -> None:
        """Fetch a CLIP's configuration and weights.

        Raises UserError where they are neither cached nor reachable, or the repository has none.
        """
        self.name, self.revision, self.device = name, revision, device
        self.folder = fetch_file(name, "config.json", revision).parent
        self.weights = _fetch_weights(name, revision)

    @cached_property
    def identity(self) -> str:
        """Preparation and the sha256 of the weights: everything but rounding."""
        return f"clip-1 {self.name} at {self._size} ({sha256_file(self.weights)})"

    @property
    def description(self) -> str:
        return f"image vectors of {self.name}"

    @cached_property
    def _model(self) -> Any:
        from transformers import CLIPModel  # it takes seconds to import

        try:  # the whole model, whose configuration alone says how wide the projection is
            model, report = CLIPModel.from_pretrained(
                self.folder, dtype=torch.float32, output_loading_info=True
            )
        except Exception as error:  # whatever a damaged or foreign file makes the library raise
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"{self.weights.name} of {self.name} cannot be read as a CLIP: {reason}"
            ) from None
        if report["missing_keys"]:
            lacking = sorted(report["missing_keys"])[0]
            raise UserError(f"{self.weights.name} of {self.name} is no whole CLIP: it lacks {lacking}")
        return model.eval().to(self.device)

    @property
    def _size(self) -> int:
        """Pixels of a side."""
        size: int = self._model.config.vision_config.image_size
        return size

    def vectors(self, pictures: Sequence[Image.Image]) -> Floats:
        """(n, D) float32; the same for any batch but for rounding."""
        pixels = torch.stack([prepared(picture, self._size) for picture in pictures])  # (n, 3, S, S)
        with torch.no_grad():
            seen = self._model.vision_model(pixel_values=pixels.to(self.device)).pooler_output
            found: Floats = self._model.visual_projection(seen).float().cpu().numpy()
        return found


def prepared(picture: Image.Image, size: int) -> torch.Tensor:
    """Return a picture as CLIP reads it, (3, size, size)."""
    width, height = picture.size
    scale = size / min(width, height)
    wide, high = (size, int(height * scale)) if width <= height else (int(width * scale), size)
    left, top = round((wide - size) / 2), round((high - size) / 2)
    cut = picture.resize((wide, high), Image.Resampling.BICUBIC).crop((left, top, left + size, top + size))
    pixels = torch.from_numpy(np.array(cut)).permute(2, 0, 1) / 255
    mean, deviation = (torch.tensor(part)[:, None, None] for part in (MEAN, DEVIATION))
    return (pixels - mean) / deviation


def _fetch_weights(name: str, revision: str) -> Path:
    for file in WEIGHTS:  # either may be cached already
        cached = try_to_load_from_cache(name, file, revision=revision)
        if isinstance(cached, str):
            return Path(cached)
    for file in WEIGHTS:
        try:
            return fetch_file(name, file, revision)
        except SourceRefusedError:
            continue  # a repository has one or the other
    raise UserError(
        f"{name}: found neither {' nor '.join(WEIGHTS)}, expected a CLIP of the library transformers"
    )
