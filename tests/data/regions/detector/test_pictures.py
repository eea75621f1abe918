"""Pictures as the network reads them: order of colours, mean, sizes, and interpolation by loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmark.data.regions.detector import DetectorSettings
from benchmark.data.regions.detector.pictures import MEAN, prepare, scale_of
from tests.data.regions.detector.narrow import golden, pictures


def test_colours_are_blue_green_red_less_their_means() -> None:
    (picture,) = pictures((40, 40))
    settings = DetectorSettings(mode="hub", short_side=40, longest_side=40)
    found = prepare(picture, settings)
    assert found.shape == (3, 40, 40)
    for plane, colour in enumerate((2, 1, 0)):
        np.testing.assert_allclose(found[plane], picture[..., colour] - np.float32(MEAN[plane]), atol=1e-5)


@pytest.mark.parametrize(
    ("size", "sides", "expected"),
    [
        ((480, 640), (600, 1000), (600, 800)),
        ((333, 500), (600, 1000), (600, 901)),  # 900.9
        ((300, 640), (600, 1000), (469, 1000)),  # 468.75: the longer side decides
        ((640, 300), (800, 1333), (1333, 625)),  # 624.8
        ((401, 400), (600, 1000), (602, 600)),  # 601.5: half a pixel goes up
        ((500, 5), (600, 1000), (1000, 16)),  # 10: too narrow for the network
    ],
)
def test_sizes(size: tuple[int, int], sides: tuple[int, int], expected: tuple[int, int]) -> None:
    picture = np.zeros((*size, 3), np.uint8)
    settings = DetectorSettings(mode="hub", short_side=sides[0], longest_side=sides[1])
    assert prepare(picture, settings).shape[1:] == expected
    assert scale_of(picture, settings) == min(sides[0] / min(size), sides[1] / max(size))


def test_half_a_pixel_goes_to_the_even_number_in_the_original() -> None:
    for height, expected in ((360, 562), (361, 564), (362, 566)):  # 562.5, 564.1, 565.6
        assert prepare(np.zeros((height, 640, 3), np.uint8), DetectorSettings()).shape[1:] == (expected, 1000)


@pytest.mark.parametrize("mode", ["hub", "caffe"])
def test_values_between_pixels_are_mixed_of_their_neighbours(mode: str) -> None:
    (picture,) = pictures((32, 48))
    settings = DetectorSettings.model_validate({"mode": mode, "short_side": 72, "longest_side": 108})
    found = prepare(picture, settings) + torch.tensor(MEAN)[:, None, None]
    for row, column in [(0, 0), (10, 33), (71, 107), (40, 2), (5, 60)]:
        y, x = (
            min(max((place + 0.5) / 2.25 - 0.5, 0), side - 1) for place, side in ((row, 32), (column, 48))
        )
        top, left = int(y), int(x)
        below, right = min(top + 1, 31), min(left + 1, 47)
        for plane, colour in enumerate((2, 1, 0)):
            values = picture[..., colour].astype(float)
            upper = values[top, left] + (x - left) * (values[top, right] - values[top, left])
            lower = values[below, left] + (x - left) * (values[below, right] - values[below, left])
            mixed = upper + (y - top) * (lower - upper)
            assert found[plane, row, column] == pytest.approx(mixed, abs=1.01 if mode == "hub" else 1e-3)
    whole = torch.allclose(found, found.round(), atol=1e-4)
    assert whole is (mode == "hub")


def test_the_recorded_input_needs_the_right_order_of_colours() -> None:
    recorded = golden("narrow_a")
    settings = DetectorSettings(mode="hub", short_side=200, longest_side=333)
    right = prepare(np.ascontiguousarray(recorded["image_bgr"][..., ::-1]), settings)
    wrong = prepare(recorded["image_bgr"], settings)
    np.testing.assert_allclose(right, recorded["outputs/input"], atol=1e-4)
    assert np.abs(wrong.numpy() - recorded["outputs/input"]).max() > 50
