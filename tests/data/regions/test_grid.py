"""Features of cells: what the fixed filters see, what a timm backbone gives, and when they are computed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from benchmark.data.images.transforms import as_pixels, normalise
from benchmark.data.load import load_dataset
from benchmark.data.regions import backbone
from benchmark.data.regions.backbone import BackboneCells
from benchmark.data.regions.grid import FeatureStore, extractor_for, with_grid
from benchmark.data.regions.random_cells import COLOURS, DIM, PLACES, RandomCells
from benchmark.data.scenes.dataset import SceneImages, ScenesOptions, scene_at
from benchmark.data.scenes.drawing import COLOURS as PAINTS
from benchmark.data.scenes.drawing import SHAPES, SIZES, TEXTURES
from benchmark.data.splits import Split
from benchmark.errors import UserError
from benchmark.recipe.schema import GridRegions

TINY = "test_resnet.r160_in1k"


def scenes(rows: int = 5, size: int = 64) -> Split:
    return load_dataset("scenes", {"n_test": rows, "image_size": size}, splits=["test"]).splits["test"]


def pictures(rows: int = 5) -> list[Image.Image]:
    split = scenes(rows)
    return [split.images[row] for row in range(rows)]


# ---------------------------------------------------------------------------------- random filters


def test_random_cells_are_the_same_for_any_batch() -> None:
    extractor, images = RandomCells(), pictures(7)
    whole = extractor.cells(images)
    assert whole.shape == (7, 36, DIM)
    assert whole.dtype == np.float32
    assert np.isfinite(whole).all()
    alone = np.concatenate([RandomCells().cells([image]) for image in images])
    np.testing.assert_array_equal(alone, whole)
    np.testing.assert_array_equal(whole.astype(np.float16).astype(np.float32), whole)


def test_random_cells_are_as_recorded() -> None:
    """Recorded once: another version of a library must not change them, or `identity` must."""
    found = RandomCells().cells(pictures(2))
    assert RandomCells().identity == "random-cells-1 128 (scenes-1)"
    recorded = np.array(
        [
            [0.79736328125, -1.4326171875, 1.041015625, 0.488037109375, 2.0390625, 3.771484375, 0.701171875],
            [
                1.2373046875,
                0.830078125,
                -0.6982421875,
                -0.64111328125,
                -0.188720703125,
                -0.56787109375,
                -0.387451171875,
            ],
            [
                0.85693359375,
                -0.260498046875,
                1.1552734375,
                0.6806640625,
                0.76904296875,
                1.4375,
                0.152587890625,
            ],
            [1.2373046875, 0.8291015625, -0.71484375, -0.69921875, -0.671875, -0.53173828125, -0.64208984375],
        ],
        np.float32,
    )
    np.testing.assert_array_equal(
        found[[0, 0, 1, 1], [0, 21, 14, 35]][:, [0, 19, 20, 31, 32, 70, 115]], recorded
    )


def test_threads_make_no_difference() -> None:
    images, threads = pictures(12), torch.get_num_threads()
    found = []
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            found.append(RandomCells().cells(images))
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_cells_lie_row_by_row_and_know_their_place() -> None:
    grey = Image.new("RGB", (64, 64), (128, 128, 128))
    marked = grey.copy()
    marked.paste((214, 36, 40), (53, 0, 64, 10))  # the last cell of the first row
    plain, changed = RandomCells().cells([grey, marked])
    difference = np.abs(changed - plain).sum(axis=1).reshape(6, 6)
    assert difference.argmax() == 5
    assert difference[3:, :3].max() < 1e-3 * difference[0, 5]
    places = plain[:, -PLACES:].reshape(6, 6, 2, 6)
    for row, column in np.ndindex(6, 6):
        assert places[row, column, 0].argmax() == row
        assert places[row, column, 1].argmax() == column
    grey_colour = plain[:, :COLOURS].reshape(6, 6, COLOURS)
    np.testing.assert_allclose(grey_colour, np.broadcast_to(grey_colour[0, 0], grey_colour.shape), atol=1e-3)


def test_other_sizes_are_resized() -> None:
    big = scenes(2, size=128).images[0]
    small = big.resize((64, 64), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(RandomCells().cells([big]), RandomCells().cells([small]))


def ridge(features: np.ndarray, classes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Classes of `others` by ridge regression from `features`."""
    mean, deviation = features.mean(0), features.std(0) + 1e-6
    known = np.c_[(features - mean) / deviation, np.ones(len(features))]
    targets = np.eye(classes.max() + 1)[classes]
    weights = np.linalg.solve(known.T @ known + 1e-4 * len(known) * np.eye(known.shape[1]), known.T @ targets)
    best: np.ndarray = (np.c_[(others - mean) / deviation, np.ones(len(others))] @ weights).argmax(1)
    return best


