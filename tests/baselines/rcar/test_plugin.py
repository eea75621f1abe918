"""The regulators inside SAF and SGR: by naive loops, in chunks, and without any trace where they are off."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from baselines.sgraf.model import SAF, SGRAF
from benchmark.batches import Codes
from tests.baselines.rcar.models import NaivePair
from tests.baselines.region_models import captions, images, pairs, progress
from tests.baselines.sgraf.models import linear, naive_nodes, tiny_sgraf, unit

LENGTHS = [2, 7, 12, 5, 1, 7]
PLUGGED = [("rcr", 1), ("rcr", 2), ("rar", 1), ("rar", 3), ("rcar", 1), ("rcar", 3)]
MODULES = ["SAF", "SGR"]


def host_vector(model: SGRAF, nodes: Tensor) -> Tensor:
    """The nodes that the host itself would score of one pair, with running statistics."""
    if isinstance(model.head, SAF):
        logits = torch.cat([linear(model, "head.attention", node) for node in nodes])
        norm = model.head.norm
        logits = (logits - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight + norm.bias
        weights = logits.sigmoid()
        return unit((weights[:, None] / (weights.sum() + 1e-8) * nodes).sum(0))
    for k in range(model.config.sgr_steps):
        query, key, graph = (
            torch.stack([linear(model, f"head.steps.{k}.{part}", node) for node in nodes])
            for part in ("query", "key", "graph")
        )
        read = (query @ key.mT).softmax(1) @ nodes
        nodes = torch.stack([linear(model, f"head.steps.{k}.graph", row) for row in read]).relu()
        assert graph.shape == nodes.shape
    return nodes[0]


def naive_score(model: SGRAF, regions: Tensor, words: Tensor, image: Tensor, caption: Tensor) -> Tensor:
    """RCR before the host's attention, RAR after the host's aggregation (README.md of RCAR)."""
    config = model.config
    before = {"rcr": config.steps, "rar": 0, "rcar": config.steps - 1}[config.regulator]
    after = {"rcr": 0, "rar": config.steps, "rcar": config.steps}[config.regulator]
    pair = NaivePair(model, config, words, regions, config.temperature)
    passed = []
    for n in range(before):
        passed.append(pair.align(f"regulators.alignments.{n}"))
        pair.regulate(f"regulators.correspondences.{n}", passed[-1])
    own = [
        unit(linear(model, "local_similarity", (word - context) ** 2))
        for word, context in zip(words, pair.attended(), strict=True)
    ]
    nodes = torch.stack([unit(linear(model, "global_branch.similarity", (image - caption) ** 2)), *own])
    vector = host_vector(model, nodes)
    for n in range(after):
        alignment = passed[n] if config.regulator == "rcar" and n < config.steps - 1 else own
        vector = pair.gather(f"regulators.aggregations.{n}", alignment, vector)
    return linear(model, "score", vector)[0].sigmoid()


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize(("regulator", "steps"), PLUGGED)
@torch.no_grad()
def test_scores_are_those_by_hand(module: str, regulator: str, steps: int) -> None:
    model = tiny_sgraf(module, regulator=regulator, steps=steps).double()
    batch = images(3)
    image_codes = model.encode_images(type(batch)(batch.pixels.double(), batch.index))
    caption_codes = model.encode_captions(captions(LENGTHS))
    ours = model.similarity(image_codes, caption_codes)
    for i in range(3):
        for j, length in enumerate(LENGTHS):
            words = caption_codes["words"][j, :length]
            sides = image_codes["regions"][i], words, image_codes["global"][i], caption_codes["global"][j]
            torch.testing.assert_close(ours[i, j], naive_score(model, *sides), atol=1e-10, rtol=0)
    bare = host_nodes_without(model, image_codes, caption_codes)
    assert regulator == "rar" or not torch.allclose(ours[0, 1], bare, atol=1e-6)


def host_nodes_without(model: SGRAF, image_codes: Codes, caption_codes: Codes) -> Tensor:
    """The score of image 0 with caption 1 as the host alone would give it."""
    words = caption_codes["words"][1, : LENGTHS[1]]
    nodes = naive_nodes(
        model, image_codes["regions"][0], words, image_codes["global"][0], caption_codes["global"][1]
    )
    return linear(model, "score", host_vector(model, nodes))[0].sigmoid()


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize(("regulator", "steps"), [("rcr", 2), ("rar", 2), ("rcar", 2)])
@pytest.mark.parametrize("budget", [1, 300_000])
def test_training_does_not_depend_on_the_pair_budget(
    module: str, regulator: str, steps: int, budget: int
) -> None:
    results = []
    for pair_budget in (None, budget):
        model = tiny_sgraf(module, regulator=regulator, steps=steps).train()
        torch.manual_seed(7)
        codes = model.training_codes(pairs(LENGTHS))
        loss = model.objective(codes, progress(hardest=False), pair_budget)
        torch.autograd.backward(loss)
        results.append(
            (loss.detach(), {n: p.grad for n, p in model.named_parameters() if p.grad is not None})
        )
    (loss, gradients), (chunked_loss, chunked) = results
    torch.testing.assert_close(loss, chunked_loss, atol=1e-5, rtol=1e-6)
    assert gradients.keys() == chunked.keys()
    assert any(name.startswith("regulators.") for name in gradients)
    for name, gradient in gradients.items():
        torch.testing.assert_close(chunked[name], gradient, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("module", MODULES)
def test_every_regulator_learns(module: str) -> None:
    model = tiny_sgraf(module, regulator="rcar", steps=3).train()
    torch.autograd.backward(model.objective(model.training_codes(pairs(LENGTHS)), progress(), None))
    own = {name: p.grad for name, p in model.named_parameters() if name.startswith("regulators.")}
    assert len(own) == 2 * 2 + 2 * 8 + 3 * 6
    assert all(gradient is not None and bool(gradient.isfinite().all()) for gradient in own.values())


@pytest.mark.parametrize("module", MODULES)
def test_a_host_without_regulators_has_nothing_of_them(module: str) -> None:
    plain: dict[str, Any] = dict(tiny_sgraf(module).state_dict())
    regulated = tiny_sgraf(module, regulator="rcar").state_dict()
    assert {name for name in regulated if not name.startswith("regulators.")} == set(plain)
    assert "seeds" not in tiny_sgraf(module).train().training_codes(pairs(LENGTHS)).captions.tensors
