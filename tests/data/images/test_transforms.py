"""The published transforms (hat.md 6): against torchvision, against a naive computation, and as recorded."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from benchmark.batches import move
from benchmark.data.images.transforms import (
    as_pixels,
    crop_box,
    evaluation_image,
    normalise,
    seeded,
    training_image,
)
from benchmark.inputs import PixelInput, WholePixelInput
from tests.pretend_cuda import GPU, pretended_gpu

PUBLISHED = PixelInput(224, "random_resized_crop_flip", "resize_center_crop", 256)
SIZES = [(500, 375), (375, 500), (224, 224), (256, 256), (333, 257), (41, 97), (640, 200), (60, 600), (2, 90)]


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """Blocks and noise: edges and fine detail, so that a wrong filter or a shift by a pixel shows."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (height // 16 + 1, width // 16 + 1, 3), dtype=np.uint8)
    blocks = np.kron(small, np.ones((16, 16, 1), dtype=np.uint8))[:height, :width]
    noise = rng.integers(-40, 41, (height, width, 3))
    return Image.fromarray(np.clip(blocks + noise, 0, 255).astype(np.uint8))


def array(image: Image.Image) -> np.ndarray:
    return np.asarray(image)


@pytest.mark.parametrize("size", SIZES)
def test_evaluation_is_torchvisions(size: tuple[int, int]) -> None:
    image = picture(*size)
    theirs = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224)])(image)
    ours = evaluation_image(image, PUBLISHED)
    assert ours.size == (224, 224)
    assert np.array_equal(array(ours), array(theirs))


