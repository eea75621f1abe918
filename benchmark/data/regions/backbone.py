"""6 x 6 cells of a picture through a pretrained timm backbone: its last feature map, averaged in each cell."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from math import isqrt
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from benchmark.batches import move
from benchmark.data.images.transforms import as_pixels, evaluation_image, normalise
from benchmark.data.published.remote import fetch_file
from benchmark.data.regions.arrays import Floats
from benchmark.errors import UserError, nearest
from benchmark.files import sha256_file
from benchmark.inputs import PixelInput

CELLS = 6


class BackboneCells:
    """Features (n, 36, D) of pictures; an `Extractor` of grid.py. The weights come from the Hub's `timm/<name>`."""

    def __init__(self, name: str, device: torch.device) -> None:
        """Fetch the weights of timm's model `name`; pictures are resized to the size that it was trained at.

        Raises UserError for an unknown name, and for weights that are neither cached nor reachable.
        """
        import timm  # it takes seconds to import

        known = timm.list_pretrained()
        if name not in known:
            raise UserError(
                f"field 'data.regions.backbone': timm has no weights '{name}'{nearest(name, known)}; or 'random'"
            )
        self.name, self.device = name, device
        self.weights: Path = fetch_file(f"timm/{name}", "model.safetensors", "main")
        settings = timm.data.resolve_data_config({}, pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
        size, mean, deviation = settings["input_size"][-1], tuple(settings["mean"]), tuple(settings["std"])
        self._spec = PixelInput(size, "plain", "resize", size, mean, deviation)

    @cached_property
    def identity(self) -> str:
        """Model, size and the sha256 of the weights: everything but rounding."""
        return f"backbone-cells-1 {self.name} at {self._spec.size} ({sha256_file(self.weights)})"

    @property
    def description(self) -> str:
        return f"6 x 6 cells of {self.name} at {self._spec.size} pixels"

    @cached_property
    def _model(self) -> Any:
        import timm

        try:  # the whole model, so that every tensor of the file has to fit
            model = timm.create_model(
                self.name, pretrained=True, pretrained_cfg_overlay={"file": str(self.weights)}
            )
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"{self.weights.name} of timm/{self.name} does not fit the model: {reason}"
            ) from None
        return model.eval().to(self.device)

    def cells(self, pictures: Sequence[Image.Image]) -> Floats:
        """(n, 36, D) float32, cells row by row; the same for any batch but for rounding.

        Raises UserError where the model has no feature map.
        """
        images = [evaluation_image(picture, self._spec) for picture in pictures]
        pixels = normalise(move(as_pixels(images, self._spec.size), self.device), self._spec)  # (n, 3, S, S)
        with torch.no_grad():
            maps = self._map_of(self._model.forward_features(pixels))  # (n, D, h, w)
            cells = F.adaptive_avg_pool2d(maps, CELLS).flatten(2).mT  # (n, 36, D)
        found: Floats = cells.float().cpu().numpy()
        return found

    def _map_of(self, features: Tensor) -> Tensor:
        """Features as a model gives them, tokens or a map with channels first or last -> (n, D, h, w)."""
        width = self._model.num_features
        if features.ndim == 4 and features.shape[1] == width:
            return features
        if features.ndim == 4 and features.shape[3] == width:
            return features.movedim(3, 1)
        tokens = (
            features[:, getattr(self._model, "num_prefix_tokens", 0) :] if features.ndim == 3 else features
        )
        side = isqrt(tokens.shape[1])
        if tokens.ndim != 3 or side**2 != tokens.shape[1]:
            shape = tuple(features.shape)
            raise UserError(
                f"field 'data.regions.backbone': '{self.name}' gives features of shape {shape}, expected a map; take a "
                "ResNet, a ViT or a Swin"
            )
        return tokens.mT.reshape(len(tokens), -1, side, side)
