"""Vectors of whole images: files beside SCAN's features, projections of pictures, the cache, batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from benchmark.data.batches import image_batches, train_batches
from benchmark.data.guides.projection import DIM, RandomProjection
from benchmark.data.guides.sources import computed_guides
from benchmark.data.inputs import check_input
from benchmark.data.load import load_dataset, make_codec
from benchmark.data.regions.grid import FeatureStore
from benchmark.data.splits import Dataset, Split, SplitName
from benchmark.errors import UserError
from benchmark.inputs import InputSpec, PixelInput, RegionInput, WordPieceText
from benchmark.recipe.schema import FileGuides, GridRegions, RandomGuides, StoredRegions
from tests.data.region_files import features, scan_part

SCAN, GRID = StoredRegions(source="scan"), GridRegions(source="grid")
FILE, RANDOM = FileGuides(source="file"), RandomGuides(source="random")
TEXT = WordPieceText(None, "letters")
CPU = torch.device("cpu")
TINY = "someone/tiny-clip"


def vectors(images: int, width: int = 5, first: int = 0) -> np.ndarray[Any, Any]:
    """(n, D): ten times the image's number and a fraction for each place."""
    array = 10 * (first + np.arange(images))[:, None] + np.arange(width) / width
    return array.astype(np.float32)


def folder_of(tmp_path: Path, images: int = 8, *, repeated: bool = False) -> Path:
    folder = tmp_path / "precomp"
    for number, part in enumerate(("train", "dev", "test")):
        scan_part(folder, part, images, array=features(range(images), 2, 3) / 1e4)
        array = vectors(images, first=100 * number)
        np.save(folder / f"{part}_clip.npy", np.repeat(array, 5, axis=0) if repeated else array)
    return folder


def stored(folder: Path, *splits: SplitName, **more: Any) -> Dataset:
    return load_dataset(
        "flickr30k",
        splits=splits or ["train"],
        data_dir=folder,
        regions=SCAN,
        guides=FILE,
        unverified=True,
        show_progress=False,
        **more,
    )


def scenes(rows: int = 5) -> Split:
    return load_dataset("scenes", {"n_test": rows}, splits=["test"]).splits["test"]


# --------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize("repeated", [False, True], ids=["once", "five times"])
def test_a_row_for_each_image_or_each_caption(tmp_path: Path, repeated: bool) -> None:
    dataset = stored(folder_of(tmp_path, repeated=repeated), "train", "test")
    for number, name in ((0, "train"), (2, "test")):
        guides = dataset.splits[name].guides  # type: ignore[index]
        assert guides is not None
        np.testing.assert_array_equal(guides.vectors, vectors(8, first=100 * number))
        assert guides.description == f"vectors of {name}_clip.npy"
    assert dataset.notes[-1].startswith("guides of 'test': vectors of test_clip.npy (identity ")


def test_first_images_keep_their_vectors(tmp_path: Path) -> None:
    split = stored(folder_of(tmp_path), "val", first_images={"val": 3}).splits["val"]
    assert split.guides is not None
    np.testing.assert_array_equal(split.guides.vectors, vectors(3, first=100))


