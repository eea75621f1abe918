"""The published names: 640 of them, sizes read off the shapes, batch norms folded in."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from benchmark.data.regions.detector.formula import cell_anchors, formula_weights
from benchmark.data.regions.detector.network import PUBLISHED
from benchmark.data.regions.detector.published import (
    COUNTER,
    EPSILON,
    build_network,
    manifest,
    published_name,
    sizes_of,
)
from tests.data.regions.detector.narrow import golden, narrow_weights


def test_the_manifest_of_the_published_file() -> None:
    shapes = manifest(PUBLISHED)
    assert len(shapes) == 640
    assert sum(math.prod(shape) for shape in shapes.values()) == 65_545_318
    assert (
        sum(math.prod(shape) for key, shape in shapes.items() if not key.endswith(COUNTER)) * 4 == 262_180_856
    )
    for key, shape in {
        "backbone.stem.conv1.weight": (64, 3, 7, 7),
        "backbone.res4.22.conv3.norm.running_var": (1024,),
        "backbone.res2.0.shortcut.norm.num_batches_tracked": (),
        "proposal_generator.anchor_generator.cell_anchors.0": (12, 4),
        "proposal_generator.rpn_head.conv.weight": (512, 1024, 3, 3),
        "proposal_generator.rpn_head.anchor_deltas.bias": (48,),
        "roi_heads.res5.2.conv1.weight": (512, 2048, 1, 1),
        "roi_heads.box_predictor.cls_score.weight": (1601, 2048),
        "roi_heads.box_predictor.bbox_pred.weight": (6400, 2048),
        "roi_heads.box_predictor.cls_embedding.weight": (1601, 256),
        "roi_heads.box_predictor.fc_attr.weight": (512, 2304),
        "roi_heads.box_predictor.attr_score.weight": (401, 512),
    }.items():
        assert shapes[key] == shape, key


def test_the_manifest_names_every_recorded_weight() -> None:
    weights = narrow_weights()
    shapes = manifest(sizes_of(weights))
    assert {key: tuple(tensor.shape) for key, tensor in weights.items()} == {
        key: shape for key, shape in shapes.items() if not key.endswith(COUNTER)
    }
    checks = {
        key.removeprefix("weight_checks/") for key in golden("full_a") if key.startswith("weight_checks/")
    }
    assert checks == {key for key in manifest(PUBLISHED) if not key.endswith(COUNTER)}


def test_sizes_are_read_off_the_shapes() -> None:
    meta = {key: torch.empty(shape, device="meta") for key, shape in manifest(PUBLISHED).items()}
    assert sizes_of(meta) == PUBLISHED
    del meta["roi_heads.box_predictor.attr_score.weight"]
    with pytest.raises(KeyError, match="attr_score"):
        sizes_of(meta)


def test_our_names_have_published_ones() -> None:
    assert published_name("res5.1.conv2.weight") == "roi_heads.res5.1.conv2.weight"
    assert published_name("region_head.conv.bias") == "proposal_generator.rpn_head.conv.bias"
    assert published_name("cell_anchors") == "proposal_generator.anchor_generator.cell_anchors.0"
    assert published_name("backbone.stem.conv1.weight") == "backbone.stem.conv1.weight"


def test_a_folded_convolution_does_what_it_and_its_norm_did() -> None:
    weights, network = narrow_weights(), build_network(narrow_weights())
    first, second = (network.get_submodule(name) for name in ("backbone.res3.1.conv2", "res5.0.shortcut"))
    for name, layer in (("backbone.res3.1.conv2", first), ("roi_heads.res5.0.shortcut", second)):
        assert isinstance(layer, nn.Conv2d)
        maps = torch.randn(2, layer.in_channels, 5, 6)
        kernel = weights[f"{name}.weight"].double()
        assert isinstance(layer.padding, tuple)
        plain = F.conv2d(maps.double(), kernel, None, layer.stride, layer.padding, layer.dilation)
        mean, variance, gain, shift = (
            weights[f"{name}.norm.{part}"].double()[:, None, None]
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        expected = (plain - mean) / (variance + EPSILON).sqrt() * gain + shift
        torch.testing.assert_close(layer(maps).double(), expected, rtol=1e-4, atol=1e-4)
    kernel = network.get_parameter("backbone.res3.1.conv2.weight")
    assert kernel.is_contiguous(memory_format=torch.channels_last)
    assert not kernel.requires_grad


def test_anchors_have_three_shapes_of_four_sizes() -> None:
    number = 0
    for side in (64, 128, 256, 512):
        for ratio in (0.5, 1, 2):
            left, top, right, bottom = cell_anchors()[number].tolist()
            assert (left + right, top + bottom) == (0, 0)
            assert (right - left) * (bottom - top) == pytest.approx(side**2)
            assert (bottom - top) / (right - left) == pytest.approx(ratio)
            number += 1


def test_weights_by_formula_depend_on_their_names_alone() -> None:
    sizes = sizes_of(narrow_weights())
    one, other = (formula_weights(sizes, 0.5, torch.zeros(41).numpy()) for _ in range(2))
    assert one.keys() == manifest(sizes).keys()
    assert all(torch.equal(one[key], other[key]) for key in one)
    rows = one["roi_heads.box_predictor.cls_score.weight"]
    assert rows.mean(dim=1).abs().max() < 1e-6
    assert one["backbone.stem.conv1.norm.running_var"].min() >= 5000
    assert 0.2 < one["backbone.res2.0.conv3.norm.weight"].mean() < 0.5
