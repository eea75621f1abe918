"""A detector that finds regions by arithmetic: in the place of the network, whose weights tests do not have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from benchmark.data.regions.detector import Detector, DetectorSettings, PictureRegions

WIDTH = 8


class FakeDetector:
    """Features say which picture they are of; a picture has as many regions as its first pixel is red, 36 at most."""

    def __init__(self, settings: DetectorSettings) -> None:
        self.settings = settings
        self.seen: list[np.ndarray[Any, Any]] = []
        self.stop_after: int | None = None
        """The number of pictures after which it is interrupted."""

    def detect(self, pictures: Sequence[np.ndarray[Any, Any]]) -> list[PictureRegions]:
        found = []
        for picture in pictures:
            if self.stop_after is not None and len(self.seen) >= self.stop_after:
                raise KeyboardInterrupt
            self.seen.append(picture)
            found.append(self.regions(picture))
        return found

    def regions(self, picture: np.ndarray[Any, Any]) -> PictureRegions:
        """What is found on a picture."""
        count = self.settings.regions
        found = min(count, int(picture[0, 0, 0]))
        there = (np.arange(count) < found).astype(np.float32)  # (R,)
        code = picture.reshape(-1).astype(np.float64)
        base = float(code @ (1 + np.arange(len(code)) % 7)) / 1000
        features = np.outer(1 + np.arange(count), np.arange(1, WIDTH + 1)) + base  # (R, D)
        height, width = picture.shape[:2]
        corner = np.arange(count)[:, None] % [width - 1, height - 1]  # (R, 2)
        boxes = np.concatenate([corner, corner + 1], axis=1) * there[:, None]
        scores = there / (1 + np.arange(count))
        return PictureRegions(
            (features * there[:, None]).astype(np.float32),
            boxes.astype(np.float32),
            scores.astype(np.float32),
            np.arange(count) * there.astype(np.int64),
            found,
        )


def put_in_place(monkeypatch: pytest.MonkeyPatch) -> list[FakeDetector]:
    """Let every detector that is loaded be a fake; returns those that were."""
    loaded: list[FakeDetector] = []

    def load(settings: DetectorSettings, *_: object, **__: object) -> FakeDetector:
        loaded.append(FakeDetector(settings))
        return loaded[-1]

    monkeypatch.setattr(Detector, "load", load)
    return loaded
