"""Bicubic resizing by naive loops, large crops, whole pictures, and candidates that come with a batch."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from benchmark.data.batches import image_batches, train_batches
from benchmark.data.images.resizing import resize_bicubic, weights
from benchmark.data.images.transforms import scaled_box, scaled_crop, seeded, stored_image
from benchmark.data.load import load_dataset, make_codec
from benchmark.data.splits import Dataset
from benchmark.inputs import InputSpec, VectorText, WholePixelInput

SPEC = WholePixelInput(24, "scale_crop_flip", 32, mean=(1.0, 2.0, 3.0))
TEXT = VectorText(20, augment="position_shift", word_dim=2)


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def kernel(x: float) -> float:
    x = abs(x)
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


@pytest.mark.parametrize(("before", "after"), [(10, 4), (7, 7), (5, 13), (31, 9)])
def test_resizing_by_loops(before: int, after: int) -> None:
    stretch = min(1.0, after / before)
    table = weights(before, after)
    for place in range(after):
        centre = (place + 0.5) * before / after - 0.5
        row = [0.0] * before
        for k in range(-3 * before, 4 * before):
            mirrored = k % (2 * before)
            row[mirrored if mirrored < before else 2 * before - 1 - mirrored] += kernel(
                (centre - k) * stretch
            )
        np.testing.assert_allclose(table[place], np.array(row) / sum(row), atol=1e-6)


def test_inside_a_picture_it_is_pillow_s_but_for_rounding() -> None:
    picture = Image.fromarray(
        (np.asarray(noise(40, 30)) // 4 + 96).astype(np.uint8)
    )  # Pillow clips between passes
    ours = resize_bicubic(np.asarray(picture), 20, 24)
    theirs = np.asarray(picture.resize((24, 20), Image.Resampling.BICUBIC)).astype(float)
    assert np.abs(ours.clip(0, 255) - theirs)[4:-4, 4:-4].max() <= 1.01  # Pillow rounds twice
    assert resize_bicubic(np.asarray(noise(40, 30)), 50, 60).min() < 0  # ours is not clipped


def test_crops_are_large_and_of_any_ratio() -> None:
    boxes = [scaled_box(340, 256, seeded((0, k))) for k in range(400)]
    ratios, shares = [], []
    for left, top, right, bottom in boxes:
        assert 0 <= left < right <= 340
        assert 0 <= top < bottom <= 256
        w, h = right - left, bottom - top
        ratios.append(w / h)
        largest = min(340 / math.sqrt(w / h), 256 * math.sqrt(w / h))
        shares.append(w * h / largest**2)
    assert 0.74 < min(ratios) < 0.77
    assert 1.30 < max(ratios) < 1.35
    assert 0.62 < min(shares) < 0.66
    assert 0.98 < max(shares) < 1.02


def test_a_crop_depends_on_its_key_alone() -> None:
    picture = noise(50, 40)
    first, again = scaled_crop(picture, SPEC, (0, 1)), scaled_crop(picture, SPEC, (0, 1))
    assert first.shape == (3, 24, 24)
    assert first.dtype == torch.float32
    assert torch.equal(first, again)
    assert not torch.equal(first, scaled_crop(picture, SPEC, (0, 2)))


def test_half_of_the_crops_are_flipped_by_the_draw_after_their_box() -> None:
    picture, spec = noise(12, 10), replace(SPEC, size=6, resize_to=8)
    stored, draws = np.asarray(stored_image(picture, spec)), []
    for key in range(300):
        generator = seeded((7, key))
        left, top, right, bottom = scaled_box(stored.shape[1], stored.shape[0], generator)
        draws.append(float(torch.rand(1, generator=generator)))
        box = resize_bicubic(stored[top:bottom, left:right], 6, 6)
        expected = box[:, ::-1] if draws[-1] < 0.5 else box
        np.testing.assert_array_equal(
            scaled_crop(picture, spec, (7, key)).numpy(), expected.transpose(2, 0, 1)
        )
    assert max(draw for draw in draws if draw < 0.5) > 0.49  # draws on both sides, close to the middle
    assert min(draw for draw in draws if draw >= 0.5) < 0.51


def test_pictures_are_stored_at_their_shorter_side() -> None:
    assert stored_image(noise(50, 40), SPEC).size == (40, 32)
    assert stored_image(noise(40, 50), SPEC).size == (32, 40)
    plain, through = (stored_image(noise(50, 40), replace(SPEC, stored_quality=q)) for q in (None, 75))
    assert through.size == plain.size
    assert np.abs(np.asarray(plain).astype(int) - np.asarray(through)).max() > 5


class Shapes:
    """Pictures of several shapes, each of one value."""

    sizes = ((40, 32), (32, 40), (40, 32), (32, 32), (40, 32))

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, row: int) -> Image.Image:
        return Image.new("RGB", self.sizes[row], (row, row, row))


def dataset(train: int = 12) -> Dataset:
    return load_dataset("scenes", {"n_train": train, "n_val": 5, "n_test": 5})


def test_whole_pictures_come_in_batches_of_one_shape() -> None:
    split = replace(dataset().splits["val"], images=Shapes())  # type: ignore[arg-type]
    batches = list(image_batches(split, InputSpec(SPEC, TEXT), batch_size=2))
    assert sorted(row for batch in batches for row in batch.index.tolist()) == [0, 1, 2, 3, 4]
    for batch in batches:
        assert len(batch.index) <= 2
        for row, pixels in zip(batch.index.tolist(), batch.pixels, strict=True):
            assert pixels.shape[::-1][:2] == torch.Size(Shapes.sizes[row])
            assert pixels[:, 0, 0].tolist() == [row - 1, row - 2, row - 3]


@pytest.mark.parametrize("exclude", ["batch", "anchors"])
def test_candidates_are_captions_of_other_images(exclude: str) -> None:
    data = dataset()
    spec = InputSpec(replace(SPEC, train="plain"), TEXT, unit="image", candidates=40, exclude=exclude)  # type: ignore[arg-type]
    codec = make_codec(TEXT, data)
    ids, _ = codec.encode(data.splits["train"].captions)
    seen = set()
    for batch in train_batches(data.splits["train"], spec, codec, seed=0, epoch=1, batch_size=6):
        barred = batch.images.index if exclude == "batch" else batch.images.index[:3]
        images, rows = batch.extra["candidate_images"].tolist(), batch.extra["candidate_captions"].tolist()
        assert len(images) == 40
        assert set(images) == set(range(12)) - set(
            barred.tolist()
        )  # 40 draws of 6 or 9 images leave none out
        assert [int(data.splits["train"].caption_image[row]) for row in rows] == images
        for row, placed in zip(rows, batch.extra["candidates"], strict=True):
            assert placed.shape == (20,)
            assert placed[placed > 0].tolist() == ids[row][ids[row] > 0].tolist()
            seen.add(int((placed > 0).nonzero()[0]))
    assert len(seen) > 5  # they begin at many places


def test_batches_are_the_same_again_and_others_in_another_epoch() -> None:
    data = dataset()
    spec = InputSpec(SPEC, TEXT, unit="image", candidates=5)
    codec = make_codec(TEXT, data)

    def first(epoch: int) -> torch.Tensor:
        loader = train_batches(data.splits["train"], spec, codec, seed=0, epoch=epoch, batch_size=4)
        batch = next(iter(loader))
        return torch.cat(
            [batch.images.pixels.flatten(), batch.captions.ids.flatten(), batch.extra["candidates"].flatten()]
        )

    assert torch.equal(first(0), first(0))
    assert not torch.equal(first(0), first(1))
