"""How close two sets of features are: matching against naive loops, and every kind of set that there is."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmark.data.regions.arrays import ArrayRegions, open_npy
from benchmark.data.regions.compare import (
    ALIKE,
    OVERLAP,
    FeatureSet,
    compare_features,
    greedy_pairs,
    open_features,
)
from benchmark.data.regions.detected import REGIONS, Detection
from benchmark.data.regions.detector import Detector
from benchmark.data.regions.detector.formula import formula_weights
from benchmark.data.regions.detector.network import Architecture
from benchmark.data.regions.detector.published import build_network
from benchmark.data.regions.grid import FeatureStore
from benchmark.errors import UserError
from benchmark.recipe.schema import DetectorRegions
from benchmark.reporting.features import comparison_sheet
from benchmark.reporting.writers.terminal import write_text
from tests.data.region_files import boxes_of, scan_part
from tests.data.regions.fake_detector import FakeDetector, put_in_place
from tests.hub.rows import picture
from tests.tiny import rematch

Array = np.ndarray[Any, Any]


def made(folder: Path, names: Sequence[str], features: Array, boxes: Array | None = None) -> FeatureSet:
    """A set in memory, its features (n, R, D) in a file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "features.npy"
    np.save(path, features.astype(np.float32))
    regions = ArrayRegions((open_npy(path),), np.arange(len(features)), "made")
    return FeatureSet(folder.name, names, regions, None if boxes is None else lambda rows: boxes[list(rows)])


def drawn(seed: int, images: int, regions: int = 5, width: int = 7) -> Array:
    return np.random.default_rng(seed).random((images, regions, width), dtype=np.float32)


def boxes(seed: int, images: int, regions: int = 5) -> Array:
    corners = np.random.default_rng(seed).uniform(0, 40, (images, regions, 2))
    sides = np.random.default_rng(seed + 1).uniform(20, 60, (images, regions, 2))
    return np.concatenate([corners, corners + sides], axis=2).astype(np.float32)


# -------------------------------------------------------------------------------------- by hand, naively


def naive_pairs(scores: Array, least: float) -> set[tuple[int, int]]:
    """Sort all pairs, take each whose two are still free."""
    order = sorted((-scores[r, s], r, s) for r in range(scores.shape[0]) for s in range(scores.shape[1]))
    taken: set[tuple[int, int]] = set()
    for score, row, column in order:
        free = all(row != r and column != s for r, s in taken)
        if -score >= least and free:
            taken.add((row, column))
    return taken


def naive_cosine(one: Array, two: Array) -> float:
    one, two = one.astype(np.float64), two.astype(np.float64)
    return float(one @ two / (np.sqrt(one @ one) * np.sqrt(two @ two)))


def naive_overlap(one: Array, two: Array) -> float:
    wide = max(0.0, min(one[2], two[2]) - max(one[0], two[0]))
    high = max(0.0, min(one[3], two[3]) - max(one[1], two[1]))
    area = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, two)]
    return float(wide * high / (sum(area) - wide * high))


@pytest.mark.parametrize("least", [-1.0, 0.3, 0.8])
def test_pairs_are_those_of_sorting_all(least: float) -> None:
    scores = np.random.default_rng(3).random((6, 5, 4))
    found = greedy_pairs(scores, least)
    for image in range(6):
        assert {tuple(pair) for pair in np.argwhere(found[image]).tolist()} == naive_pairs(
            scores[image], least
        )


@pytest.mark.parametrize("with_boxes", [True, False])
def test_shares_and_cosines_are_those_of_naive_loops(tmp_path: Path, with_boxes: bool) -> None:
    names, (one, two) = [f"{k}.jpg" for k in range(70)], (drawn(1, 70), drawn(2, 70))
    two[:, 1] = one[:, 3] + 0.01 * two[:, 1]
    mine, theirs = (
        boxes(5, 70),
        boxes(5, 70) + np.random.default_rng(9).uniform(-9, 9, (70, 5, 4)).astype(np.float32),
    )
    sets = [
        made(tmp_path / name, names, features, part if with_boxes else None)
        for name, features, part in (("a", one, mine), ("b", two, theirs))
    ]
    found = compare_features(*sets, show_progress=False)
    assert found.by_boxes is with_boxes
    for image in range(70):
        cosines = np.array([[naive_cosine(x, y) for y in two[image]] for x in one[image]])
        overlaps = np.array([[naive_overlap(x, y) for y in theirs[image]] for x in mine[image]])
        pairs = naive_pairs(overlaps, OVERLAP) if with_boxes else naive_pairs(cosines, -1.0)
        values = [cosines[pair] for pair in pairs]
        counted = len(pairs) if with_boxes else sum(value >= ALIKE for value in values)
        assert found.matched[image] == pytest.approx(counted / 5)
        if pairs:
            assert found.mean[image] == pytest.approx(np.mean(values))
            assert found.worst[image] == pytest.approx(np.min(values))
        else:
            assert np.isnan(found.mean[image])


