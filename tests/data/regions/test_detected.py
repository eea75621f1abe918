"""Features of the detector: found once a picture, kept whole, found again after a kill, named by the dataset."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from benchmark.data.guides.sources import with_computed_guides
from benchmark.data.images.decoding import BrokenPictureError
from benchmark.data.load import with_computed
from benchmark.data.regions import detected
from benchmark.data.regions.detected import DEPARTURE, Detection, with_detected
from benchmark.data.regions.grid import FeatureStore
from benchmark.data.splits import Dataset, Images, NoPictures, Split, SplitName
from benchmark.errors import UserError
from benchmark.recipe.schema import DETECTED, DetectorRegions, RandomGuides
from tests.data.regions.fake_detector import WIDTH, FakeDetector, put_in_place

SETTINGS = DetectorRegions(source="detector")


class Drawn(Images):
    """Pictures 6 x 4 of one colour by their number; each decoding is counted, some cannot be decoded."""

    def __init__(self, numbers: Sequence[int], broken: Sequence[int] = ()) -> None:
        self.numbers, self.broken, self.decoded = list(numbers), broken, list[int]()

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, row: int) -> Image.Image:
        number = self.numbers[row]
        self.decoded.append(number)
        if number in self.broken:
            raise BrokenPictureError(f"image {number}.jpg: cannot be decoded")
        return Image.new("RGB", (6, 4), (number % 256, number // 256, 7))

    def select(self, rows: Sequence[int]) -> Drawn:
        return Drawn([self.numbers[row] for row in rows], self.broken)

    def identity(self) -> bytes:
        return str(self.numbers).encode()

    def digests(self) -> list[bytes]:
        return [number.to_bytes(32) for number in self.numbers]


def split_of(numbers: Sequence[int], name: SplitName = "test", broken: Sequence[int] = ()) -> Split:
    names = [f"{number}.jpg" for number in numbers]
    captions = [f"caption {k} of {number}" for number in numbers for k in range(5)]
    rows = np.repeat(np.arange(len(numbers)), 5)
    return Split(name, [str(n) for n in numbers], names, captions, captions, rows, Drawn(numbers, broken))


def dataset_of(*splits: Split) -> Dataset:
    return Dataset("flickr30k", "local", "drawn", "none", {split.name: split for split in splits})


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[FakeDetector]:
    return put_in_place(monkeypatch)


def detection(folder: Path, settings: DetectorRegions = SETTINGS) -> Detection:
    return Detection(settings, FeatureStore(folder), show_progress=False)


def expected(numbers: Sequence[int], settings: DetectorRegions = SETTINGS) -> np.ndarray[Any, Any]:
    fake = FakeDetector(detected.detector_settings(settings))
    pictures = Drawn(numbers)
    return np.stack([fake.regions(np.asarray(pictures[k])).features for k in range(len(numbers))])


def features(split: Split, rows: Sequence[int] | None = None) -> np.ndarray[Any, Any]:
    assert split.regions is not None
    return split.regions.regions(range(len(split)) if rows is None else rows)


# ------------------------------------------------------------------------------------- the features


def test_every_picture_is_looked_at_once_whatever_asks_for_it(
    tmp_path: Path, loaded: list[FakeDetector]
) -> None:
    whole = split_of([50, 60, 70, 50, 80])
    found = detection(tmp_path).attach(whole)
    np.testing.assert_array_equal(features(found), expected([50, 60, 70, 50, 80]))
    assert len(loaded[0].seen) == 4  # equal pictures count once
    again = detection(tmp_path).attach(whole.select_images([1, 4]))
    np.testing.assert_array_equal(features(again), expected([60, 80]))
    other = detection(tmp_path).attach(split_of([80, 90, 60], "train"))  # another order, one more picture
    np.testing.assert_array_equal(features(other), expected([80, 90, 60]))
    assert [len(fake.seen) for fake in loaded] == [4, 1]
    np.testing.assert_array_equal(features(other, [2, 0]), expected([60, 80]))


def test_in_a_pipe_a_line_says_how_much_there_is_to_do(
    tmp_path: Path, loaded: list[FakeDetector], capsys: pytest.CaptureFixture[str]
) -> None:
    split = split_of(range(40, 45))
    for _ in range(2):
        Detection(SETTINGS, FeatureStore(tmp_path)).attach(split)
    assert capsys.readouterr().err == "regions of test: 5 of 5 pictures to look at, once, on cpu\n"
    assert len(loaded) == 1


def test_half_precision_is_said_and_kept_apart(tmp_path: Path, loaded: list[FakeDetector]) -> None:
    half = SETTINGS.model_copy(update={"precision": "float16"})
    one, two = (detection(tmp_path, each).attach(split_of([43])) for each in (SETTINGS, half))
    np.testing.assert_array_equal(features(two), features(one).astype(np.float16).astype(np.float32))
    assert not np.array_equal(features(one), features(two))
    assert one.fingerprint != two.fingerprint
    assert len(loaded) == 2


@pytest.mark.parametrize("change", [{"mode": "hub"}, {"proposals": 60}, {"short_side": 320}])
def test_other_settings_are_other_features(
    tmp_path: Path, loaded: list[FakeDetector], change: dict[str, Any]
) -> None:
    split, other = split_of([43]), SETTINGS.model_copy(update=change)
    one, two = (detection(tmp_path, each).attach(split) for each in (SETTINGS, other))
    assert one.fingerprint != two.fingerprint
    assert [fake.settings for fake in loaded] == [
        detected.detector_settings(each) for each in (SETTINGS, other)
    ]


def test_fewer_than_36_regions_are_counted_and_noted(tmp_path: Path, loaded: list[FakeDetector]) -> None:
    few, enough = split_of([5, 40, 12]), split_of([300 + 41], "val")
    made = with_detected(dataset_of(few, enough), detection(tmp_path))
    assert made.notes[-2] == f"{DETECTED}: {detection(tmp_path).identity}"
    assert made.notes[-1] == (
        "regions of 'test': 2 of 3 images have fewer than 36, the fewest 5; zeros stand for the rest"
    )
    rows = features(made.splits["test"], [0])[0]
    assert rows[:5].all()
    assert not rows[5:].any()
    assert loaded


def test_the_departure_and_the_signature_name_the_detector(
    tmp_path: Path, loaded: list[FakeDetector]
) -> None:
    found = detection(tmp_path)
    made = with_detected(dataset_of(split_of([50])), found)
    assert made.departures == [DEPARTURE.format(found.title)]
    assert made.departures[0].startswith(f"{DETECTED} (caffe mode, ")
    assert made.features == f"detector-caffe-{found.key[:8]}"
    regions = made.splits["test"].regions
    assert regions is not None
    assert regions.description == f"{DETECTED}, {found.title}"
    assert regions.shape == (36, WIDTH)
    assert loaded


def test_a_split_without_pictures_is_one_line(tmp_path: Path) -> None:
    split = replace(split_of([50]), images=NoPictures(1))
    with pytest.raises(UserError, match="these data hold no pictures for the detector to look at"):
        detection(tmp_path).attach(split)


# ---------------------------------------------------------------------------- interrupted, and damaged


def interrupted(folder: Path, split: Split, after: int) -> None:
    """Begin an extraction that is interrupted after so many pictures."""
    made = detection(folder)
    made.detector.stop_after = after  # type: ignore[attr-defined]  # a fake
    with pytest.raises(KeyboardInterrupt):
        made.attach(split)


def killed(folder: Path, split: Split, after: int) -> None:
    """Begin one in a process that is killed: nothing is put in order."""
    child = os.fork()
    if child == 0:
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Detection, "_keep_rest", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
                interrupted(folder, split, after)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def checksum(folder: Path, split: Split) -> str:
    found = detection(folder)
    found.attach(split)
    return found.kept.checksum(found.pictures(split))


@pytest.mark.parametrize("window", [1, 4])
@pytest.mark.parametrize("stop", [interrupted, killed])
def test_a_stopped_extraction_goes_on_to_the_same_checksum(
    tmp_path: Path,
    loaded: list[FakeDetector],
    monkeypatch: pytest.MonkeyPatch,
    window: int,
    stop: Callable[[Path, Split, int], None],
) -> None:
    monkeypatch.setattr(detected, "WINDOW", {"cpu": window})
    monkeypatch.setattr(detected, "CHUNK", 8)
    split = split_of(range(40, 70))
    whole = checksum(tmp_path / "whole", split)
    stop(tmp_path / "killed", split, 13)
    assert checksum(tmp_path / "killed", split) == whole
    # whole windows are kept, of a killed process those that were written
    kept = 8 if stop is killed else 13 // window * window
    assert len(loaded[-1].seen) == 30 - kept
    assert checksum(tmp_path / "killed", split_of(range(69, 39, -1))) == whole
    assert checksum(tmp_path / "killed", split.first_images(29)) != whole


def test_what_was_found_is_written_from_time_to_time(
    tmp_path: Path, loaded: list[FakeDetector], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detected, "SAVED_EVERY", -1.0)
    split = split_of(range(40, 45))
    detection(tmp_path).attach(split)
    assert len(list(tmp_path.rglob("*.safetensors"))) == 5
    assert loaded


def test_a_broken_picture_is_named_and_nothing_is_lost(tmp_path: Path, loaded: list[FakeDetector]) -> None:
    split = split_of(range(40, 50), broken=[46])
    with pytest.raises(BrokenPictureError, match=r"image 46\.jpg"):
        detection(tmp_path).attach(split)
    sound = split.select_images([0, 1, 2, 3, 4, 5, 7, 8, 9])  # as --skip-corrupt leaves it
    np.testing.assert_array_equal(
        features(detection(tmp_path).attach(sound)), expected([*range(40, 46), 47, 48, 49])
    )
    assert sum(len(fake.seen) for fake in loaded) == 9


def test_a_damaged_file_is_said_and_made_again(
    tmp_path: Path, loaded: list[FakeDetector], capsys: pytest.CaptureFixture[str]
) -> None:
    split = split_of(range(40, 44))
    detection(tmp_path).attach(split)
    detection(tmp_path).attach(split_of(range(40, 50)))
    first, second = sorted(tmp_path.rglob("*.safetensors"), key=lambda path: path.stat().st_size)
    for path, end in ((first, b"abc"), (second, b"")):  # other bytes at the end; cut short
        path.write_bytes(path.read_bytes()[: -3 if end else 200] + end)
        capsys.readouterr()
        found = detection(tmp_path).attach(split_of(range(40, 50)))
        assert f"{path.name} is damaged; its pictures are looked at again" in capsys.readouterr().err
        np.testing.assert_array_equal(features(found), expected(range(40, 50)))
    assert [len(fake.seen) for fake in loaded] == [4, 6, 4, 6]


def test_a_full_disk_is_one_line(
    tmp_path: Path, loaded: list[FakeDetector], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("benchmark.data.regions.kept.write_bytes", full)
    with pytest.raises(
        UserError, match=r"cannot be written \(No space left on device\); files that are whole"
    ):
        detection(tmp_path).attach(split_of([50]))
    assert loaded


# ------------------------------------------------------------------------------------------- guides


@pytest.mark.parametrize("chunk", [3, 256])
def test_guides_and_regions_come_from_one_pass_of_decoding(
    tmp_path: Path, loaded: list[FakeDetector], monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr("benchmark.data.regions.cache.CHUNK", chunk)
    split = split_of(range(40, 50))
    dataset, store = dataset_of(split), FeatureStore(tmp_path / "both", torch.device("cpu"))
    both = with_computed(dataset, SETTINGS, RandomGuides(source="random"), store, show_progress=False)
    images = split.images
    assert isinstance(images, Drawn)
    assert sorted(images.decoded) == list(range(40, 50))
    assert both.splits["test"].images is images
    alone = detection(tmp_path / "alone").attach(split)
    np.testing.assert_array_equal(features(both.splits["test"]), features(alone))
    assert both.splits["test"].regions.identity() == alone.regions.identity()  # type: ignore[union-attr]
    plain = with_computed_guides(
        RandomGuides(source="random"), dataset, None, FeatureStore(tmp_path / "plain"), show_progress=False
    )
    for made in (plain, both):
        assert made.splits["test"].guides is not None
    np.testing.assert_array_equal(both.splits["test"].guides.vectors, plain.splits["test"].guides.vectors)  # type: ignore[union-attr]
    assert loaded
