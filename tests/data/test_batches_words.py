"""Batches of whole words: padded to their longest, words dropped in training alone, by seed, epoch and sample."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmark.batches import PairBatch
from benchmark.data.batches import _REGIONS, _WORDS, caption_batches, image_batches, train_batches
from benchmark.data.load import load_dataset
from benchmark.data.published.catalogue import get_entry
from benchmark.data.regions.grid import FeatureStore
from benchmark.data.splits import Dataset
from benchmark.data.text.augmentation import drop_regions, grouped, seeded_random, word_drop
from benchmark.data.text.codec import make_piece_codec
from benchmark.data.text.word_codec import WordCodec, make_word_codec
from benchmark.inputs import Codec, InputSpec, PixelInput, RegionInput, WordPieceText, WordText
from benchmark.recipe.schema import GridRegions

SCENES = get_entry("scenes").vocabulary
WORDS = WordText(mask_token=True)
PLAIN = InputSpec(PixelInput(32, "plain", "resize", 32), WORDS)
DROPPED = replace(PLAIN, text=replace(WORDS, augment="word_drop"))


@pytest.fixture(scope="module")
def data() -> Dataset:
    return load_dataset("scenes", {"n_train": 14, "n_val": 6, "n_test": 9})


@pytest.fixture(scope="module")
def codec(data: Dataset) -> WordCodec:
    return make_word_codec(WORDS, data)


def batches(data: Dataset, codec: Codec, spec: InputSpec, **other: int) -> list[PairBatch]:
    settings: dict[str, Any] = {"seed": 3, "epoch": 1, "batch_size": 16, "workers": 0, **other}
    return list(train_batches(data.splits["train"], spec, codec, **settings))


def rows(found: list[PairBatch]) -> dict[int, list[int]]:
    """Ids by caption row, padding left out."""
    captions = [
        item
        for batch in found
        for item in zip(
            batch.captions.index.tolist(), batch.captions.ids, batch.captions.lengths, strict=True
        )
    ]
    return {row: ids[:length].tolist() for row, ids, length in captions}


@pytest.mark.parametrize("spec", [PLAIN, DROPPED], ids=["plain", "dropped"])
def test_batches_are_padded_to_their_longest(data: Dataset, codec: WordCodec, spec: InputSpec) -> None:
    shapes = set()
    for batch in batches(data, codec, spec, batch_size=4):
        ids, lengths = batch.captions.ids, batch.captions.lengths
        assert ids.shape == (len(lengths), int(lengths.max()))
        assert not any(ids[torch.arange(ids.shape[1]) >= lengths[:, None]])
        shapes.add(ids.shape[1])
    assert len(shapes) > 1


def test_without_augmentation_captions_are_as_encoded(data: Dataset, codec: WordCodec) -> None:
    captions = data.splits["train"].captions
    found = rows(batches(data, codec, PLAIN))
    assert found == {row: codec.encode([text])[0][0].tolist() for row, text in enumerate(captions)}


def test_words_are_dropped_as_if_each_caption_were_alone(data: Dataset, codec: WordCodec) -> None:
    found = rows(batches(data, codec, DROPPED))
    assert codec.mask_id == codec.vocab_size - 1
    for row, text in enumerate(data.splits["train"].captions):
        start, *words, end = codec.encode([text])[0][0].tolist()
        random = seeded_random(3, 1, _WORDS, row)
        dropped = word_drop([[word] for word in words], codec.mask_id, codec.vocab_size, random)
        assert found[row] == [start, *dropped, end]
    assert codec.mask_id in {number for ids in found.values() for number in ids}


def test_drops_depend_on_seed_epoch_and_sample_alone(data: Dataset, codec: WordCodec) -> None:
    base = rows(batches(data, codec, DROPPED))
    assert rows(batches(data, codec, DROPPED, batch_size=5)) == base
    assert rows(batches(data, codec, DROPPED, workers=1)) == base
    for other in ({"seed": 4}, {"epoch": 2}):
        assert rows(batches(data, codec, DROPPED, **other)) != base


def test_images_as_unit_drop_by_sample_too(data: Dataset, codec: WordCodec) -> None:
    spec = replace(DROPPED, unit="image")
    captions = data.splits["train"].captions
    for batch in batches(data, codec, spec, batch_size=4):
        for row, image, ids, length in zip(
            batch.captions.index.tolist(),
            batch.images.index.tolist(),
            batch.captions.ids,
            batch.captions.lengths,
            strict=True,
        ):
            start, *words, end = codec.encode([captions[row]])[0][0].tolist()
            assert codec.mask_id is not None
            random = seeded_random(3, 1, _WORDS, image)
            dropped = word_drop([[word] for word in words], codec.mask_id, codec.vocab_size, random)
            assert ids[:length].tolist() == [start, *dropped, end]


def test_evaluation_never_drops_and_pads_the_split_to_one_length(data: Dataset, codec: WordCodec) -> None:
    split = data.splits["test"]
    ids, lengths = codec.encode(split.captions)
    found = list(caption_batches(split, DROPPED, codec, batch_size=20))
    assert torch.equal(torch.cat([batch.ids for batch in found]), ids)
    assert torch.equal(torch.cat([batch.lengths for batch in found]), lengths)


# ------------------------------------------------------------------------------- word pieces, regions

PIECES = replace(PLAIN, text=WordPieceText(augment="word_drop"))


def test_pieces_of_a_word_are_dropped_together() -> None:
    data = load_dataset("scenes", {"n_train": 14, "n_val": 6, "n_test": 9})
    codec = make_piece_codec(WordPieceText(vocabulary="letters"), SCENES)
    assert codec.mask_id is not None
    found = rows(batches(data, codec, PIECES))
    several = 0
    for row, text in enumerate(data.splits["train"].captions):
        start, *inner, end = codec.encode([text])[0][0].tolist()
        words = grouped(inner, codec.inside)
        several += len(words) < len(inner)
        random = seeded_random(3, 1, _WORDS, row)
        assert found[row] == [start, *word_drop(words, codec.mask_id, codec.vocab_size, random), end]
    assert several > 10


def test_uncut_pieces_are_padded_to_the_batches_longest() -> None:
    data = load_dataset("scenes", {"n_train": 14, "n_val": 6, "n_test": 9})
    codec = make_piece_codec(WordPieceText(), SCENES)
    plain = replace(PLAIN, text=WordPieceText())
    lengths = [batch.captions.ids.shape[1] for batch in batches(data, codec, plain, batch_size=4)]
    assert lengths == [
        int(batch.captions.lengths.max()) for batch in batches(data, codec, plain, batch_size=4)
    ]
    assert len(set(lengths)) > 1


def test_regions_are_dropped_in_training_alone(tmp_path: Path, codec: WordCodec) -> None:
    data = load_dataset(
        "scenes",
        {"n_train": 14, "n_val": 6, "n_test": 9},
        regions=GridRegions(source="grid"),
        store=FeatureStore(tmp_path, torch.device("cpu")),
    )
    split = data.splits["train"]
    assert split.regions is not None
    spec = replace(PLAIN, image=RegionInput(36, 128, drop=0.2))
    for batch in batches(data, codec, spec):
        whole = torch.from_numpy(split.regions.regions(batch.images.index.tolist()))
        keys = [(3, 1, _REGIONS, sample) for sample in batch.captions.index.tolist()]
        expected, lengths = drop_regions(whole, keys, 0.2)
        assert torch.equal(batch.images.pixels, expected)
        assert batch.images.lengths is not None
        assert torch.equal(batch.images.lengths, lengths)
        moved = batch.to(torch.device("cpu")).images.lengths
        assert moved is not None
        assert torch.equal(moved, lengths)
    whole_batch = next(image_batches(split, spec, batch_size=4))
    assert whole_batch.pixels.shape == (4, 36, 128)
    assert whole_batch.lengths is None
