"""The published weights as tensors: their names and shapes, and the network that is made of them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from benchmark.data.regions.detector.network import Architecture, Network

NAMES = {
    "backbone.": "backbone.",
    "cell_anchors": "proposal_generator.anchor_generator.cell_anchors.0",
    "region_head.": "proposal_generator.rpn_head.",
    "res5.": "roi_heads.res5.",
    "box_head.": "roi_heads.box_predictor.",
}
"""Beginnings of our names, and of the published ones (data.md 3.3)."""

NORM = ("weight", "bias", "running_mean", "running_var")
"""The parts of a batch norm; it follows each convolution of the ResNet, which has no bias of its own."""

COUNTER = "num_batches_tracked"
"""Another part, which nothing reads; files from before PyTorch 0.4.1 have none."""

EPSILON = 1e-5
"""Of batch norms."""


def published_name(name: str) -> str:
    """Return the published name of one of our tensors."""
    ours = next(start for start in NAMES if name.startswith(start))
    return NAMES[ours] + name.removeprefix(ours)


def normed_layers(network: Network) -> list[str]:
    """List our names of the convolutions that a batch norm follows."""
    found = [name for name, part in network.named_modules() if isinstance(part, nn.Conv2d)]
    return [name for name in found if not name.startswith("region_head.")]


def manifest(sizes: Architecture) -> dict[str, tuple[int, ...]]:
    """Return the published names with their shapes: 640 for the published sizes (data.md 3.3)."""
    network = empty_network(sizes)
    shapes = {published_name(key): tuple(tensor.shape) for key, tensor in network.state_dict().items()}
    for layer in map(published_name, normed_layers(network)):
        shape = shapes.pop(f"{layer}.bias")
        shapes |= {f"{layer}.norm.{part}": shape for part in NORM} | {f"{layer}.norm.{COUNTER}": ()}
    return shapes


def sizes_of(weights: Mapping[str, Tensor]) -> Architecture:
    """Read the sizes of a network off its weights; KeyError where one that says them is missing."""
    shape = {key: tuple(tensor.shape) for key, tensor in weights.items()}
    region, box = NAMES["region_head."], NAMES["box_head."]
    stages = ("backbone.res2.", "backbone.res3.", "backbone.res4.", NAMES["res5."])
    blocks = [
        len({key.removeprefix(stage).split(".")[0] for key in shape if key.startswith(stage)})
        for stage in stages
    ]
    return Architecture(
        stem=shape["backbone.stem.conv1.weight"][0],
        inner=shape["backbone.res2.0.conv1.weight"][0],
        outer=shape["backbone.res2.0.conv3.weight"][0],
        blocks=(blocks[0], blocks[1], blocks[2], blocks[3]),
        hidden=shape[f"{region}conv.weight"][0],
        anchors=shape[f"{region}objectness_logits.weight"][0],
        classes=shape[f"{box}cls_score.weight"][0] - 1,
        embedding=shape[f"{box}cls_embedding.weight"][1],
        attribute_hidden=shape[f"{box}fc_attr.weight"][0],
        attributes=shape[f"{box}attr_score.weight"][0] - 1,
    )


def empty_network(sizes: Architecture) -> Network:
    """Return a network without numbers."""
    with torch.device("meta"):
        return Network(sizes)


def build_network(weights: Mapping[str, Tensor]) -> Network:
    """Return the network of published weights, whose names are those of `manifest`, its batch norms folded in."""
    network = empty_network(sizes_of(weights))
    state = {key: weights.get(published_name(key)) for key in network.state_dict()}
    for layer in normed_layers(network):
        norm = f"{published_name(layer)}.norm"
        gain, shift, mean, variance = (weights[f"{norm}.{part}"].double() for part in NORM)
        scale = gain / (variance + EPSILON).sqrt()
        state[f"{layer}.weight"] = (
            weights[f"{published_name(layer)}.weight"] * scale[:, None, None, None]
        ).float()
        state[f"{layer}.bias"] = (shift - mean * scale).float()
    network.load_state_dict(state, assign=True)
    return network.to(memory_format=torch.channels_last).eval().requires_grad_(False)
