"""HAT's image encoder, of any size: with random weights, or with those pretrained on ImageNet-22k (hat.md 3.3)."""

from __future__ import annotations

from typing import Any

import timm
from pydantic import Field
from timm.models.swin_transformer import SwinTransformer

from baselines.layers.bert import unfit, weights_file
from benchmark.strict import Strict


class SwinConfig(Strict):
    """The image encoder; the defaults are Swin-B (hat.md 3.2)."""

    patch: int = Field(default=4, ge=1)
    """Side of a patch in pixels."""
    embed_dim: int = Field(default=128, ge=1)
    """Width of stage 0; each stage doubles it."""
    depths: tuple[int, int, int, int] = (2, 2, 18, 2)
    """Blocks of each stage."""
    num_heads: tuple[int, int, int, int] = (4, 8, 16, 32)
    window: int | None = Field(default=None, ge=1)
    """Side of an attention window in tokens; null: image_size // 32, which the published code forces (hat.md 3.2)."""
    mlp_ratio: float = 4.0
    drop_path: float = Field(default=0.1, ge=0, lt=1)
    """Largest stochastic depth, growing linearly over the blocks; active wherever the model trains, frozen or not."""
    pretrained: str = "swin_base_patch4_window7_224.ms_in22k"
    """timm name of the weights to start from; the Microsoft ImageNet-22k ones, not timm's default tag."""


def build_swin(swin: SwinConfig, image_size: int, *, pretrained: bool) -> SwinTransformer:
    """Build the transformer; raises UserError where pretrained weights cannot be fetched or do not fit."""
    settings: dict[str, Any] = {
        "img_size": image_size,
        "patch_size": swin.patch,
        "num_classes": 0,
        "embed_dim": swin.embed_dim,
        "depths": swin.depths,
        "num_heads": swin.num_heads,
        "window_size": swin.window or image_size // 32,
        "mlp_ratio": swin.mlp_ratio,
        "drop_path_rate": swin.drop_path,
    }
    if not pretrained:
        return SwinTransformer(**settings)
    weights = {"file": str(weights_file("swin", f"timm/{swin.pretrained}"))}
    try:
        return timm.create_model(swin.pretrained, pretrained=True, pretrained_cfg_overlay=weights, **settings)
    except RuntimeError as error:
        raise unfit("swin", swin.pretrained, error) from None