@pytest.mark.parametrize("size", SIZES)
def test_evaluation_is_as_documented(size: tuple[int, int]) -> None:
    """Shorter side to 256, the other rounded down; the middle 224 rows and columns."""
    image = picture(*size)
    width, height = size
    scaled = (256, 256 * height // width) if width <= height else (256 * width // height, 256)
    whole = array(image.resize(scaled, Image.Resampling.BILINEAR))
    top, left = (round((edge - 224) / 2) for edge in whole.shape[:2])
    assert np.array_equal(
        array(evaluation_image(image, PUBLISHED)), whole[top : top + 224, left : left + 224]
    )


def test_pictures_of_the_right_size_are_not_scaled() -> None:
    image = picture(256, 300)
    assert np.array_equal(array(evaluation_image(image, PUBLISHED)), array(image)[38:262, 16:240])
    straight = PixelInput(32, "plain", "resize", 32)
    image = picture(32, 32)
    for found in (evaluation_image(image, straight), training_image(image, straight, (1, 2))):
        assert np.array_equal(array(found), array(image))
    image = picture(80, 40)
    expected = array(image.resize((32, 32), Image.Resampling.BILINEAR))
    assert np.array_equal(array(evaluation_image(image, straight)), expected)


@pytest.mark.parametrize("size", SIZES)
def test_training_is_torchvisions_with_the_same_seed(size: tuple[int, int]) -> None:
    image = picture(*size)
    steps = transforms.Compose([transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip()])
    for sample in range(12):
        key = (7, 1, 2, sample)
        with torch.random.fork_rng():
            torch.manual_seed(seeded(key).initial_seed())
            theirs = steps(image)
        assert np.array_equal(array(training_image(image, PUBLISHED, key)), array(theirs))


def naive_training_image(image: Image.Image, size: int, key: tuple[int, ...]) -> np.ndarray:
    """Crop by slicing, Pillow's bilinear filter on the crop alone, flip by turning the columns round."""
    generator = seeded(key)
    width, height = image.size
    left, top, right, bottom = 0, 0, width, height
    for _ in range(10):
        area = width * height * float(torch.empty(1).uniform_(0.08, 1.0, generator=generator))
        low, high = (float(torch.log(torch.tensor(ratio))) for ratio in (3 / 4, 4 / 3))
        ratio = float(torch.exp(torch.empty(1).uniform_(low, high, generator=generator)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if w <= width and h <= height:
            top = int(torch.randint(height - h + 1, (1,), generator=generator))
            left = int(torch.randint(width - w + 1, (1,), generator=generator))
            right, bottom = left + w, top + h
            break
    crop = Image.fromarray(array(image)[top:bottom, left:right])
    pixels = array(crop.resize((size, size), Image.Resampling.BILINEAR))
    return pixels[:, ::-1] if float(torch.rand(1, generator=generator)) < 0.5 else pixels


def test_training_is_as_documented() -> None:
    image = picture(500, 375)
    for sample in range(20):
        key = (1, 0, 2, sample)
        expected = naive_training_image(image, 224, key)
        assert np.array_equal(array(training_image(image, PUBLISHED, key)), expected)


def test_crops_are_spread_as_published() -> None:
    """Area 8 to 100 %, ratio 3/4 to 4/3 and its logarithm even, any place, half of them flipped."""
    boxes = np.array([crop_box(1000, 1000, seeded((0, sample))) for sample in range(3000)], dtype=float)
    widths, heights = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    area, ratio = widths * heights / 1e6, np.log(widths / heights) / np.log(4 / 3)
    assert area.min() == pytest.approx(0.08, abs=0.005)
    assert area.max() == pytest.approx(1, abs=0.04)
    assert np.mean(area) == pytest.approx(0.5, abs=0.03)  # below 0.54: large long crops do not fit
    assert abs(ratio).max() == pytest.approx(1, abs=0.01)
    assert np.mean(ratio) == pytest.approx(0, abs=0.04)
    assert np.mean(ratio**2) == pytest.approx(0.33, abs=0.05)
    assert boxes.min() == 0
    assert boxes.max() == 1000
    places = (boxes[:, 0] / np.maximum(1000 - widths, 1))[widths < 900]
    assert np.mean(places) == pytest.approx(0.5, abs=0.03)
    half = Image.fromarray(np.repeat([[[0], [255]]], 64, axis=0).repeat(3, axis=2).astype(np.uint8))
    spec = replace(PUBLISHED, size=2)
    wide = half.resize((64, 64), Image.Resampling.BOX)  # black on the left, white on the right
    found = [array(training_image(wide, spec, (1, sample)))[0, :, 0].astype(int) for sample in range(2000)]
    flips = [left > right for left, right in found if left != right]
    assert len(flips) > 1000
    assert np.mean(flips) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("size", "box"),
    [((10, 1000), (0, 493, 10, 506)), ((1000, 10), (493, 0, 506, 10)), ((1, 1), (0, 0, 1, 1))],
)
def test_where_no_crop_fits_the_middle_is_taken(size: tuple[int, int], box: tuple[int, ...]) -> None:
    found = {crop_box(*size, seeded((sample,))) for sample in range(30)}
    assert box in found
    assert all(right <= size[0] and bottom <= size[1] for _, _, right, bottom in found)


RECORDED = {
    (1, 0, 2, 0): (165, 11, 396, 318),
    (1, 0, 2, 1): (22, 2, 411, 329),
    (1, 5, 2, 0): (192, 48, 435, 355),
    (3, 29, 2, 144999): (7, 30, 427, 366),
    (2147483648, 0, 2, 7): (224, 10, 488, 303),
}


def test_crops_stay_as_recorded() -> None:
    """Another version of torch must not draw other crops from the same seed."""
    for key, box in RECORDED.items():
        assert crop_box(500, 375, seeded(key)) == box


def test_a_key_decides_and_nothing_else() -> None:
    image = picture(120, 90)
    before = torch.get_rng_state()
    first = array(training_image(image, PUBLISHED, (1, 2, 3)))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(5)
    np.random.seed(5)
    assert np.array_equal(array(training_image(image, PUBLISHED, (1, 2, 3))), first)
    for key in ((1, 2, 4), (1, 3, 3), (2, 2, 3)):
        assert not np.array_equal(array(training_image(image, PUBLISHED, key)), first)


def test_pixels_have_their_channels_first() -> None:
    images = [picture(7, 7, seed) for seed in range(3)]
    pixels = as_pixels(images, 7)
    assert pixels.dtype == torch.uint8
    for b, c, y, x in np.ndindex(3, 3, 7, 7):
        assert int(pixels[b, c, y, x]) == images[b].getpixel((x, y))[c]  # type: ignore[index]


def test_normalise() -> None:
    spec = PixelInput(2, "plain", "resize", 2, mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 2.0))
    pixels = torch.arange(24, dtype=torch.uint8).reshape(2, 3, 2, 2) * 10
    kept = pixels.clone()
    found = normalise(pixels, spec)
    for b, c, y, x in np.ndindex(2, 3, 2, 2):
        wanted = (int(pixels[b, c, y, x]) / 255 - spec.mean[c]) / spec.std[c]
        assert float(found[b, c, y, x]) == pytest.approx(wanted, abs=1e-6)
    assert torch.equal(pixels, kept)


def test_normalised_values_are_torchvisions_to_the_bit() -> None:
    images = [picture(40, 40, seed) for seed in range(2)]
    steps = transforms.Compose([transforms.ToTensor(), transforms.Normalize(PUBLISHED.mean, PUBLISHED.std)])
    expected = torch.stack([steps(image) for image in images])
    assert torch.equal(normalise(as_pixels(images, 40), PUBLISHED), expected)


@pytest.mark.parametrize(
    "spec",
    [
        PUBLISHED,
        WholePixelInput(16, "plain", 16, mean=(128.0, 115.5, 104.0), std=(1.0, 1.0, 1.0)),
        WholePixelInput(
            16, "plain", 16, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), divisor=255.0
        ),
    ],
)
def test_each_step_of_normalising_is_rounded_by_itself(spec: PixelInput | WholePixelInput) -> None:
    """All values that a pixel can have, in float32 step by step: what a GPU that divides has to give, too."""
    pixels = torch.arange(256, dtype=torch.uint8).repeat(1, 3, 1).view(1, 3, 16, 16)
    found = normalise(pixels, spec)
    whole = np.arange(256, dtype=np.float32).reshape(16, 16)
    for channel, (mean, std) in enumerate(zip(spec.mean, spec.std, strict=True)):
        scaled = (whole / np.float32(spec.divisor)).astype(np.float32)
        centred = (scaled - np.float32(mean)).astype(np.float32)
        wanted = (centred / np.float32(std)).astype(np.float32)
        assert np.array_equal(found[0, channel].numpy(), wanted)
    reciprocal = whole * (np.float32(1) / np.float32(255))
    assert not np.array_equal(reciprocal, whole / np.float32(255)), "a GPU's way with a plain number"


def test_pixels_are_normalised_where_they_lie() -> None:
    pixels = as_pixels([picture(24, 24, seed) for seed in range(2)], 24)
    expected = normalise(pixels, PUBLISHED)
    with pretended_gpu() as gpu:
        found = normalise(move(pixels, GPU), PUBLISHED)
        assert found.device == GPU
        assert sum(gpu.waits.values()) == 0
        assert torch.equal(found.cpu(), expected)
