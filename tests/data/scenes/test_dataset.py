"""`scenes`: reproducible to the byte, true in every word, and hard where it says so."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from benchmark.data.load import load_dataset
from benchmark.data.scenes.captions import vocabulary
from benchmark.data.scenes.dataset import CHANGES, Scene, SceneImages, ScenesOptions, scene_at, scenes_split
from benchmark.data.scenes.drawing import COLOURS, SHAPES, SIZES, TEXTURES, stamp_mask

FINGERPRINTS = {
    "train": "b23a4115f348eedc069399042549ae3e6f1375adab3111a190c2419755478f65",
    "val": "bd592ac6b194dc03bd21f1a0d01124f21c073cf0c202430991724fa1a7eb1d0f",
    "test": "a0e303002c987ffdf954cb31684cd5ce9956170df2748839b38efcb0b021d81e",
}
"""Of the default options. Change them only together with `scenes.VERSION`: every committed score depends on them."""

TEST = ScenesOptions(n_train=2, n_val=2, n_test=400)

OBJECT = re.compile(
    rf"\b(?:a|an|the) (?:({'|'.join(SIZES)}) ({'|'.join(TEXTURES)}) )?({'|'.join(COLOURS)}) ({'|'.join(SHAPES)})\b"
)
PLACE = re.compile(r"\b(?:at the (?:top|bottom)(?: left| right)?|on the (?:left|right)|in the middle)\b")
CELLS = {
    "at the top left": (0, 0),
    "at the top": (0, 1),
    "at the top right": (0, 2),
    "on the left": (1, 0),
    "in the middle": (1, 1),
    "on the right": (1, 2),
    "at the bottom left": (2, 0),
    "at the bottom": (2, 1),
    "at the bottom right": (2, 2),
}


def is_true(caption: str, scene: Scene) -> bool:
    """Read a caption with no knowledge of how it was written, and hold it against the scene."""
    found = []
    for size, texture, colour, shape in OBJECT.findall(caption):
        meant = [thing for thing in scene.things if (thing.colour, thing.shape) == (colour, shape)]
        if len(meant) != 1 or (size and (meant[0].size, meant[0].texture) != (size, texture)):
            return False
        found.append(meant[0])
    assert len(found) >= 2, f"no two objects in: {caption}"
    background = re.search(r"on a (light|dark) background", caption)
    if background and background[1] != scene.background:
        return False
    count = re.search(r"there are (two|three|four) shapes", caption)
    if count and {"two": 2, "three": 3, "four": 4}[count[1]] != len(scene.things):
        return False
    places = PLACE.findall(caption)
    assert len(places) in (0, 2), caption
    if any(divmod(thing.cell, 3) != CELLS[place] for thing, place in zip(found, places, strict=False)):
        return False
    relation = re.search(r"\b(above|over|below|under|left of|right of)\b", caption)
    if relation is None:
        return True
    down, right = np.subtract(divmod(found[0].cell, 3), divmod(found[1].cell, 3))
    holds = {
        "above": down < 0 and -down >= abs(right),
        "below": down > 0 and down >= abs(right),
        "left of": right < 0 and -right >= abs(down),
        "right of": right > 0 and right >= abs(down),
    }
    return bool(holds[{"over": "above", "under": "below"}.get(relation[1], relation[1])])


def test_default_dataset_is_the_pinned_one() -> None:
    assert load_dataset("scenes").fingerprints == FINGERPRINTS


def test_schema() -> None:
    split = load_dataset("scenes", {"n_test": 30}, splits=["test"]).splits["test"]
    assert len(split) == len(split.filenames) == len(split.images) == 30
    assert len(split.captions) == len(split.caption_ids) == len(split.caption_image) == 150
    assert split.caption_image.dtype == np.int64
    assert split.caption_image.tolist() == [row // 5 for row in range(150)]
    assert len(set(split.image_ids)) == 30
    assert len(set(split.caption_ids)) == 150
    assert split.rows_of_images()[3] == range(15, 20)
    picture = split.images[7]
    assert (picture.mode, picture.size) == ("RGB", (64, 64))


def test_ids_are_unique_over_all_splits() -> None:
    splits = load_dataset("scenes").splits.values()
    ids = [name for split in splits for name in (*split.image_ids, *split.filenames, *split.caption_ids)]
    assert len(ids) == len(set(ids))


def test_a_larger_split_begins_with_the_smaller() -> None:
    small, large = scenes_split(TEST, "test"), scenes_split(replace_options(n_test=500), "test")
    assert large.captions[: len(small.captions)] == small.captions
    assert large.first_images(400).fingerprint == small.fingerprint
    assert large.fingerprint != small.fingerprint


def replace_options(**values: float) -> ScenesOptions:
    return ScenesOptions.model_validate({**TEST.model_dump(), **values})


def test_seed_and_split_change_everything() -> None:
    base = [scene_at(TEST, "test", row) for row in range(50)]
    assert base == [scene_at(TEST, "test", row) for row in range(50)]
    assert (
        sum(a == b for a, b in zip(base, (scene_at(TEST, "val", row) for row in range(50)), strict=True)) == 0
    )
    other = replace_options(seed=1)
    assert (
        sum(a == b for a, b in zip(base, (scene_at(other, "test", row) for row in range(50)), strict=True))
        == 0
    )


@pytest.mark.parametrize("seed", [0, 7])
def test_every_caption_is_true(seed: int) -> None:
    options = replace_options(seed=seed)
    split = scenes_split(options, "test")
    for caption, row in zip(split.captions, split.caption_image, strict=True):
        assert is_true(caption, scene_at(options, "test", int(row))), (caption, row)


def test_the_reader_of_captions_can_say_no() -> None:
    split = scenes_split(TEST, "test")
    wrong = [
        is_true(caption, scene_at(TEST, "test", (int(row) + 2) % 400))
        for caption, row in zip(split.captions, split.caption_image, strict=True)
    ]
    assert np.mean(wrong) < 0.01


def hard_rows(options: ScenesOptions) -> list[int]:
    return [row for row in range(options.n_test) if scene_at(options, "test", row).change]


def test_hard_pairs_differ_in_one_attribute_or_one_swap() -> None:
    seen: Counter[str] = Counter()
    for row in hard_rows(TEST):
        scene, other = scene_at(TEST, "test", row), scene_at(TEST, "test", row - 1)
        assert scene.background == other.background
        changed = [
            field
            for a, b in zip(scene.things, other.things, strict=True)
            for field in ("shape", "colour", "size", "texture", "cell", "shift")
            if getattr(a, field) != getattr(b, field)
        ]
        change = scene.change or ""
        seen[change] += 1
        if change == "swap colours":
            assert changed == ["colour", "colour"]
            assert [t.colour for t in scene.things[:2]] == [t.colour for t in reversed(other.things[:2])]
        elif change == "swap places":
            assert changed == ["cell", "cell"]
            assert [t.cell for t in scene.things[:2]] == [t.cell for t in reversed(other.things[:2])]
        else:
            assert changed == [{"place": "cell"}.get(change, change)]
    assert set(seen) == set(CHANGES)
    assert seen["swap colours"] + seen["swap places"] > 0.3 * seen.total()


def test_hard_pairs_can_be_told_apart_by_picture_and_by_caption() -> None:
    split, images = scenes_split(TEST, "test"), SceneImages(TEST, "test", range(400))
    rows, captions = hard_rows(TEST), split.rows_of_images()
    both_fit = []
    for row in rows:
        assert np.abs(images.array(row).astype(int) - images.array(row - 1)).max() > 60
        for mine, theirs in ((row, row - 1), (row - 1, row)):
            false = [not is_true(split.captions[k], scene_at(TEST, "test", theirs)) for k in captions[mine]]
            assert any(false), f"no caption of image {mine} tells it from image {theirs}"
            both_fit.append(1 - np.mean(false))
    assert 0.2 < np.mean(both_fit) < 0.8  # so no model reaches 100, and a model that sees details still gains


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_hard_share(share: float) -> None:
    options = replace_options(n_test=2000, hard_share=share)
    assert 2 * len(hard_rows(options)) / 2000 == pytest.approx(share, abs=0.05)


def test_captions_are_short_and_use_the_vocabulary() -> None:
    split, words = scenes_split(TEST, "test"), set(vocabulary())
    lengths = [len(caption.split()) for caption in split.captions]
    assert min(lengths) >= 6
    assert max(lengths) <= 16
    used = {word for caption in split.captions for word in re.findall(r"\w+|,", caption)}
    assert used <= words
    assert len(used) > 50


def test_most_captions_are_of_one_image_only() -> None:
    split = scenes_split(TEST, "test")
    assert len(set(split.captions)) > 0.95 * len(split.captions)


def test_masks() -> None:
    for shape in SHAPES:
        mask = stamp_mask(shape, 10)
        assert mask.shape == (20, 20)
        assert mask.min() == 0
        assert mask.max() == 16
        assert (mask == mask[:, ::-1]).all(), shape  # all shapes are their own mirror image
    y, x = np.mgrid[-39.5:40, -39.5:40]
    samples = (x**2 + y**2 <= 40**2).reshape(20, 4, 20, 4).sum(axis=(1, 3))
    assert (stamp_mask("circle", 10) == samples).all()
    assert stamp_mask("ring", 10)[10, 10] == 0
    star = stamp_mask("star", 10)
    assert star[:2].sum() < star[9:11].sum()  # the point is up
    assert 0.25 < star.sum() / (16 * 400) < 0.45


@pytest.mark.parametrize("size", [32, 64, 100, 224])
def test_every_size_draws_within_the_picture(size: int) -> None:
    options = replace_options(image_size=size)
    for row in range(40):
        assert SceneImages(options, "test", range(400)).array(row).shape == (size, size, 3)


def test_colours_land_where_the_scene_says() -> None:
    options = replace_options(hard_share=0)
    checked = 0
    for row in range(60):
        pixels = SceneImages(options, "test", range(400)).array(row)
        for thing in scene_at(options, "test", row).things:
            if thing.texture == "plain" and thing.shape != "ring":
                y, x = (
                    11 + 21 * step + shift
                    for step, shift in zip(divmod(thing.cell, 3), thing.shift[::-1], strict=True)
                )
                assert tuple(pixels[y, x]) == COLOURS[thing.colour]
                checked += 1
    assert checked > 20


def test_first_captions_only() -> None:
    full = load_dataset("scenes", {"n_test": 20}, splits=["test"]).splits["test"]
    two = load_dataset("scenes", {"n_test": 20}, splits=["test"], captions_per_image=2).splits["test"]
    assert two.captions == [full.captions[5 * row + k] for row in range(20) for k in range(2)]
    assert two.caption_image.tolist() == [row // 2 for row in range(40)]


def test_first_validation_images_only() -> None:
    whole = load_dataset("scenes", splits=["val"]).splits["val"]
    part = load_dataset("scenes", splits=["val"], first_images={"val": 50}).splits["val"]
    assert part.image_ids == whole.image_ids[:50]
    assert part.captions == whole.captions[:250]
    assert len(part.images) == 50
    assert (np.asarray(part.images[49]) == np.asarray(whole.images[49])).all()


def test_fingerprint_sees_captions_ids_order_and_pixels() -> None:
    split = scenes_split(replace_options(n_test=4), "test")
    changes = [
        replace(split, captions=[*split.captions[:-1], "a lie"]),
        replace(split, image_ids=split.image_ids[::-1]),
        replace(split, caption_ids=split.caption_ids[::-1]),
        replace(split, caption_image=split.caption_image[::-1]),
        replace(split, images=SceneImages(replace_options(seed=1), "test", range(4))),
    ]
    assert len({split.fingerprint, *(changed.fingerprint for changed in changes)}) == 6
