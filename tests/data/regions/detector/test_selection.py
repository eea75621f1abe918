"""The choice of regions, in both ways, beside loops over classes and boxes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torchvision.ops import nms

from benchmark.data.regions.detector.selection import Choice, select_as_original, select_as_port
from tests.data.regions.detector.naive import naive_nms, naive_original
from tests.data.regions.detector.narrow import golden

Array = np.ndarray[Any, Any]


def drawn(seed: int, count: int, classes: int, spread: float, peak: float = 2.0) -> tuple[Array, Array]:
    """Probabilities (P, classes) that sum to less than 1, and boxes (P, 4) that lie closer the smaller `spread` is."""
    draws = np.random.default_rng(seed)
    exponents = np.exp(draws.normal(0, peak, (count, classes + 1)))
    corners = draws.uniform(0, spread, (count, 2))
    boxes = np.concatenate([corners, corners + draws.uniform(20, 40, (count, 2))], axis=1)
    return (exponents / exponents.sum(axis=1, keepdims=True))[:, :-1], boxes


def check(found: Choice, rows: list[int], probabilities: Array, scores: Array | None = None) -> None:
    assert found.rows.tolist() == rows
    np.testing.assert_array_equal(found.scores, probabilities[found.rows, found.objects])
    if scores is not None:
        np.testing.assert_array_equal(found.scores, scores)


# ----------------------------------------------------------------------------------------- as the port


def test_overlaps_are_tried_in_turn() -> None:
    probabilities, boxes = drawn(3, 30, 7, 35)
    scores = probabilities.max(axis=1)
    left = [naive_nms(boxes, scores, overlap) for overlap in (0.5, 0.6, 0.7)]
    assert len(left[0]) < len(left[1]) < len(left[2]) < 30
    left.append(sorted(range(30), key=lambda row: -scores[row]))
    for turn, rows in enumerate(left):
        fewer = len(left[turn - 1]) if turn else 0
        for count in (fewer + 1, len(rows)):
            found = select_as_port(torch.from_numpy(probabilities), torch.from_numpy(boxes), count)
            check(found, rows[:count], probabilities, scores[rows[:count]])


@pytest.mark.parametrize(("name", "left"), [("narrow_a", None), ("narrow_f_nms06", (22, 36))])
def test_the_recordings_meet_the_first_overlap_and_the_second(
    name: str, left: tuple[int, int] | None
) -> None:
    recorded = golden(name)
    classes = torch.from_numpy(recorded["outputs/obj_logits"]).softmax(dim=1)[:, :-1]
    scores, objects = classes.max(dim=1)
    proposals = torch.from_numpy(recorded["outputs/proposals"]).double()
    deltas = torch.from_numpy(recorded["outputs/box_deltas"]).view(len(scores), -1, 4)
    best = deltas[torch.arange(len(scores)), objects].double()
    sizes = proposals[:, 2:] - proposals[:, :2]
    centres = proposals[:, :2] + sizes / 2 + best[:, :2] / 10 * sizes
    halves = sizes * (best[:, 2:] / 5).exp() / 2
    height, width = recorded["outputs/input"].shape[1:]
    edges = torch.tensor([width, height] * 2)
    boxes = torch.cat([centres - halves, centres + halves], dim=1).clamp(min=0).minimum(edges).float()
    counts = [len(nms(boxes, scores, overlap)) for overlap in (0.5, 0.6)]
    assert counts[0] >= 36 if left is None else tuple(counts) == left


# ------------------------------------------------------------------------------------- as the original


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("count", [1, 5, 12, 20, 25])
def test_the_original_suppresses_class_by_class(seed: int, count: int) -> None:
    probabilities, boxes = drawn(seed, 25, 6, 60, peak=1.5)
    rows = naive_original(probabilities, boxes, count)
    found = select_as_original(torch.from_numpy(probabilities), torch.from_numpy(boxes), count)
    check(found, rows, probabilities)


def test_the_score_is_that_of_the_best_class_that_is_left() -> None:
    boxes = np.array([[0.0, 0, 10, 10], [0, 0, 10, 9], [50, 50, 60, 60]])
    probabilities = np.array([[0.6, 0.1], [0.5, 0.3], [0.1, 0.2]])
    found = select_as_original(torch.from_numpy(probabilities), torch.from_numpy(boxes), 2)
    assert found.rows.tolist() == [0, 1]
    assert found.objects.tolist() == [0, 1]  # its first class is hidden by the first box's
    assert found.scores.tolist() == [0.6, 0.3]


def test_exactly_as_many_as_wanted_stay_in_the_order_of_the_proposals() -> None:
    boxes = np.array([[20.0 * k, 0, 20 * k + 10, 10] for k in range(4)])
    probabilities = np.array([[0.3], [0.1], [0.5], [0.19]])
    original = torch.from_numpy(probabilities), torch.from_numpy(boxes)
    assert select_as_original(*original, 2).rows.tolist() == [0, 2]  # both over 0.2, and no other
    assert select_as_original(*original, 3).rows.tolist() == [2, 0, 3]  # by score
    assert select_as_original(*original, 1).rows.tolist() == [2]


def test_where_every_class_is_hidden_a_proposal_comes_last_by_its_score() -> None:
    boxes = np.array([[0.0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 9, 10], [50, 50, 60, 60]])
    probabilities = np.array([[0.6], [0.3], [0.5], [0.1]])
    found = select_as_original(torch.from_numpy(probabilities), torch.from_numpy(boxes), 4)
    assert found.rows.tolist() == [0, 3, 2, 1]
    assert found.scores.tolist() == [0.6, 0.1, 0.5, 0.3]
    more = select_as_original(torch.from_numpy(probabilities), torch.from_numpy(boxes), 36)
    assert more.rows.tolist() == [0, 3, 2, 1]


def test_no_proposals_no_regions() -> None:
    for select in (select_as_port, select_as_original):
        found = select(torch.zeros(0, 5), torch.zeros(0, 4), 36)
        assert [len(part) for part in found] == [0, 0, 0]


def test_suppression_is_torchvisions() -> None:
    probabilities, boxes = (torch.from_numpy(part).float() for part in drawn(9, 60, 40, 90))
    largest = torch.zeros(60)
    for group in range(40):
        rows = nms(boxes, probabilities[:, group], 0.3)
        largest[rows] = largest[rows].maximum(probabilities[rows, group])
    assert int((largest > 0.2).sum()) != 20
    expected = largest.sort(descending=True, stable=True)
    found = select_as_original(probabilities, boxes, 20)
    assert torch.equal(found.scores, expected.values[:20])
    assert torch.equal(found.rows, expected.indices[:20])
