"""Small SAFs and SGRs, batches for them, and their scores by naive loops (sgraf.md 3.4 - 3.7)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from baselines.sgraf.model import SAF, SGRAF, SGRAFConfig
from benchmark.method import DataFacts
from tests.baselines.region_models import SIZES, VOCABULARY, unsettle


def tiny_config(module: str, **changes: Any) -> SGRAFConfig:
    return SGRAFConfig.model_validate({"module": module, **SIZES, **changes})


def tiny_sgraf(module: str, seed: int = 0, **changes: Any) -> SGRAF:
    """A tiny model in eval mode whose biases and statistics are not at their initial values."""
    torch.manual_seed(seed)
    model = SGRAF(tiny_config(module, **changes), DataFacts(vocab_size=VOCABULARY)).eval()
    unsettle(model)
    return model


# ------------------------------------------------------------------------------------- naive loops


def unit(vector: Tensor) -> Tensor:
    return vector / (vector.square().sum().sqrt() + 1e-8)


def linear(model: SGRAF, name: str, vector: Tensor) -> Tensor:
    layer = model.get_submodule(name)
    assert isinstance(layer, nn.Linear)
    return layer.weight @ vector + (0 if layer.bias is None else layer.bias)


def naive_nodes(model: SGRAF, regions: Tensor, words: Tensor, image: Tensor, caption: Tensor) -> Tensor:
    """Similarity vectors (L + 1, m) of one pair, word by word: regions (R, D), words (L, D), global vectors (D,)."""
    slope, temperature = model.config.negative_slope, model.config.temperature
    products = torch.stack([torch.stack([region @ word for word in words]) for region in regions])  # (R, L)
    activations = torch.where(products > 0, products, slope * products)
    normed = torch.stack([unit(row) for row in activations])  # over the words, for each region
    nodes = [unit(linear(model, "global_branch.similarity", (image - caption) ** 2))]
    for j, word in enumerate(words):
        weights = (temperature * normed[:, j]).exp()
        context = unit(sum(w * region for w, region in zip(weights / weights.sum(), regions, strict=True)))
        nodes.append(unit(linear(model, "local_similarity", (context - word) ** 2)))
    return torch.stack(nodes)


def naive_sgr(model: SGRAF, nodes: Tensor) -> Tensor:
    """The score of one pair from its nodes."""
    for k in range(model.config.sgr_steps):
        queries = [linear(model, f"head.steps.{k}.query", node) for node in nodes]
        keys = [linear(model, f"head.steps.{k}.key", node) for node in nodes]
        following = []
        for query in queries:
            edges = (model.config.edge_scale * torch.stack([query @ key for key in keys])).softmax(0)
            read = (edges[:, None] * nodes).sum(0)
            following.append(linear(model, f"head.steps.{k}.graph", read).clamp(min=0))
        nodes = torch.stack(following)
    return linear(model, "score", nodes[0]).sigmoid()[0]


def naive_saf_column(model: SGRAF, nodes: list[Tensor], norm: nn.BatchNorm1d) -> Tensor:
    """The scores (n,) of one caption with its n images, through an ordinary batch norm of one channel."""
    logits = torch.stack(
        [torch.cat([linear(model, "head.attention", node) for node in pair]) for pair in nodes]
    )
    filters = norm(logits[:, None]).squeeze(1).sigmoid()  # (n, L + 1)
    scores = []
    for pair, weights in zip(nodes, filters, strict=True):
        weights = weights / (weights.sum() + 1e-8)
        scores.append(linear(model, "score", unit((weights[:, None] * pair).sum(0))).sigmoid()[0])
    return torch.stack(scores)


def plain_norm(model: SGRAF) -> nn.BatchNorm1d:
    """PyTorch's own layer with the parameters of SAF's and a copy of its statistics, in the model's mode."""
    norm = nn.BatchNorm1d(1).to(model.score.weight.dtype)
    assert isinstance(model.head, SAF)
    norm.load_state_dict(model.head.norm.state_dict())
    norm.weight, norm.bias = model.head.norm.weight, model.head.norm.bias
    return norm.train(model.training)
