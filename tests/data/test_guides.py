"""Vectors of whole images: files beside SCAN's features, CLIP and projections of pictures, the cache, batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision.transforms import v2
from transformers import CLIPConfig, CLIPModel

from benchmark.baseline import InputSpec, PixelInput, RegionInput, TextInput
from benchmark.data import Dataset, image_batches, load, load_dataset, make_codec, train_batches
from benchmark.data.guides import clip
from benchmark.data.guides.clip import CLIPVectors, prepared
from benchmark.data.guides.projection import DIM, RandomProjection
from benchmark.data.guides.sources import computed_guides, rows_among
from benchmark.data.inputs import check_input
from benchmark.data.regions import FeatureStore
from benchmark.data.remote import SourceRefusedError
from benchmark.data.splits import Split, SplitName
from benchmark.errors import UserError
from benchmark.recipe import CLIPGuides, FileGuides, GridRegions, RandomGuides, StoredRegions
from tests.data.region_files import features, scan_part

SCAN, GRID = StoredRegions(source="scan"), GridRegions(source="grid")
FILE, RANDOM = FileGuides(source="file"), RandomGuides(source="random")
TEXT = TextInput("wordpiece", None, "letters")
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
    # regions are shared: they don't depend on the guides, nor these on them
    assert len(list(tmp_path.iterdir())) == 6
    test = guided.splits["test"]
    assert test.guides is not None
    expected = RandomProjection().vectors([test.images[row] for row in range(3)])
    np.testing.assert_array_equal(test.guides.vectors, expected)


# ---------------------------------------------------------------------------------------------- CLIP


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a whole CLIP, tiny, its weights random, in place of the Hub's."""
    torch.manual_seed(5)
    small = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config={**small, "vocab_size": 20},
        vision_config={**small, "image_size": 32, "patch_size": 8},
        projection_dim=12,
    )
    folder = tmp_path / "clip"
    CLIPModel(config).save_pretrained(folder)

    def fetch(_repository: str, name: str, _revision: str) -> Path:
        if not (folder / name).is_file():
            raise SourceRefusedError(f"no {name}")
        return folder / name

    monkeypatch.setattr(clip, "fetch_file", fetch)
    monkeypatch.setattr(clip, "try_to_load_from_cache", lambda *_, **__: None)
    return folder


def photos() -> list[Image.Image]:
    draws = np.random.default_rng(0)
    sizes = [(40, 60), (61, 47), (32, 32), (33, 90)]
    return [Image.fromarray(draws.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in sizes]


def test_pictures_are_prepared_as_clips_own_code_does() -> None:
    theirs = v2.Compose(
        [
            v2.Resize(32, interpolation=v2.InterpolationMode.BICUBIC),
            v2.CenterCrop(32),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(clip.MEAN, clip.DEVIATION),
        ]
    )
    for photo in photos():
        torch.testing.assert_close(prepared(photo, 32), theirs(photo), atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", ["model.safetensors", "pytorch_model.bin"])
def test_vectors_are_those_of_the_whole_clip(weights: Path, kind: str) -> None:
    whole = CLIPModel.from_pretrained(weights).eval()
    if kind == "pytorch_model.bin":  # what the Hub has of ViT-B/32
        (weights / "model.safetensors").unlink()
        places = {
            f"{part}_model.embeddings.position_ids": torch.arange(9)[None] for part in ("text", "vision")
        }
        torch.save({**whole.state_dict(), **places}, weights / kind)  # old files hold those, too
    extractor = CLIPVectors(TINY, "main", CPU)
    assert extractor.weights.name == kind
    found = extractor.vectors(photos())
    pixels = torch.stack([prepared(photo, 32) for photo in photos()])
    with torch.no_grad():
        pooled = whole.vision_model(pixel_values=pixels).pooler_output
        expected = whole.visual_projection(pooled)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-6)
    assert not np.allclose(np.linalg.norm(found, axis=1), 1)  # as they are, not normalised
    assert extractor.identity.startswith("clip-1 someone/tiny-clip at 32 (")


def test_other_weights_are_another_identity(weights: Path) -> None:
    before = CLIPVectors(TINY, "main", CPU).identity
    changed = CLIPModel.from_pretrained(weights)
    with torch.no_grad():
        changed.visual_projection.weight.add_(1)
    changed.save_pretrained(weights)
    assert CLIPVectors(TINY, "main", CPU).identity != before


def test_weights_that_cannot_serve(weights: Path) -> None:
    state = dict(CLIPModel.from_pretrained(weights).state_dict())
    projection = state.pop("visual_projection.weight")
    save_file(state, weights / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"no whole CLIP: it lacks visual_projection.weight"):
        CLIPVectors(TINY, "main", CPU).vectors(photos())
    save_file(
        {**state, "visual_projection.weight": projection[:, :3].contiguous()},
        weights / "model.safetensors",
        metadata={"format": "pt"},
    )
    with pytest.raises(UserError, match=r"model.safetensors of someone/tiny-clip cannot be read as a CLIP"):
        CLIPVectors(TINY, "main", CPU).vectors(photos())
    (weights / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"found neither model.safetensors nor pytorch_model.bin"):
        CLIPVectors(TINY, "main", CPU)


def test_offline_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError) as caught:
        load_dataset(
            "scenes",
            {"n_test": 3},
            splits=["test"],
            regions=GRID,
            guides=CLIPGuides(source="clip"),
            store=FeatureStore(tmp_path / "store"),
            show_progress=False,
        )
    said = str(caught.value)
    assert said.startswith(
        "config.json of openai/clip-vit-base-patch32 is not in the Hugging Face cache and "
    )
    assert "\n" not in said


# ------------------------------------------------------------------------------------- cache, joining


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


def pictures_named(names: list[str]) -> Split:
    split = scenes(len(names))
    return Split("test", names, names, split.captions, split.caption_ids, split.caption_image, split.images)


def test_stored_regions_are_guided_by_the_hubs_pictures(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SCAN's images in another order than the pictures, and fewer of them, found by the number in the name."""
    folder = tmp_path / "precomp"
    scan_part(folder, "test", 3, array=features(range(3), 2, 3) / 1e4, ids=[44, 42, 46])
    names = [f"val2014/COCO_val2014_0000000000{number}.jpg" for number in (42, 43, 44, 45, 46)]
    published = Dataset("mscoco", "somewhere@1", "Hub", "licence", {"test": pictures_named(names)})
    monkeypatch.setattr(load, "_published", lambda *_, **__: published)
    dataset = load_dataset(
        "mscoco",
        splits=["test"],
        data_dir=folder,
        regions=SCAN,
        guides=CLIPGuides(source="clip", model=TINY),
        store=FeatureStore(tmp_path / "store"),
        unverified=True,
        show_progress=False,
    )
    split = dataset.splits["test"]
    assert split.guides is not None
    images = published.splits["test"].images
    expected = CLIPVectors(TINY, "main", CPU).vectors([images[row] for row in (2, 0, 4)])
    np.testing.assert_allclose(split.guides.vectors, expected, atol=1e-6)
    assert split.guides.description == "image vectors of someone/tiny-clip"
    assert "pictures for the guides: somewhere@1" in dataset.notes
    assert not any("guides" in reason for reason in dataset.departures)
    assert weights.is_dir()


def test_images_without_a_picture_are_counted() -> None:
    with pytest.raises(UserError, match=r"split 'test': 2 of 3 images have no picture.*the first is b.jpg"):
        rows_among(pictures_named(["a.jpg", "x.jpg"]), pictures_named(["a.jpg", "b.jpg", "c.jpg"]))


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
