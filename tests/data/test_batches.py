"""Batches: an order and crops that depend on the seed alone, in this process or in others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, dataloader

from benchmark.batches import PairBatch, move
from benchmark.data import batches as loading
from benchmark.data.batches import caption_batches, image_batches, train_batches
from benchmark.data.images.decoding import BrokenPictureError
from benchmark.data.images.transforms import as_pixels, evaluation_image, normalise
from benchmark.data.load import load_dataset, make_codec
from benchmark.data.splits import Dataset, Images
from benchmark.errors import UserError
from benchmark.inputs import (
    Codec,
    ImageTransform,
    InputSpec,
    OwnPixelInput,
    PixelInput,
    RegionInput,
    WordPieceText,
)
from tests.pretend_cuda import GPU, pretended_gpu

PLAIN = InputSpec(PixelInput(64, "plain", "resize", 64), WordPieceText(20))
CROPPED = InputSpec(PixelInput(48, "random_resized_crop_flip", "resize_center_crop", 56), WordPieceText(20))


class Noisy(ImageTransform):
    """Mean colours, with noise in training; a column of means where the picture is evaluated."""

    identity = "mean colours"

    def train(self, picture: Image.Image) -> torch.Tensor:
        return torch.from_numpy(np.asarray(picture).mean((0, 1), dtype=np.float32)) + torch.rand(3)

    def evaluate(self, picture: Image.Image) -> torch.Tensor:
        colours = np.asarray(picture).mean(1, dtype=np.float32)  # (H, 3)
        return torch.from_numpy(colours[: 1 + int(colours[0, 0]) % 2])  # one row or two


OWN = replace(PLAIN, image=OwnPixelInput(Noisy, (3,)))


@pytest.fixture(scope="module")
def data() -> Dataset:
    return load_dataset("scenes", {"n_train": 14, "n_val": 6, "n_test": 9})


@pytest.fixture(scope="module")
def codec(data: Dataset) -> Codec:
    return make_codec(PLAIN.text, data)


def batches(data: Dataset, codec: Codec, spec: InputSpec, **other: int) -> list[PairBatch]:
    settings: dict[str, Any] = {"seed": 3, "epoch": 1, "batch_size": 16, "workers": 0, **other}
    return list(train_batches(data.splits["train"], spec, codec, **settings))


def by_sample(found: list[PairBatch]) -> dict[int, torch.Tensor]:
    """Pixels by caption row."""
    return {
        int(row): pixels
        for batch in found
        for row, pixels in zip(batch.captions.index, batch.images.pixels, strict=True)
    }


def assert_same(left: list[PairBatch], right: list[PairBatch]) -> None:
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        assert torch.equal(a.images.pixels, b.images.pixels)
        assert torch.equal(a.images.index, b.images.index)
        assert torch.equal(a.captions.ids, b.captions.ids)
        assert torch.equal(a.captions.index, b.captions.index)


@pytest.mark.parametrize("spec", [PLAIN, CROPPED], ids=["plain", "cropped"])
def test_pairs_match_and_come_once(data: Dataset, codec: Codec, spec: InputSpec) -> None:
    split, found = data.splits["train"], batches(data, codec, spec)
    assert [len(batch) for batch in found] == [16, 16, 16, 16, 6]
    assert len(train_batches(split, spec, codec, seed=3, epoch=1, batch_size=16)) == 5
    rows = [int(row) for batch in found for row in batch.captions.index]
    assert sorted(rows) == list(range(70))
    assert rows != sorted(rows)
    size = spec.image.size  # type: ignore[union-attr]
    for batch in found:
        assert batch.images.pixels.shape == (len(batch), 3, size, size)
        assert batch.images.pixels.dtype == torch.float32
        assert batch.images.index.tolist() == [split.caption_image[row] for row in batch.captions.index]
        ids, lengths = codec.encode([split.captions[row] for row in batch.captions.index])
        assert torch.equal(batch.captions.ids, ids)
        assert torch.equal(batch.captions.lengths, lengths)


@pytest.mark.parametrize("spec", [PLAIN, CROPPED, OWN], ids=["plain", "cropped", "own"])
def test_workers_never_change_results(data: Dataset, codec: Codec, spec: InputSpec) -> None:
    before = torch.get_rng_state()
    alone = batches(data, codec, spec)
    loading._tables.clear()
    assert_same(alone, batches(data, codec, spec, workers=2))
    assert torch.equal(torch.get_rng_state(), before)  # dropout must not depend on the loader either


@pytest.mark.parametrize("spec", [CROPPED, OWN], ids=["cropped", "own"])
def test_repeating_an_epoch_repeats_it_and_seed_and_epoch_matter(
    data: Dataset, codec: Codec, spec: InputSpec
) -> None:
    base = batches(data, codec, spec)
    torch.manual_seed(99)
    np.random.seed(99)
    assert_same(base, batches(data, codec, spec))
    for other in ({"seed": 4}, {"epoch": 2}):
        changed = batches(data, codec, spec, **other)
        assert not torch.equal(base[0].captions.index, changed[0].captions.index)
        ours, theirs = by_sample(base), by_sample(changed)
        assert sum(torch.equal(ours[row], theirs[row]) for row in ours) == 0


@pytest.mark.parametrize("spec", [CROPPED, OWN], ids=["cropped", "own"])
def test_a_crop_depends_on_the_sample_not_on_its_neighbours(
    data: Dataset, codec: Codec, spec: InputSpec
) -> None:
    ours, theirs = (by_sample(batches(data, codec, spec, batch_size=size)) for size in (16, 7))
    assert all(torch.equal(ours[row], theirs[row]) for row in range(70))
    assert not torch.equal(ours[0], ours[1])  # two captions of an image get crops of their own


def test_last_batch_can_be_dropped(data: Dataset, codec: Codec) -> None:
    found = batches(data, codec, replace(PLAIN, last_batch="drop"))
    assert [len(batch) for batch in found] == [16] * 4
    assert_same(found, batches(data, codec, PLAIN)[:4])


def test_images_as_unit_take_one_of_their_captions(data: Dataset, codec: Codec) -> None:
    spec = replace(PLAIN, unit="image")
    split = data.splits["train"]
    chosen: dict[int, set[int]] = {}
    for epoch in range(12):
        found = batches(data, codec, spec, epoch=epoch, batch_size=4)
        rows = [int(row) for batch in found for row in batch.captions.index]
        images = [int(row) for batch in found for row in batch.images.index]
        assert sorted(images) == list(range(14))
        assert images == [split.caption_image[row] for row in rows]
        for image, row in zip(images, rows, strict=True):
            chosen.setdefault(image, set()).add(row - 5 * image)
        assert_same(found, batches(data, codec, spec, epoch=epoch, batch_size=4))
    assert all(len(captions) >= 3 for captions in chosen.values())
    assert set().union(*chosen.values()) == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("spec", [PLAIN, CROPPED], ids=["plain", "cropped"])
def test_images_in_order_decoded_or_kept(
    data: Dataset, spec: InputSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    split, wanted = data.splits["test"], spec.image
    assert isinstance(wanted, PixelInput)
    pictures = [evaluation_image(split.images[row], wanted) for row in range(len(split))]
    expected = normalise(as_pixels(pictures, wanted.size), wanted)
    monkeypatch.setattr(loading, "_tables", WeakKeyDictionary())
    for limit, tables in ((0, 0), (2**30, 1), (2**30, 1)):
        monkeypatch.setattr(loading, "TABLE_BYTES", limit)
        found = list(image_batches(split, spec, batch_size=4, workers=1))
        assert [batch.index.tolist() for batch in found] == [[0, 1, 2, 3], [4, 5, 6, 7], [8]]
        assert torch.equal(torch.cat([batch.pixels for batch in found]), expected)
        assert len(loading._tables.get(split, {})) == tables


def test_a_transform_of_the_methods_own_evaluates_each_picture_once(data: Dataset) -> None:
    split, transform = data.splits["test"], Noisy()
    found = list(image_batches(split, OWN, batch_size=2, workers=1))
    assert sorted(int(row) for batch in found for row in batch.index) == list(range(len(split)))
    assert {batch.pixels.shape[1:] for batch in found} == {(1, 3), (2, 3)}
    for batch in found:
        for row, pixels in zip(batch.index.tolist(), batch.pixels, strict=True):
            assert torch.equal(pixels, transform.evaluate(split.images[row]))


def test_kept_pixels_are_limited_in_all(data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    size = 3 * 64 * 64
    monkeypatch.setattr(loading, "_tables", WeakKeyDictionary())
    monkeypatch.setattr(loading, "TABLE_BYTES", size * (6 + 9))
    for name, kept in (("val", True), ("train", False), ("test", True), ("val", True)):
        split = data.splits[name]  # type: ignore[index]
        assert len(list(image_batches(split, PLAIN, batch_size=100))) == 1
        assert bool(loading._tables.get(split)) is kept


@dataclass(frozen=True)
class BrokenImages(Images):
    """Grey pictures; one raises a UserError, as a damaged file does."""

    broken: int

    def __len__(self) -> int:
        return 14

    def __getitem__(self, row: int) -> Image.Image:
        if row == self.broken:
            error = BrokenPictureError("image 7.jpg (row 7): cannot be decoded")
            error.reason = "damaged"
            raise error
        return Image.new("RGB", (70, 60), (row, row, row))

    def select(self, rows: Sequence[int]) -> BrokenImages:
        raise NotImplementedError

    def identity(self) -> bytes:
        return b"grey"


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("limit", [0, 2**30])
def test_a_broken_picture_is_one_line_from_any_process(
    data: Dataset, codec: Codec, workers: int, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "TABLE_BYTES", limit)
    split = replace(data.splits["train"], images=BrokenImages(7))
    for found in (
        train_batches(split, CROPPED, codec, seed=0, epoch=0, batch_size=4, workers=workers),
        train_batches(split, PLAIN, codec, seed=0, epoch=0, batch_size=4, workers=workers),
        image_batches(split, PLAIN, batch_size=4, workers=workers),
    ):
        with pytest.raises(BrokenPictureError) as caught:
            list(found)
        assert str(caught.value) == "image 7.jpg (row 7): cannot be decoded"
        assert caught.value.reason == "damaged"


def test_an_epoch_starts_each_loader_process_once(
    data: Dataset, codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where an epoch is trained and validated: pictures that stay the same are made in the first alone."""
    started = list[int]()
    real = dataloader._MultiProcessingDataLoaderIter.__init__

    def begin(self: object, loader: DataLoader[object]) -> None:
        started.append(loader.num_workers)
        real(self, loader)  # type: ignore[arg-type]

    monkeypatch.setattr(dataloader._MultiProcessingDataLoaderIter, "__init__", begin)
    monkeypatch.setattr(loading, "_tables", WeakKeyDictionary())
    for epoch in range(3):
        list(
            train_batches(data.splits["train"], CROPPED, codec, seed=0, epoch=epoch, batch_size=8, workers=1)
        )
        list(image_batches(data.splits["val"], CROPPED, batch_size=4, workers=1))
    assert started == [1, 1, 1, 1]


