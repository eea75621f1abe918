"""6 x 6 cells of a picture through a pretrained timm backbone: its last feature map, averaged in each cell."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.baseline import PixelInput
from benchmark.data.images import as_pixels, evaluation_image, normalise
from benchmark.data.regions.arrays import Floats
from benchmark.data.remote import fetch_file
from benchmark.errors import UserError, nearest
from benchmark.files import sha256_file

CELLS = 6


class BackboneCells:
    """Features (n, 36, D) of pictures; an `Extractor` of grid.py. The weights come from the Hub's `timm/<name>`."""

    def __init__(self, name: str, device: torch.device) -> None:
        """Fetch the weights of timm's model `name`; pictures are resized to the size that it was trained at.

        Raises UserError for an unknown name, and for weights that are neither cached nor reachable.
        """
        import timm  # it takes seconds to import

        if not timm.is_model(name.partition(".")[0]):
            known = nearest(name, timm.list_models())
            raise UserError(f"field 'data.regions.backbone': timm has no model '{name}'{known}; or 'random'")
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
    def _model(self) -> nn.Module:
        import timm

        try:
            model: nn.Module = timm.create_model(
                self.name,
                pretrained=True,
                pretrained_cfg_overlay={"file": str(self.weights)},
                features_only=True,
                out_indices=(-1,),
            )
        except (RuntimeError, ValueError, TypeError, AttributeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"field 'data.regions.backbone': '{self.name}' gives no feature map ({reason}); take a ResNet or a ViT"
            ) from None
        return model.eval().to(self.device)

    def cells(self, pictures: Sequence[Image.Image]) -> Floats:
        """(n, 36, D) float32, cells row by row; the same for any batch but for rounding."""
        raw = as_pixels([evaluation_image(picture, self._spec) for picture in pictures], self._spec.size)
        pixels = normalise(raw, self._spec).to(self.device)  # (n, 3, S, S)
        with torch.no_grad():
            maps = self._channels_first(self._model(pixels)[-1])  # (n, D, h, w)
            cells = F.adaptive_avg_pool2d(maps, CELLS).flatten(2).mT  # (n, 36, D)
        found: Floats = cells.float().cpu().numpy()
        return found

    def _channels_first(self, maps: Tensor) -> Tensor:
        layout: Any = getattr(self._model, "output_fmt", "NCHW")
        return maps.movedim(-1, 1) if str(getattr(layout, "value", layout)) == "NHWC" else maps
