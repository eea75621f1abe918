"""Ten pictures with the boxes that the original extractor found in them: sizes and conventions of mode `caffe`.

The pictures are nobody's to hand on: the folder that REMATCH_CAFFE10 names holds `train2014_obj36.tsv` and `images/`.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark.data.regions.detector.pictures import prepare
from tests.data.regions.detector.narrow import narrow_detector

FOLDER = os.environ.get("REMATCH_CAFFE10")
pytestmark = pytest.mark.skipif(
    FOLDER is None, reason="REMATCH_CAFFE10 names no folder with the ten pictures of the original extractor"
)


def recorded() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Each picture with its boxes (36, 4)."""
    folder = Path(str(FOLDER))
    for line in (folder / "train2014_obj36.tsv").read_text().splitlines():
        name, _, _, *_, boxes, _ = line.split("\t")
        picture = np.asarray(Image.open(folder / "images" / f"{name}.jpg").convert("RGB"))
        yield picture, np.frombuffer(base64.b64decode(boxes), "<f4").reshape(36, 4)


def test_the_originals_boxes_fill_our_bounds_and_go_no_further() -> None:
    detector, ends, shortest = narrow_detector(short_side=600, longest_side=1000), [], []
    for picture, boxes in recorded():
        pixels = prepare(picture, detector.settings)[None]
        bounds = detector.bounds_of(picture, pixels)
        resized = boxes * np.array(bounds.scales * 2)
        ends.append(np.array([bounds.width - 1, bounds.height - 1]) - resized[:, 2:].max(axis=0))
        shortest.append((resized[:, 2:] - resized[:, :2] + 1).min() / bounds.smallest)
        assert resized.min() >= 0
    assert len(ends) == 10
    np.testing.assert_allclose(ends, 0, atol=2e-3)
    assert 1 <= min(shortest) < 1.04


def test_regions_of_real_pictures_are_found() -> None:
    given = [picture for picture, _ in recorded()]
    detector = narrow_detector(short_side=200, longest_side=333, proposals=120, regions=36)
    for picture, found in zip(given, detector.detect(given), strict=True):
        assert found.found == 36
        assert (found.boxes[:, 2:] <= np.array(picture.shape[1::-1])).all()
        assert np.isfinite(found.features).all()