def test_a_set_is_like_itself_in_any_order(tmp_path: Path) -> None:
    names, features = ["7.jpg", "8.jpg", "9.jpg"], drawn(1, 3)
    shuffled = features[::-1, ::-1]
    found = compare_features(
        made(tmp_path / "a", names, features),
        made(tmp_path / "b", names[::-1], shuffled),
        show_progress=False,
    )
    np.testing.assert_allclose(found.mean, 1, atol=1e-7)
    np.testing.assert_allclose(found.worst, 1, atol=1e-7)
    np.testing.assert_array_equal(found.matched, 1)
    assert found.images == names


def test_zeros_are_no_regions(tmp_path: Path) -> None:
    one, two = drawn(1, 2), drawn(1, 2)
    one[0, 3:], two[0, :4] = 0, 0  # three are left, and one; they share none
    two[1] = 0
    found = compare_features(made(tmp_path / "a", ["1", "2"], one), made(tmp_path / "b", ["1", "2"], two))
    assert found.matched.tolist() == [
        0.0 if naive_best(one[0], two[0]) < ALIKE else pytest.approx(1 / 3),
        0.0,
    ]
    assert found.mean[0] == pytest.approx(naive_best(one[0], two[0]))
    assert np.isnan(found.mean[1])


def naive_best(one: Array, two: Array) -> float:
    return max(naive_cosine(x, y) for x in one if x.any() for y in two if y.any())


def test_images_of_one_set_alone_are_counted(tmp_path: Path) -> None:
    a = made(tmp_path / "a", ["val2014/COCO_val2014_000000000042.jpg", "1.jpg", "2.jpg"], drawn(1, 3))
    b = made(tmp_path / "b", ["42", "9"], drawn(1, 2))
    found = compare_features(a, b, show_progress=False)
    assert (found.images, found.alone) == (["val2014/COCO_val2014_000000000042.jpg"], (2, 1))


def test_what_cannot_be_compared_is_one_line(tmp_path: Path) -> None:
    a = made(tmp_path / "a", ["1.jpg"], drawn(1, 1))
    with pytest.raises(UserError, match=r"no image of a is in b: they are called '1\.jpg' and '2\.jpg'"):
        compare_features(a, made(tmp_path / "b", ["2.jpg"], drawn(1, 1)))
    with pytest.raises(UserError, match=r"features of width 7 \(a\) and 8 \(c\): expected the same"):
        compare_features(a, made(tmp_path / "c", ["1.jpg"], drawn(1, 1, width=8)))


# --------------------------------------------------------------------------------- what people have


def none() -> Detection:
    raise AssertionError("there are no pictures")


def opened(path: Path, dataset: str = "", detect: Callable[[], Detection] = none) -> FeatureSet:
    return open_features(path, dataset, path.parent / "converted", detect, show_progress=False)


def tsv(folder: Path, images: Sequence[int]) -> Path:
    """A TSV with boxes of 10 x 10 pixels, each a pixel to the right of the one before."""
    lines = []
    for image in images:
        left = np.arange(REGIONS, dtype=np.float32)
        corners = np.stack([left, left, left + 10, left + 10], axis=1)
        parts = [base64.b64encode(part.tobytes()).decode() for part in (corners, boxes_of(image))]
        lines.append("\t".join([str(image), "640", "480", str(REGIONS), *parts]))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "x.tsv").write_text("\n".join(lines) + "\n")
    return folder


def test_a_tsv_file_and_a_scan_folder(tmp_path: Path) -> None:
    one = opened(tsv(tmp_path / "tsv", [3, 5, 4]) / "x.tsv")
    assert one.boxes is not None
    assert one.boxes([1])[0, 2].tolist() == [2, 2, 12, 12]
    array = np.stack([boxes_of(4), boxes_of(3)])
    scan_part(tmp_path / "scan", "dev", 2, array=array, ids=[4, 3], repeated=True)
    scan_part(tmp_path / "scan", "test", 1, array=np.stack([boxes_of(9)]), ids=[9])
    two = opened(tmp_path / "scan")
    found = compare_features(one, two, show_progress=False)
    assert (sorted(found.images), found.alone, found.by_boxes) == (["3", "4"], (1, 1), False)
    np.testing.assert_allclose(found.worst, 1, atol=1e-7)
    assert opened(tmp_path / "tsv").names == ["3", "5", "4"]


