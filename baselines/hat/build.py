"""Builds HAT: random weights of the configured sizes, or the pretrained encoders that the paper starts from.

Pretrained parts are Swin-B on ImageNet-22k (hat.md 3.3) and BERT-base uncased (hat.md 3.4); the norms of the
stages 0-2 and the projections are fresh in any case.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
import torch
from huggingface_hub import HfApi, hf_hub_download, try_to_load_from_cache
from timm.models.swin_transformer import SwinTransformer
from torch import nn
from transformers import BertConfig, BertModel

from baselines.hat.model import HAT, HATConfig
from benchmark.baseline import DataFacts
from benchmark.errors import UserError


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
    model = HAT(config, _build_swin(config, facts.pretrained), _build_bert(config, facts))
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
    weights = {"file": str(_weights_file("swin", f"timm/{swin.pretrained}"))}
    try:
        return timm.create_model(swin.pretrained, pretrained=True, pretrained_cfg_overlay=weights, **settings)
    except RuntimeError as error:
        raise _unfit("swin", swin.pretrained, error) from None


def _build_bert(config: HATConfig, facts: DataFacts) -> BertModel:
    bert = config.bert
    settings = BertConfig(
        vocab_size=facts.vocab_size,
        hidden_size=bert.hidden,
        num_hidden_layers=bert.layers,
        num_attention_heads=bert.heads,
        intermediate_size=bert.intermediate,
        max_position_embeddings=bert.max_position,
        hidden_dropout_prob=bert.dropout,
        attention_probs_dropout_prob=bert.dropout,
        hidden_act="gelu",
        layer_norm_eps=1e-12,
        pad_token_id=facts.pad_id,
        attn_implementation="eager",  # deterministic everywhere, and 32 tokens are too few to gain from another
    )
    if not facts.pretrained:
        return BertModel(settings)
    folder = _weights_file("bert", bert.pretrained).parent
    try:
        model, report = BertModel.from_pretrained(
            folder, config=settings, dtype=torch.float32, output_loading_info=True
        )
    except RuntimeError as error:
        raise _unfit("bert", bert.pretrained, error) from None
    if report["missing_keys"]:
        raise _unfit("bert", bert.pretrained, f"it lacks {sorted(report['missing_keys'])[0]}")
    return model.train()


def _weights_file(part: str, repository: str) -> Path:
    """The repository's weights from the cache, else from the Hub; fails fast where the Hub can't be reached."""
    cached = try_to_load_from_cache(repository, "model.safetensors")
    if isinstance(cached, str):
        return Path(cached)
    try:
        HfApi().model_info(repository, timeout=10)
        return Path(hf_hub_download(repository, "model.safetensors"))
    except Exception as error:  # whatever the network, the Hub or its client raises is no fault of ours
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise UserError(
            f"pretrained weights '{repository}' (field model.{part}.pretrained) are not in the cache and can't be "
            f"fetched from the Hub: {reason}; get online once, or set pretrained: false"
        ) from None


def _unfit(part: str, name: str, reason: object) -> UserError:
    text = " ".join(str(reason).split())[:200]
    return UserError(
        f"pretrained weights '{name}' don't fit the sizes in model.{part} or the vocabulary: {text}"
    )
