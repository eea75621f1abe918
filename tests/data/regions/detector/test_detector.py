"""From pictures to regions: batches, both modes, pictures with few regions; on the narrow network."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from benchmark.data.regions.detector import Detector, PictureRegions
from benchmark.data.regions.detector.boxes import Bounds
from benchmark.data.regions.detector.detector import Seen
from benchmark.data.regions.detector.pictures import Picture, prepare
from tests.data.regions.detector.naive import naive_decode, naive_nms, naive_original
from tests.data.regions.detector.narrow import narrow_detector, pictures

SIZES = ((96, 120), (130, 100), (96, 120), (60, 90), (96, 120))


def seen_by(detector: Detector, picture: Picture) -> tuple[Seen, Bounds]:
    """One picture after its pass through the network."""
    pixels = prepare(picture, detector.settings)[None]
    bounds = detector.bounds_of(picture, pixels)
    with torch.no_grad():
        (seen,) = detector.look(pixels, bounds)
    return seen, bounds


def close(found: PictureRegions, expected: PictureRegions) -> None:
    np.testing.assert_allclose(found.features, expected.features, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=0.02)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found.objects, expected.objects)
    assert found.found == expected.found


@pytest.mark.parametrize("mode", ["caffe", "hub"])
def test_a_batch_is_its_pictures_one_by_one(mode: str) -> None:
    detector, given = narrow_detector(mode=mode), pictures(*SIZES)
    single = [detector.detect([picture])[0] for picture in given]
    assert not np.allclose(single[0].features, single[2].features)
    detector.batch, detector.chunk = 2, 7
    together = detector.detect(given)
    assert len(together) == 5
    for found, expected in zip(together, single, strict=True):
        close(found, expected)
    assert detector.detect([]) == []


def test_types_and_shapes() -> None:
    (found,) = narrow_detector().detect(pictures((96, 120)))
    arrays = (found.features, found.boxes, found.scores, found.objects)
    assert [array.shape for array in arrays] == [(6, 256), (6, 4), (6,), (6,)]
    assert [str(array.dtype) for array in arrays] == ["float32", "float32", "float32", "int64"]
    assert found.found == 6
    assert found.attributes is None
    assert found.attribute_scores is None


def test_attributes_come_where_they_are_asked_for() -> None:
    detector, (picture,) = narrow_detector(), pictures((96, 120))
    (found,) = detector.detect([picture], attributes=True)
    close(found, detector.detect([picture])[0])
    assert found.attributes is not None
    assert found.attribute_scores is not None
    seen, _ = seen_by(detector, picture)
    for row, feature in enumerate(found.features):
        place = int((seen.pooled - torch.from_numpy(feature)).abs().sum(dim=1).argmin())
        told = seen.logits[place].argmax()[None]
        logits = detector.network.box_head.attributes(seen.pooled[place][None], told)[0, :-1]
        exponents = np.exp(logits.double().numpy())
        assert found.attributes[row] == exponents.argmax()
        assert found.attribute_scores[row] == pytest.approx(exponents.max() / exponents.sum(), rel=1e-5)


def softmax(logits: torch.Tensor) -> np.ndarray[Any, Any]:
    exponents = np.exp(logits.double().numpy())
    shares: np.ndarray[Any, Any] = exponents[:, :-1] / exponents.sum(axis=1, keepdims=True)
    return shares


def test_the_original_keeps_proposals_as_they_are() -> None:
    """Classes are told of proposals, whose boxes are kept (data.md 3.1)."""
    detector, (picture,) = narrow_detector(), pictures((80, 120))
    (found,) = detector.detect([picture])
    seen, bounds = seen_by(detector, picture)
    scale = 96 / 80
    assert bounds == Bounds(96, 144, 16 * scale, 1, (scale, scale))
    rows = naive_original(softmax(seen.logits), seen.proposals.double().numpy(), 6, edge=1)
    np.testing.assert_allclose(found.features, seen.pooled[rows], rtol=1e-5)
    np.testing.assert_allclose(found.boxes, seen.proposals[rows] / scale, rtol=1e-5)
    sides = seen.proposals[:, 2:] - seen.proposals[:, :2] + 1
    assert sides.min() >= 16 * scale
    assert seen.proposals[:, 2].max() <= 143
    assert seen.proposals[:, 3].max() <= 95


def test_the_port_keeps_regressed_boxes_and_features_of_proposals() -> None:
    detector, (picture,) = narrow_detector(mode="hub"), pictures((80, 121))
    (found,) = detector.detect([picture])
    seen, bounds = seen_by(detector, picture)
    assert bounds == Bounds(96, 145, 0.0, 0, (145 / 121, 96 / 80))
    probabilities = softmax(seen.logits)
    scores, objects = probabilities.max(axis=1), probabilities.argmax(axis=1)
    deltas = detector.network.box_head.bbox_pred(seen.pooled).view(len(scores), 40, 4)
    boxes = []
    for row, proposal in enumerate(seen.proposals.tolist()):
        box = naive_decode(deltas[row, objects[row]].tolist(), proposal, (10, 5))
        boxes.append([min(max(end, 0), (145, 96)[side % 2]) for side, end in enumerate(box)])
    rows = naive_nms(np.array(boxes), scores, 0.5)[:6]
    assert len(rows) == 6
    np.testing.assert_allclose(found.features, seen.pooled[rows], rtol=1e-5)
    np.testing.assert_allclose(found.scores, scores[rows], rtol=1e-5)
    np.testing.assert_array_equal(found.objects, objects[rows])
    expected = np.array(boxes)[rows] / ([145 / 121, 96 / 80] * 2)
    np.testing.assert_allclose(found.boxes, expected, atol=0.02)


def test_the_originals_anchors_stand_half_a_stride_further() -> None:
    caffe, hub = narrow_detector(), narrow_detector(mode="hub")
    torch.testing.assert_close(caffe._cells(), hub._cells() + 8)
    moved = caffe.network.cell_anchors + 3  # also where the weights' own are moved already
    caffe.network.cell_anchors = torch.nn.Parameter(moved, requires_grad=False)
    torch.testing.assert_close(caffe._cells(), hub._cells() + 8)


@pytest.mark.parametrize("mode", ["caffe", "hub"])
def test_fewer_proposals_than_regions_leave_zeros_and_their_number(mode: str) -> None:
    detector, (picture,) = narrow_detector(mode=mode, proposals=4), pictures((96, 120))
    (found,) = detector.detect([picture], attributes=True)
    (more,) = narrow_detector(mode=mode, proposals=4, regions=5).detect([picture])
    assert (found.found, more.found) == (4, 4)
    for part in (found.features, found.boxes, found.scores, found.objects, found.attributes):
        assert part is not None
        assert not part[4:].any()
    np.testing.assert_array_equal(found.features[:5], more.features)
    assert (found.scores[:4] > 0).all()


def test_a_picture_in_the_wrong_order_of_colours_has_other_features() -> None:
    detector, (picture,) = narrow_detector(), pictures((96, 120))
    right, wrong = detector.detect([picture, np.ascontiguousarray(picture[..., ::-1])])
    assert np.abs(right.features - wrong.features).max() > 0.1


@pytest.mark.parametrize("size", [(8, 400), (400, 8), (9, 9)])
def test_freakish_pictures_have_regions_too(size: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    for mode in ("caffe", "hub"):
        (found,) = narrow_detector(mode=mode).detect([picture])
        assert np.isfinite(found.features).all()
        assert 0 <= found.found <= 6


def test_products_keep_their_precision_and_the_switch_is_put_back() -> None:
    detector, before, inside = narrow_detector(), torch.backends.cudnn.allow_tf32, []
    kept = detector.look

    def look(pixels: torch.Tensor, bounds: Bounds) -> Any:
        inside.append(torch.backends.cudnn.allow_tf32)
        return kept(pixels, bounds)

    detector.look = look  # type: ignore[method-assign]
    try:
        for switch in (True, False):
            torch.backends.cudnn.allow_tf32 = switch
            for wanted in (False, True):
                detector.tf32 = wanted
                detector.detect(pictures((96, 120)))
                assert torch.backends.cudnn.allow_tf32 is switch
        assert inside == [False, True, False, True]
    finally:
        torch.backends.cudnn.allow_tf32 = before