def test_ids_of_flickr30k_stand_for_file_names_where_the_dataset_is_said(tmp_path: Path) -> None:
    scan_part(tmp_path / "scan", "test", 1, ids=[25])
    assert opened(tmp_path / "scan").names == ["25"]
    assert opened(tmp_path / "scan", "flickr30k").names == ["1007129816.jpg"]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    (tmp_path / "pictures/deep").mkdir(parents=True)
    for number in range(3):
        (tmp_path / f"pictures/deep/COCO_{number:012d}.jpg").write_bytes(picture(number))
    return tmp_path / "pictures"


def test_pictures_are_looked_at_and_what_was_kept_is_a_set_too(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = put_in_place(monkeypatch)
    settings, store = DetectorRegions(source="detector"), FeatureStore(tmp_path / "store")

    def detect() -> Detection:
        return Detection(settings, store, show_progress=False)

    one = opened(pictures, detect=detect)
    assert len(one.names) == 3
    (folder,) = store.folder.iterdir()
    two = opened(folder)
    found = compare_features(one, two, show_progress=False)
    assert found.by_boxes
    assert (len(found.images), found.alone) == (3, (0, 0))
    np.testing.assert_allclose(found.mean, 1, atol=1e-7)
    assert isinstance(loaded[0], FakeDetector)
    path = next(folder.glob("*.safetensors"))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match="not a file of the detector's features"):
        opened(folder)


def test_anything_else_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere: no such folder, nor a \.tsv file"):
        opened(tmp_path / "nowhere")
    with pytest.raises(UserError, match="found neither region features"):
        opened(tmp_path)
    (tmp_path / "test_caps.txt").write_text("a\n" * 5)
    with pytest.raises(UserError, match=r"found captions and no _ims\.npy"):
        opened(tmp_path)


# ------------------------------------------------------------------------------------- the command


def test_the_command_lists_the_least_alike_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    arrays = np.stack([boxes_of(k) for k in range(12)])
    other = arrays.copy()
    other[7] += 0.3 * np.random.default_rng(1).random((36, 2048), dtype=np.float32)
    for name, array in (("ours", arrays), ("theirs", other)):
        scan_part(tmp_path / name, "test", 12, array=array)
    said = rematch("data", "compare-features", "ours", "theirs", "--no-progress", "--format", "csv").good
    lines = said.splitlines()
    assert lines[0] == "image,matched,mean_cosine,worst_cosine"
    assert len(lines) == 14
    first, last = lines[1].split(","), lines[-1].split(",")
    assert first[0] == "17"
    assert float(first[2]) == pytest.approx(
        np.mean([naive_cosine(arrays[7, k], other[7, k]) for k in range(36)]), abs=1e-6
    )
    assert last[0] == "all"
    assert float(last[3]) == float(first[3])
    text = rematch("data", "compare-features", "ours", "theirs", "--no-progress").good
    assert "shown are the 10 images of the least mean cosine" in text
    assert "12 images in both; regions are matched by cosine, and counted from 0.9" in text


@pytest.mark.skipif(
    "REMATCH_CAFFE10" not in os.environ, reason="REMATCH_CAFFE10 names no folder of ten pictures"
)
def test_ten_pictures_against_the_original_extractor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a narrow network, whose features mean nothing: the table that the published weights fill."""
    folder = Path(os.environ["REMATCH_CAFFE10"]).resolve()
    monkeypatch.chdir(tmp_path)
    original = folder / "train2014_obj36.tsv"
    itself = rematch("data", "compare-features", original, original, "--format", "csv", "--no-progress").good
    last = itself.splitlines()[-1].split(",")
    assert last[0] == "all"
    assert [float(value) for value in last[1:]] == pytest.approx([1, 1, 1])
    settings = DetectorRegions(source="detector", short_side=128, proposals=36)
    found = Detection(settings, FeatureStore(tmp_path), show_progress=False)
    narrow = Architecture(stem=4, inner=2, blocks=(1, 1, 1, 1), hidden=4, classes=20)  # features of 2,048
    network = build_network(formula_weights(narrow, 0.35, np.zeros(21, np.float32)))
    found.__dict__["detector"] = Detector(network, found.settings, torch.device("cpu"))
    one = opened(original)
    ours = open_features(folder / "images", "", tmp_path, lambda: found, show_progress=False)
    sheet = comparison_sheet(compare_features(one, ours, show_progress=False), every=False)
    print(write_text([sheet]))
    assert len(sheet.rows) == 11
    assert "10 images in both; regions are matched by boxes that overlap by 0.5 or more" in sheet.notes[0]
