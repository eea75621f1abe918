"""HAT's two initialisations: the published one, and the one for narrow models trained from scratch."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from baselines.hat import METHOD
from baselines.hat.model import HATConfig
from baselines.hat.swin import SwinConfig
from baselines.layers.bert import BERTConfig
from benchmark.errors import UserError
from benchmark.method import DataFacts

SMALL = {
    "direction": "i2t",
    "image_size": 64,
    "max_text_length": 8,
    "text_layers": (1, 2, 2),
    "swin": SwinConfig(embed_dim=16, depths=(1, 1, 1, 1), num_heads=(1, 2, 2, 4), window=2),
    "bert": BERTConfig(layers=2, hidden=64, heads=2, intermediate=128, max_position=8),
}


def spreads(initialisation: str) -> dict[str, tuple[float, int]]:
    torch.manual_seed(0)
    config = HATConfig.model_validate({**SMALL, "hidden": 64, "initialisation": initialisation})
    model = METHOD.build(config, DataFacts(vocab_size=30))
    assert isinstance(model, nn.Module)
    return {
        name: (float(layer.weight.detach().std()), layer.in_features)
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear)
    }


def test_fan_in_gives_every_linear_layer_the_spread_of_its_width() -> None:
    for name, (spread, width) in spreads("fan_in").items():
        assert spread == pytest.approx(width**-0.5, rel=0.15), name


def test_published_projections_have_a_spread_of_two_hundredths() -> None:
    projections = {
        name: spread for name, (spread, _) in spreads("published").items() if "projections" in name
    }
    assert len(projections) == 6
    for name, spread in projections.items():
        assert spread == pytest.approx(0.02, rel=0.15), name


def test_fan_in_never_overwrites_pretrained_weights() -> None:
    config = HATConfig.model_validate({**SMALL, "initialisation": "fan_in"})
    with pytest.raises(UserError, match=r"model\.initialisation"):
        METHOD.build(config, DataFacts(vocab_size=30, pretrained=True))
