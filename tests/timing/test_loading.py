"""Timing of the loader: what is counted, and that every step does its work."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from PIL import Image

from benchmark.data.images.decoding import BrokenPictureError, FileImages
from benchmark.data.load import load_dataset
from benchmark.data.splits import Images, Split
from benchmark.errors import UserError
from benchmark.inputs import PixelInput
from benchmark.reporting.timings import speed_sheet
from benchmark.reporting.writers.terminal import write_text
from benchmark.timing.loading import PUBLISHED, SpeedRow, loader_speed

SMALL = PixelInput(32, "random_resized_crop_flip", "resize_center_crop", 36)


@pytest.fixture(scope="module")
def split() -> Split:
    return load_dataset("scenes", {"n_train": 2, "n_val": 2, "n_test": 10}, splits=["test"]).splits["test"]


@dataclass(frozen=True)
class SlowImages(Images):
    """Pictures that take five milliseconds each."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, row: int) -> Image.Image:
        time.sleep(0.005)
        return Image.new("RGB", (40, 40))

    def select(self, rows: Sequence[int]) -> SlowImages:
        raise NotImplementedError

    def identity(self) -> bytes:
        return b"slow"


def test_every_step_with_every_number_of_workers(split: Split) -> None:
    rows = loader_speed(split, SMALL, workers=(0, 1), images=30, batch_size=8)
    assert [(row.step, row.workers) for row in rows] == [
        (step, workers) for step in ("decode", "train", "evaluate") for workers in (0, 1)
    ]
    assert {row.images for row in rows} == {24}  # whole batches
    assert all(row.seconds > 0 for row in rows)


def test_the_rate_is_that_of_the_pictures(split: Split) -> None:
    for row in loader_speed(replace(split, images=SlowImages()), SMALL, images=32, batch_size=8):
        assert row.images == 32
        assert row.seconds >= 32 * 0.005  # the batch before the clock starts does not count, all others do
        assert row.rate <= 200


def test_rates() -> None:
    row = SpeedRow("train", 4, 1000, 2.0)
    assert (row.rate, row.rate_per_worker) == (500, 125)
    alone = SpeedRow("train", 0, 1000, 4.0)
    assert (alone.rate, alone.rate_per_worker) == (250, 250)
    lines = write_text([speed_sheet([row, alone])]).splitlines()
    assert [line for line in lines if "500" in line and "125" in line and "8.00" in line]
    assert [line for line in lines if "250" in line and "4.00" in line]


def test_the_transforms_are_the_published_ones() -> None:
    assert (PUBLISHED.size, PUBLISHED.resize_to) == (224, 256)
    assert (PUBLISHED.mean, PUBLISHED.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_picture_ends_it_in_one_line(split: Split, tmp_path: Path, workers: int) -> None:
    names = [f"{number}.jpg" for number in range(10)]
    for name in names:
        (tmp_path / name).write_bytes(b"no picture")
    broken = replace(split, images=FileImages(tmp_path, names, names))
    with pytest.raises(BrokenPictureError, match=r"^image 0\.jpg .*cannot be decoded") as caught:
        loader_speed(broken, SMALL, workers=(workers,), images=10, batch_size=5)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("workers", "images", "batch_size"), [((), 10, 2), ((-1,), 10, 2), ((0,), 0, 2), ((0,), 10, 0)]
)
def test_impossible_numbers(split: Split, workers: tuple[int, ...], images: int, batch_size: int) -> None:
    with pytest.raises(UserError, match="speed of the loader: found workers"):
        loader_speed(split, SMALL, workers=workers, images=images, batch_size=batch_size)