def test_the_fingerprint_says_which_vectors(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    before = stored(folder).splits["train"].fingerprint
    assert stored(folder).splits["train"].fingerprint == before
    array = vectors(8)
    array[7, 4] += 1
    np.save(folder / "train_clip.npy", array)
    assert stored(folder).splits["train"].fingerprint != before


Damage = Callable[[Path], object]


def changed(value: float, *, repeated: bool = False) -> Damage:
    def damage(path: Path) -> None:
        array = np.repeat(vectors(8), 5, axis=0) if repeated else vectors(8)
        array[6, 2] = value
        np.save(path, array)

    return damage


DAMAGES: dict[str, tuple[Damage, str]] = {
    "missing": (
        lambda path: path.unlink(),
        "train_clip.npy: no such file, expected float32 (images, width): CLIP's vector of each image of train_ims.npy",
    ),
    "no array": (
        lambda path: path.write_bytes(b"no array"),
        "train_clip.npy: not a readable .npy file (",
    ),
    "cut short": (
        lambda path: path.write_bytes(path.read_bytes()[:-8]),
        "train_clip.npy: not a readable .npy file (",
    ),
    "pickled": (
        lambda path: np.save(path, np.array([{}], dtype=object), allow_pickle=True),
        "train_clip.npy: not a readable .npy file (Object arrays cannot be loaded",
    ),
    "float64": (
        lambda path: np.save(path, vectors(8).astype(np.float64)),
        "train_clip.npy: found an array of f8, expected float32 (images, width); save it again with .astype('float32')",
    ),
    "swapped": (
        lambda path: np.save(path, vectors(8).astype(">f4")),
        "train_clip.npy: found an array of >f4, expected float32 (images, width)",
    ),
    "three axes": (
        lambda path: np.save(path, vectors(8)[:, None]),
        "train_clip.npy: found an array of shape (8, 1, 5), expected float32 (images, width)",
    ),
    "count": (
        lambda path: np.save(path, vectors(7)),
        "train_clip.npy: found vectors of 7 images, expected 8 as train_caps.txt has them, or 40 where each",
    ),
    "repeats": (
        changed(3.0, repeated=True),
        "train_clip.npy: found as many rows as captions (40) but rows 5 to 9 differ, expected every image 5 times",
    ),
    "NaN": (changed(np.nan), "train_clip.npy: image 6: place 2 holds nan, expected finite numbers"),
    "infinity": (changed(np.inf), "train_clip.npy: image 6: place 2 holds inf, expected finite numbers"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_files_are_one_line(name: str, tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    damage, expected = DAMAGES[name]
    damage(folder / "train_clip.npy")
    with pytest.raises(UserError) as caught:
        stored(folder)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_archive_is_refused(tmp_path: Path) -> None:
    path = folder_of(tmp_path) / "train_clip.npy"
    with path.open("wb") as handle:
        np.savez(handle, vectors(8))
    with pytest.raises(UserError, match=r"train_clip.npy: found an archive of arrays, expected float32"):
        stored(path.parent)


def test_files_lie_beside_scans_features_alone() -> None:
    with pytest.raises(
        UserError, match=r"field 'data.guides.source': found 'file'.*valid here: clip, random"
    ):
        load_dataset("scenes", {"n_test": 3}, splits=["test"], regions=GRID, guides=FILE)


# -------------------------------------------------------------------------------------- projections


def test_projections_are_as_recorded() -> None:
    """Recorded once: another version of a library must not change them, or `identity` must."""
    split = scenes(2)
    found = RandomProjection().vectors([split.images[row] for row in range(2)])
    assert found.shape == (2, DIM)
    assert found.dtype == np.float32
    assert RandomProjection.identity == "random-projection-1 16 x 16 to 512"
    np.testing.assert_array_equal(found[:, [0, 1, 2, 511]], np.array(RECORDED, np.float32))
    np.testing.assert_array_equal(found.astype(np.float16).astype(np.float32), found)


RECORDED = [
    [-0.66748046875, 0.134521484375, -0.154541015625, -0.56787109375],
    [-0.12432861328125, 0.2276611328125, -0.28759765625, -0.134033203125],
]


def test_a_projection_is_linear_in_mean_colours_and_the_same_for_any_batch() -> None:
    split = scenes(4)
    pictures = [split.images[row] for row in range(4)]
    whole = RandomProjection().vectors(pictures)
    alone = np.concatenate([RandomProjection().vectors([picture]) for picture in pictures])
    np.testing.assert_array_equal(whole, alone)
    matrix = RandomProjection()._matrix
    for picture, vector in zip(pictures, whole, strict=True):
        pixels = np.asarray(picture, dtype=np.float64)
        colours = [
            pixels[4 * row : 4 * row + 4, 4 * column : 4 * column + 4, colour].mean() / 127.5 - 1
            for row in range(16)
            for column in range(16)
            for colour in range(3)
        ]
        np.testing.assert_allclose(vector, matrix @ np.array(colours), atol=2e-3)  # float16


def test_runs_on_projections_say_so(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    options = {"n_train": 6, "n_val": 2, "n_test": 3}
    guided = load_dataset("scenes", options, regions=GRID, guides=RANDOM, store=store, show_progress=False)
    plain = load_dataset("scenes", options, regions=GRID, store=store, show_progress=False)
    assert guided.departures == [
        *plain.departures,
        "proxy guides: a fixed random projection of 16 x 16 colours in place of CLIP's image vectors",
    ]
    assert guided.fingerprints != plain.fingerprints
    # regions are shared: they do not depend on the guides, nor these on them
    assert len(list(tmp_path.iterdir())) == 6
    test = guided.splits["test"]
    assert test.guides is not None
    expected = RandomProjection().vectors([test.images[row] for row in range(3)])
    np.testing.assert_array_equal(test.guides.vectors, expected)


# -------------------------------------------------------------------------------------------- cache


class Counting(RandomProjection):
    """Counts the pictures."""

    def __init__(self) -> None:
        self.pictures = 0

    def vectors(self, pictures: Sequence[Image.Image]) -> np.ndarray[Any, Any]:
        self.pictures += len(pictures)
        return super().vectors(pictures)


def test_vectors_are_kept_by_split_and_extractor(tmp_path: Path) -> None:
    store, counting = FeatureStore(tmp_path), Counting()
    first = computed_guides(scenes(), counting, store, show_progress=False)
    again = computed_guides(scenes(), counting, store, show_progress=False)
    assert counting.pictures == 5
    np.testing.assert_array_equal(again.vectors, first.vectors)
    assert again.identity() == first.identity()
    computed_guides(scenes(6), counting, store, show_progress=False)
    assert counting.pictures == 11
    other = Counting()
    other.identity = "another"
    assert computed_guides(scenes(), other, store, show_progress=False).identity() != first.identity()
    assert other.pictures == 5


def test_a_damaged_chunk_is_computed_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, counting = FeatureStore(tmp_path), Counting()
    first = computed_guides(scenes(), counting, store, show_progress=False)
    (chunk,) = tmp_path.rglob("chunk-*.npy")
    content = bytearray(chunk.read_bytes())
    content[-3] ^= 0xFF
    chunk.write_bytes(content)
    again = computed_guides(scenes(), counting, store, show_progress=False)
    assert counting.pictures == 10
    np.testing.assert_array_equal(again.vectors, first.vectors)
    assert "is damaged; computing it again" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------- batches


SPEC = InputSpec(RegionInput(2, 3, guide_dim=5), TEXT)


@pytest.mark.parametrize("drop", [0.0, 0.5])
def test_batches_have_the_vectors_of_their_images(tmp_path: Path, drop: float) -> None:
    dataset = stored(folder_of(tmp_path))
    split, codec = dataset.splits["train"], make_codec(TEXT, dataset)
    spec = InputSpec(RegionInput(2, 3, drop, guide_dim=5), TEXT)
    seen = 0
    for batch in train_batches(split, spec, codec, seed=1, epoch=0, batch_size=6):
        assert batch.images.guides is not None
        np.testing.assert_array_equal(batch.images.guides.numpy(), vectors(8)[batch.images.index.numpy()])
        assert batch.to(CPU).images.guides is not None
        part = batch.images.first(2)
        assert part.guides is not None
        assert torch.equal(part.guides, batch.images.guides[:2])
        seen += len(batch)
    assert seen == 40
    found = [batch.guides for batch in image_batches(split, spec, batch_size=3)]
    np.testing.assert_array_equal(torch.cat([part for part in found if part is not None]), vectors(8))


def test_a_split_has_what_the_model_reads(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    guided = stored(folder).splits["train"]
    bare = load_dataset(
        "flickr30k", splits=["train"], data_dir=folder, regions=SCAN, unverified=True, show_progress=False
    ).splits["train"]
    check_input(guided, SPEC)
    check_input(bare, InputSpec(RegionInput(2, 3), TEXT))
    for split, spec, message in (
        (bare, SPEC, "field 'data.guides' is missing: the model reads a vector of 5 of each image"),
        (
            guided,
            InputSpec(RegionInput(2, 3), TEXT),
            "found vectors of train_clip.npy, the model reads no such vectors",
        ),
        (
            guided,
            InputSpec(RegionInput(2, 3, guide_dim=512), TEXT),
            "has vectors of width 5 (vectors of train_clip.npy), the model reads 512",
        ),
    ):
        with pytest.raises(UserError) as caught:
            check_input(split, spec)
        assert message in str(caught.value)
    pixels = PixelInput(8, "plain", "resize", 8)
    with_guides = Split(
        "train",
        guided.image_ids,
        guided.filenames,
        guided.captions,
        guided.caption_ids,
        guided.caption_image,
        guided.images,
        guides=guided.guides,
    )
    with pytest.raises(UserError, match="the model reads no such vectors; leave the field out"):
        check_input(with_guides, InputSpec(pixels, TEXT))
