"""The network: the pooling of proposals by loops, chunks, the boxes of one class, attributes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmark.data.regions.detector.network import POOLED, Architecture, Bottleneck, Network
from tests.data.regions.detector.naive import naive_pool
from tests.data.regions.detector.narrow import narrow_detector

TINY = Architecture(
    stem=3,
    inner=2,
    outer=4,
    blocks=(1, 2, 1, 2),
    hidden=5,
    anchors=3,
    classes=6,
    embedding=3,
    attribute_hidden=7,
    attributes=4,
)


@pytest.fixture(scope="module")
def tiny() -> Network:
    torch.manual_seed(1)
    return Network(TINY).double().eval().requires_grad_(False)


@pytest.mark.parametrize(
    ("height", "width", "places"), [(64, 96, (4, 6)), (65, 97, (4, 6)), (16, 200, (1, 13))]
)
def test_a_map_has_a_place_for_each_sixteen_pixels(
    tiny: Network, height: int, width: int, places: tuple[int, int]
) -> None:
    maps = tiny.backbone(torch.rand(2, 3, height, width).double())
    assert maps.shape == (2, 16, *places)
    logits, deltas = tiny.region_head(maps)
    assert logits.shape == (2, places[0] * places[1] * 3)
    assert deltas.shape == (*logits.shape, 4)


def test_the_region_network_speaks_of_the_anchors_place_by_place(tiny: Network) -> None:
    maps = torch.rand(1, 16, 2, 3).double()
    head = tiny.region_head
    hidden = head.conv(maps).relu()
    logits, deltas = head(maps)
    number = 0
    for y in range(2):
        for x in range(3):
            for anchor in range(3):
                assert logits[0, number] == head.objectness_logits(hidden)[0, anchor, y, x]
                moved = head.anchor_deltas(hidden)[0, 4 * anchor : 4 * anchor + 4, y, x]
                assert torch.equal(deltas[0, number], moved)
                number += 1


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_proposals_are_pooled_from_their_own_map(tiny: Network, chunk: int) -> None:
    draws = np.random.default_rng(2)
    maps = torch.from_numpy(draws.normal(size=(2, 16, 6, 9)))
    boxes = []
    for count in (3, 2):
        corners = draws.uniform(0, 60, (count, 2))
        boxes.append(np.concatenate([corners, corners + draws.uniform(3, 70, (count, 2))], axis=1))
    cut = [naive_pool(maps[k].numpy(), box, POOLED, 16) for k in (0, 1) for box in boxes[k]]
    expected = tiny.res5(torch.from_numpy(np.stack(cut))).mean(dim=(2, 3))
    found = tiny.pool(maps, [torch.from_numpy(part) for part in boxes], chunk)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_no_proposals_no_features(tiny: Network) -> None:
    found = tiny.pool(torch.rand(1, 16, 2, 2).double(), [torch.zeros(0, 4).double()], 4)
    assert found.shape == (0, tiny.width) == (0, 32)


def test_the_last_stage_sees_two_places_away(tiny: Network) -> None:
    """Its 3 x 3 convolutions have holes: stride 1, dilation 2 (data.md 3.1)."""
    block = tiny.res5[0]
    assert isinstance(block, Bottleneck)
    maps = torch.zeros(1, 4 * TINY.inner * 2, 9, 9).double()
    base = block.conv2(maps)
    maps[0, :, 4, 4] = 1
    moved = (block.conv2(maps) - base).abs().sum(dim=(0, 1)) > 0
    places = {(int(y), int(x)) for y, x in moved.nonzero()}
    assert places == {(y, x) for y in (2, 4, 6) for x in (2, 4, 6)}
    assert block.conv1.stride == (1, 1)
    assert tiny.backbone.res4[0].conv1.stride == (2, 2)
    assert tiny.backbone.res4[0].conv2.stride == (1, 1)


def test_only_the_boxes_of_the_best_class_are_told() -> None:
    head = narrow_detector().network.box_head
    pooled, objects = torch.rand(7, 256), torch.tensor([0, 39, 4, 4, 17, 38, 1])
    every = head.bbox_pred(pooled).view(7, 40, 4)
    torch.testing.assert_close(head.deltas(pooled, objects), every[torch.arange(7), objects])


def test_attributes_are_told_with_the_class() -> None:
    head = narrow_detector().network.box_head
    pooled, objects = torch.rand(3, 256), torch.tensor([2, 40, 7])  # the last class is background
    for row in range(3):
        told = torch.cat([pooled[row], head.cls_embedding.weight[objects[row]]])
        hidden = (head.fc_attr.weight @ told + head.fc_attr.bias).clamp(min=0)
        expected = head.attr_score.weight @ hidden + head.attr_score.bias
        torch.testing.assert_close(head.attributes(pooled, objects)[row], expected, rtol=1e-4, atol=1e-5)
