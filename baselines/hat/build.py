"""Builds HAT: random weights of the configured sizes, or the pretrained encoders that the paper starts from.

Pretrained parts are Swin-B on ImageNet-22k (hat.md 3.3) and BERT-base uncased (hat.md 3.4); the norms of the
stages 0-2 and the projections are fresh in any case (hat.md 3.2).
"""

from __future__ import annotations

from typing import Any

import timm
from timm.models.swin_transformer import SwinTransformer
from torch import nn

from baselines.hat.model import HAT, HATConfig
from baselines.layers.bert import build_bert, unfit, weights_file
from benchmark.errors import UserError
from benchmark.method import DataFacts


def pretrained_parts(config: HATConfig) -> list[str]:
    """Hub repositories that `pretrained=True` downloads."""
    return [f"timm/{config.swin.pretrained}", config.bert.pretrained]


def build_hat(config: HATConfig, facts: DataFacts) -> HAT:
    """Build HAT with random weights, or with the pretrained encoders that `config` names if `facts.pretrained`.

    Raises UserError when pretrained parts can't be fetched or don't fit the configuration.
    """
    if config.initialisation == "fan_in" and facts.pretrained:
        raise UserError(
            "field 'model.initialisation': found 'fan_in' with pretrained weights, which it would overwrite; "
            "expected 'published'"
        )
    model = HAT(config, _build_swin(config, facts.pretrained), build_bert(config.bert, facts))
    if config.initialisation == "fan_in":
        for layer in model.modules():
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
    return model


def _build_swin(config: HATConfig, pretrained: bool) -> SwinTransformer:
    swin = config.swin
    settings: dict[str, Any] = {
        "img_size": config.image_size,
        "patch_size": swin.patch,
        "num_classes": 0,
        "embed_dim": swin.embed_dim,
        "depths": swin.depths,
        "num_heads": swin.num_heads,
        "window_size": swin.window or config.image_size // 32,
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