def test_pictures_go_to_a_gpu_as_whole_numbers(
    data: Dataset, codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = list[torch.dtype]()

    def watched(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
        moved.append(tensor.dtype)
        return move(tensor, device)

    alone = batches(data, codec, CROPPED)
    monkeypatch.setattr(loading, "move", watched)
    with pretended_gpu():
        split = data.splits["train"]
        found = list(train_batches(split, CROPPED, codec, seed=3, epoch=1, batch_size=16, device=GPU))
        assert {batch.images.pixels.device for batch in found} == {GPU}
        assert {batch.captions.ids.device for batch in found} == {torch.device("cpu")}
        pixels = [batch.to(GPU).images.pixels.cpu() for batch in found]
    assert set(moved) == {torch.uint8}
    assert all(torch.equal(one, other.images.pixels) for one, other in zip(pixels, alone, strict=True))


def test_a_fault_of_ours_keeps_its_traceback(data: Dataset) -> None:
    split = replace(data.splits["test"], images=[])  # type: ignore[arg-type]
    with pytest.raises(IndexError, match="Traceback"):
        list(image_batches(split, PLAIN, batch_size=4, workers=1))


@pytest.mark.slow
def test_loader_processes_may_start_from_nothing(
    data: Dataset, codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As they do where processes cannot be forked: all that a loader needs is pickled."""
    alone = batches(data, codec, CROPPED)
    monkeypatch.setattr(loading, "DataLoader", partial(DataLoader, multiprocessing_context="spawn"))
    assert_same(alone, batches(data, codec, CROPPED, workers=1))


def test_caption_batches_in_order(data: Dataset, codec: Codec) -> None:
    split = data.splits["test"]
    found = list(caption_batches(split, PLAIN, codec, batch_size=20))
    assert [batch.index.tolist() for batch in found] == [
        list(range(20)),
        list(range(20, 40)),
        list(range(40, 45)),
    ]
    ids, lengths = codec.encode(split.captions)
    assert torch.equal(torch.cat([batch.ids for batch in found]), ids)
    assert torch.equal(torch.cat([batch.lengths for batch in found]), lengths)


def test_a_model_of_regions_refuses_pictures(data: Dataset, codec: Codec) -> None:
    spec = replace(PLAIN, image=RegionInput(36, 2048))
    with pytest.raises(UserError, match="the model reads 36 x 2048 region features"):
        next(iter(train_batches(data.splits["train"], spec, codec, seed=0, epoch=0, batch_size=4)))
