"""Fresh weights of SAF and SGR are the published ones (sgraf.md 3.8), and follow from the seed."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from baselines.layers.batch_norm import BatchNorm
from baselines.sgraf.model import SGRAF, SGRAFConfig
from benchmark.method import DataFacts


def fresh(module: str, seed: int = 0) -> SGRAF:
    torch.manual_seed(seed)
    config = SGRAFConfig.model_validate({"module": module, "region_dim": 300, "dim": 200, "sim_dim": 120})
    return SGRAF(config, DataFacts(vocab_size=500))


@pytest.mark.parametrize("module", ["SAF", "SGR"])
@torch.no_grad()
def test_initial_weights_are_as_published(module: str) -> None:
    model = fresh(module)
    linear = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Linear)}
    assert len(linear) == (1 + 6 + 2 + 1) + (1 if module == "SAF" else 9)
    for name, layer in linear.items():
        bound = (6 / (layer.in_features + layer.out_features)) ** 0.5
        assert float(layer.weight.abs().max()) <= bound, name
        assert float(layer.weight.abs().max()) > 0.95 * bound, name
        assert float(layer.weight.mean()) == pytest.approx(0, abs=0.2 * bound), name
        assert float(layer.weight.std()) == pytest.approx(bound / 3**0.5, rel=0.15), name
        assert not layer.bias.any(), name
    embedding = model.text_encoder.embedding.weight
    assert 0.099 < float(embedding.abs().max()) <= 0.1
    for name, weight in model.text_encoder.gru.named_parameters():
        assert float(weight.abs().max()) <= 200**-0.5, name
        assert float(weight.std()) == pytest.approx(200**-0.5 / 3**0.5, rel=0.1), name
    norms = [layer for layer in model.modules() if isinstance(layer, BatchNorm)]
    assert len(norms) == (3 if module == "SAF" else 2)
    for norm in norms:
        assert bool((norm.weight == 1).all())
        assert bool((norm.running_var == 1).all())
        assert not norm.bias.any()
        assert not norm.running_mean.any()


def test_same_seed_same_weights() -> None:
    one, same, other = (fresh("SGR", seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["score.weight"], other["score.weight"])
