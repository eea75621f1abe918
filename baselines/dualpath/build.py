"""Builds the dual-path model: fresh weights drawn as published, a trunk, word vectors where the data bring them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import timm
import torch
from torch import nn

from baselines.dualpath.checkpoint import load_trunk
from baselines.dualpath.config import DualPathConfig
from baselines.dualpath.model import DualPath
from baselines.dualpath.trunks import TIMM_STD, VGG19, CaffeResNet50, SmallTrunk, TimmResNet, Trunk
from baselines.layers.bert import weights_file
from benchmark.errors import UserError
from benchmark.method import DataFacts

TIMM_WEIGHTS = {
    "timm_resnet50": "resnet50.tv_in1k",
    "timm_resnet152": "resnet152.tv_in1k",
    "timm_vgg19": "vgg19.tv_in1k",
}
"""ImageNet-1k weights of torchvision's first recipe: no better training than the Caffe networks had."""

CAFFE_FILES = {"caffe_resnet50": "imagenet-resnet-50-dag.mat", "vgg19": "imagenet-vgg-verydeep-19.mat"}
"""MatConvNet's files of the Caffe networks, which are looked for in TRUNKS."""
TRUNKS = Path(".rematch/trunks")


def pretrained_parts(config: DualPathConfig) -> list[str]:
    """Hub repositories that `pretrained=True` downloads."""
    name = TIMM_WEIGHTS.get(config.trunk.name)
    return [] if name is None else [f"timm/{name}"]


def build_dualpath(config: DualPathConfig, facts: DataFacts) -> DualPath:
    """Build with random weights but for the trunk's, where `facts.pretrained`, and the word vectors.

    Raises UserError where a trunk's weights cannot be fetched, or word vectors have another size than the words.
    """
    trunk = facts.trunk if facts.trunk is not None else build_trunk(config, pretrained=facts.pretrained)
    model = DualPath(config, cast(Trunk, trunk), facts.vocab_size, max(1, facts.n_train_images))
    if facts.word_vectors is not None:
        words = model.text.words.weight
        if words.shape != facts.word_vectors.shape:
            raise UserError(
                f"field 'model.text.word_dim': word vectors of shape {tuple(facts.word_vectors.shape)}, expected "
                f"{tuple(words.shape)}"
            )
        with torch.no_grad():
            words.copy_(facts.word_vectors)
    return model


def build_trunk(config: DualPathConfig, *, pretrained: bool) -> nn.Module:
    """The trunk that a configuration names; raises UserError where its weights cannot be had."""
    name, rate = config.trunk.name, config.trunk.moment_rate
    if name == "small":
        if pretrained:
            raise UserError(
                "field 'pretrained': found true, but trunk 'small' has no weights; set it to false"
            )
        return SmallTrunk(config.trunk, config.image_size)
    if name == "timm_vgg19" and pretrained:
        return vgg_of_timm(timm.create_model(TIMM_WEIGHTS[name], **_timm_weights(TIMM_WEIGHTS[name])))
    if name in TIMM_WEIGHTS and name != "timm_vgg19":
        return TimmResNet(TIMM_WEIGHTS[name], rate, _timm_weights(TIMM_WEIGHTS[name]) if pretrained else {})
    trunk = CaffeResNet50(rate) if name == "caffe_resnet50" else VGG19()
    for layer in trunk.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    if pretrained:
        load_trunk(TRUNKS / CAFFE_FILES[name], trunk)
    return trunk


def vgg_of_timm(net: nn.Module) -> VGG19:
    """Take timm's VGG-19 as ours, which reads 0..255 less the mean: the first filters are divided by 255 deviations."""
    trunk = VGG19()
    theirs = [layer for layer in net.modules() if isinstance(layer, nn.Conv2d)]
    with torch.no_grad():
        for ours, layer in zip(trunk.convs.values(), theirs, strict=True):
            assert isinstance(ours, nn.Conv2d)
            assert ours.bias is not None
            assert layer.bias is not None
            ours.weight.copy_(layer.weight)
            ours.bias.copy_(layer.bias)
        first = trunk.convs["conv1_1"]
        assert isinstance(first, nn.Conv2d)
        first.weight.div_(255 * torch.tensor(TIMM_STD).view(3, 1, 1))
    return trunk


def _timm_weights(name: str) -> dict[str, Any]:
    """Arguments that make timm load a repository's weights; from the cache where they are there."""
    file = {"file": str(weights_file("trunk", f"timm/{name}"))}
    return {"pretrained": True, "pretrained_cfg_overlay": file}