def cells_with_things(rows: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Features of the four cells that an object covers (n, D), and its colour, shape, size and texture (n, 4)."""
    options = ScenesOptions()
    images = SceneImages(options, "train", range(max(rows) + 1))
    kinds: list[list[str]] = [list(PAINTS), list(SHAPES), list(SIZES), list(TEXTURES)]
    features, classes = [], []
    for row, cells in zip(rows, RandomCells().cells([images[row] for row in rows]), strict=True):
        for thing in scene_at(options, "train", row).things:
            top, left = 2 * (thing.cell // 3), 2 * (thing.cell % 3)
            named = (thing.colour, thing.shape, thing.size, thing.texture)
            for cell in (6 * top + left, 6 * top + left + 1, 6 * top + left + 6, 6 * top + left + 7):
                features.append(cells[cell])
                classes.append([kind.index(name) for kind, name in zip(kinds, named, strict=True)])
    return np.asarray(features, dtype=np.float64), np.asarray(classes)


def test_cells_say_what_is_in_them() -> None:
    """From 300 pictures, a linear map reads colour, shape, size and texture of the objects in 60 others."""
    features, classes = cells_with_things(range(300))
    others, truth = cells_with_things(range(300, 360))
    least = {
        "colour": 0.97,
        "shape": 0.85,
        "size": 0.9,
        "texture": 0.93,
    }  # 0.99, 0.93, 0.95 and 0.97 when written
    for column, (name, share) in enumerate(least.items()):
        found = (ridge(features, classes[:, column], others) == truth[:, column]).mean()
        print(name, found)
        assert found > share, name


# ---------------------------------------------------------------------------------- timm backbones


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Random weights in place of the Hub's."""
    torch.manual_seed(3)
    path = tmp_path / "model.safetensors"
    save_file(timm.create_model(TINY, pretrained=False).state_dict(), path)
    asked: list[tuple[str, ...]] = []

    def fetch(*what: str) -> Path:
        asked.append(what)
        return path

    monkeypatch.setattr(backbone, "fetch_file", fetch)
    return path


def test_backbone_cells_are_means_of_the_last_map(weights: Path) -> None:
    images = [image.resize((200, 140)) for image in pictures(3)]
    extractor = extractor_for(GridRegions(source="grid", backbone=TINY), torch.device("cpu"))
    found = extractor.cells(images)
    assert found.shape == (3, 36, 96)
    model = timm.create_model(TINY, pretrained=False).eval()
    model.load_state_dict(load_file(weights))
    pixels = torch.stack(
        [torch.from_numpy(np.array(image.resize((160, 160), Image.Resampling.BILINEAR))) for image in images]
    )
    with torch.no_grad():
        maps = model.forward_features((pixels.permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5)  # (3, 96, 5, 5)
    for image, row, column in np.ndindex(3, 6, 6):
        rows = slice(row * 5 // 6, -(-(row + 1) * 5 // 6))
        columns = slice(column * 5 // 6, -(-(column + 1) * 5 // 6))
        expected = maps[image, :, rows, columns].mean((1, 2)).numpy()
        np.testing.assert_allclose(found[image, 6 * row + column], expected, rtol=1e-4, atol=1e-5)
    assert "test_resnet.r160_in1k at 160" in extractor.identity


def test_other_weights_are_another_extractor(weights: Path) -> None:
    before = BackboneCells(TINY, torch.device("cpu")).identity
    weights.write_bytes(weights.read_bytes() + b" ")
    assert BackboneCells(TINY, torch.device("cpu")).identity != before


@pytest.mark.parametrize(
    ("name", "side", "prefix"),
    [("test_vit.r160_in1k", 10, 1), ("swin_tiny_patch4_window7_224.ms_in1k", 7, None)],
    ids=["tokens", "channels last"],
)
def test_maps_of_other_layouts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, side: int, prefix: int | None
) -> None:
    torch.manual_seed(4)
    model = timm.create_model(name, pretrained=False).eval()
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    monkeypatch.setattr(backbone, "fetch_file", lambda *_: tmp_path / "model.safetensors")
    extractor = BackboneCells(name, torch.device("cpu"))
    size, image = extractor._spec.size, pictures()[0]
    pixels = normalise(
        as_pixels([image.resize((size, size), Image.Resampling.BILINEAR)], size), extractor._spec
    )
    with torch.no_grad():
        found = model.forward_features(pixels)[0]
    cells = found if prefix is None else found[prefix:].reshape(side, side, -1)
    corner = cells[: -(-side // 6), side - -(-side // 6) :].mean((0, 1))  # of the last cell of the first row
    np.testing.assert_allclose(extractor.cells([image])[0, 5], corner.numpy(), rtol=1e-4, atol=1e-5)


def test_a_backbone_that_cannot_serve(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    with pytest.raises(
        UserError, match=r"no weights 'resnet5O.a1_in1k'; did you mean 'resnet50.a1_in1k'\?; or 'random'"
    ):
        BackboneCells("resnet5O.a1_in1k", cpu)
    with pytest.raises(
        UserError, match=r"model.safetensors of timm/test_vit.r160_in1k does not fit the model"
    ):
        BackboneCells("test_vit.r160_in1k", cpu).cells(pictures(2))
    extractor = BackboneCells(TINY, cpu)
    monkeypatch.setattr(extractor._model, "forward_features", lambda pixels: torch.zeros(len(pixels), 96))
    with pytest.raises(
        UserError, match=r"'test_resnet.r160_in1k' gives features of shape \(2, 96\), expected a map"
    ):
        extractor.cells(pictures(2))
    assert weights.is_file()


# ------------------------------------------------------------------------------------------- cache


class Counting(RandomCells):
    """Counts the pictures."""

    def __init__(self) -> None:
        self.pictures = 0

    def cells(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        self.pictures += len(pictures)
        return super().cells(pictures)


def test_features_are_kept_by_split_and_extractor(tmp_path: Path) -> None:
    store, counting = FeatureStore(tmp_path), Counting()
    split = with_grid(scenes(), counting, store, show_progress=False)
    assert split.regions is not None
    assert (len(split.regions), split.regions.shape, counting.pictures) == (5, (36, DIM), 5)
    np.testing.assert_array_equal(split.regions.regions([3]), RandomCells().cells(pictures())[[3]])
    again = with_grid(scenes(), counting, store, show_progress=False)
    assert counting.pictures == 5
    assert again.fingerprint == split.fingerprint != scenes().fingerprint
    with_grid(scenes(6), counting, store, show_progress=False)
    assert counting.pictures == 11
    other = Counting()
    other.identity = "another"
    assert with_grid(scenes(), other, store, show_progress=False).fingerprint != split.fingerprint
    assert other.pictures == 5
    assert len(list(tmp_path.iterdir())) == 3
