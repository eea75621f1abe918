"""Boxes: anchors, decoding and proposals beside loops over single boxes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from benchmark.data.regions.detector.boxes import LARGEST, Bounds, decode, grid_anchors, propose
from tests.data.regions.detector.naive import naive_decode, naive_nms


def test_anchors_stand_around_each_place_in_the_order_of_the_region_network() -> None:
    cells = torch.tensor([[-8.0, -4.0, 8.0, 4.0], [-1.0, -2.0, 1.0, 2.0]])
    expected = [
        [16 * x + cell[0], 16 * y + cell[1], 16 * x + cell[2], 16 * y + cell[3]]
        for y in range(3)
        for x in range(2)
        for cell in cells.tolist()
    ]
    assert grid_anchors(cells, 3, 2).tolist() == expected


@pytest.mark.parametrize("weights", [(1.0, 1.0), (10.0, 5.0)])
def test_boxes_are_decoded_one_by_one(weights: tuple[float, float]) -> None:
    draws = np.random.default_rng(0)
    deltas, corners = draws.normal(0, 2, (50, 4)), draws.uniform(0, 100, (50, 2))
    boxes = np.concatenate([corners, corners + draws.uniform(1, 80, (50, 2))], axis=1)
    deltas[0, 2:] = 30, LARGEST * weights[1]  # held back
    expected = [naive_decode(delta, box, weights) for delta, box in zip(deltas, boxes, strict=True)]
    found = decode(torch.from_numpy(deltas), torch.from_numpy(boxes), weights)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-9)
    assert found[0, 2] - found[0, 0] == pytest.approx((boxes[0, 2] - boxes[0, 0]) * 1000 / 16)


@pytest.mark.parametrize(("edge", "smallest"), [(0, 0.0), (0, 12.0), (1, 12.0)])
def test_proposals_are_the_best_that_no_better_one_hides(edge: int, smallest: float) -> None:
    draws = np.random.default_rng(1)
    anchors = grid_anchors(
        torch.tensor([[-16.0, -16.0, 16.0, 16.0], [-32.0, -12.0, 32.0, 12.0]]).double(), 4, 5
    )
    logits, deltas = draws.normal(size=len(anchors)), draws.normal(0, 0.4, (len(anchors), 4))
    bounds = Bounds(60, 78, smallest, edge)
    boxes = []
    for delta, anchor in zip(deltas, anchors.tolist(), strict=True):
        left, top, right, bottom = naive_decode(delta, anchor, (1, 1))
        across, down = 78 - edge, 60 - edge
        boxes.append(
            [
                min(max(left, 0), across),
                min(max(top, 0), down),
                min(max(right, 0), across),
                min(max(bottom, 0), down),
            ]
        )
    sound = [
        row
        for row, (left, top, right, bottom) in enumerate(boxes)
        if right > left and bottom > top and min(right - left, bottom - top) + edge >= smallest
    ]
    assert len(sound) < len(boxes)
    rows = [sound[k] for k in naive_nms(np.array(boxes)[sound], logits[sound], 0.7, edge)]
    assert len(rows) < len(sound)
    for count in (5, 1000):
        found, objectness = propose(
            torch.from_numpy(logits), torch.from_numpy(deltas), anchors, bounds, count
        )
        np.testing.assert_allclose(found, np.array(boxes)[rows[:count]], atol=1e-9)
        np.testing.assert_array_equal(objectness, logits[rows[:count]])


def test_a_map_without_a_sound_box_has_no_proposals() -> None:
    anchors = grid_anchors(torch.tensor([[-4.0, -4.0, 4.0, 4.0]]), 2, 2)
    boxes, objectness = propose(torch.zeros(4), torch.zeros(4, 4), anchors, Bounds(32, 32, smallest=9), 10)
    assert boxes.shape == (0, 4)
    assert objectness.shape == (0,)


def test_boxes_of_the_picture_as_it_was() -> None:
    bounds = Bounds(200, 100, scales=(2.0, 4.0))
    assert bounds.original(torch.tensor([[2.0, 4.0, 100.0, 200.0]])).tolist() == [[1, 1, 50, 50]]
    assert math.isclose(LARGEST, math.log(62.5))
