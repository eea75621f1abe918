"""Words hidden, replaced and left out: the recorded draws, the shares, and what a sample's numbers hang on."""

from __future__ import annotations

import json
from collections import Counter
from random import Random
from typing import Any

import numpy as np
import pytest
import torch

from benchmark.data.text.augmentation import (
    drop_regions,
    drop_words,
    grouped,
    padded,
    seeded_random,
    shift_words,
    word_drop,
)
from tests.paths import ROOT

GOLDEN = json.loads((ROOT / "tests/golden/rcar/text.json").read_text(encoding="utf-8"))
CASES = {case["caption"]: case for case in GOLDEN["cases"]}


@pytest.mark.parametrize("row", GOLDEN["word_drop"], ids=lambda row: f"{row['dataset']}-{row['caption']}")
def test_recorded_draws(row: dict[str, Any]) -> None:
    vocabulary = GOLDEN["vocab"][row["dataset"]]
    start, *words, end = CASES[row["caption"]][f"ids_{row['dataset']}"]
    random = Random(row["python_random_seed"])
    size = vocabulary["size_after_adding_mask"]
    dropped = word_drop([[word] for word in words], vocabulary["mask"], size, random)
    assert [start, *dropped, end] == row["ids"]
    assert random.random() == row["next_random_after"]


def test_shares_are_those_of_the_paper() -> None:
    words = [[-1]] * 100_000
    found = Counter(word_drop(words, -2, 50, Random(0)))
    replaced = {number: count for number, count in found.items() if number >= 0}
    assert found[-1] / 100_000 == pytest.approx(0.80, abs=0.005)
    assert found[-2] / 100_000 == pytest.approx(0.10, abs=0.004)
    assert sum(replaced.values()) / 100_000 == pytest.approx(0.02, abs=0.002)
    assert set(replaced) == set(range(50))


def test_pieces_of_a_word_share_its_fate_and_are_replaced_one_by_one() -> None:
    fates = set()
    for seed in range(300):
        found = word_drop([[7, 8, 9]], 99, 10_000, Random(seed))
        kind = {(): "gone", (7, 8, 9): "kept", (99, 99, 99): "masked"}.get(tuple(found), "replaced")
        if kind == "replaced":
            assert len(set(found)) == 3
        fates.add(kind)
    assert fates == {"gone", "kept", "masked", "replaced"}


def test_a_batch_is_its_captions_one_by_one() -> None:
    rows = [[1, *range(4, 4 + length), 2] for length in (9, 1, 0, 5)]
    ids, lengths = padded(rows)
    keys = [(3, 1, 3, sample) for sample in (40, 7, 2, 11)]
    found, new_lengths = drop_words(ids, lengths, keys, mask_id=60, vocab_size=61)
    expected = [
        [1, *word_drop([[word] for word in row[1:-1]], 60, 61, seeded_random(*key)), 2]
        for row, key in zip(rows, keys, strict=True)
    ]
    assert new_lengths.tolist() == [len(row) for row in expected]
    assert found.shape == (4, max(map(len, expected)))
    for row, length, wanted in zip(found.tolist(), new_lengths.tolist(), expected, strict=True):
        assert row[:length] == wanted
        assert not any(row[length:])
    order = [2, 0, 3, 1]
    again, _ = drop_words(ids[order], lengths[order], [keys[place] for place in order], 60, 61)
    assert torch.equal(again, found[order])


def test_every_part_of_the_key_counts() -> None:
    draws = {seeded_random(*key).random() for key in ((0, 0, 3, 0), (1, 0, 3, 0), (0, 1, 3, 0), (0, 0, 3, 1))}
    assert len(draws) == 4
    assert seeded_random(0, 0, 3, 0).random() in draws


def test_all_words_may_vanish() -> None:
    ids, lengths = padded([[1, 5, 2]] * 200)
    found, new_lengths = drop_words(ids, lengths, [(0, 0, 3, sample) for sample in range(200)], 60, 61)
    alone = found[new_lengths == 2]
    assert 0 < len(alone) < 60
    assert alone.tolist() == [[1, 2, 0]] * len(alone)


def test_padding() -> None:
    ids, lengths = padded([[1, 2], [1, 7, 8, 2], [3]])
    assert ids.tolist() == [[1, 2, 0, 0], [1, 7, 8, 2], [3, 0, 0, 0]]
    assert lengths.tolist() == [2, 4, 1]
    assert (ids.dtype, lengths.dtype) == (torch.int64, torch.int64)
    empty, none = padded([])
    assert empty.shape == (0, 0)
    assert none.shape == (0,)


def test_a_caption_is_moved_to_one_of_the_places_where_it_fits() -> None:
    ids, lengths = padded([[5, 6, 7], [8], [1, 2, 3, 4], []])
    for draw, starts in ((0.0, (0, 0, 0, 0)), (0.4, (1, 2, 1, 2)), (0.999, (3, 5, 2, 6))):
        found = shift_words(ids, lengths, [draw] * 4, 6).tolist()
        for row, begin, words in zip(found, starts, ([5, 6, 7], [8], [1, 2, 3, 4], []), strict=True):
            assert row == [0] * begin + words + [0] * (6 - begin - len(words))
    places = [shift_words(ids[:1], lengths[:1], [k / 400], 6).argmax().item() - 2 for k in range(400)]
    assert Counter(places) == {0: 100, 1: 100, 2: 100, 3: 100}
    none = shift_words(*padded([[], []]), [0.5, 0.5], 3)
    assert (none.tolist(), none.dtype) == ([[0, 0, 0]] * 2, torch.int64)


# ---------------------------------------------------------------------------------------- word pieces

PIECES = json.loads((ROOT / "tests/golden/user/caption_augmentation.json").read_text(encoding="utf-8"))
INSIDE = frozenset(number for number, piece in enumerate(PIECES["vocab"]) if piece.startswith("##"))


@pytest.mark.parametrize("case", PIECES["cases"], ids=lambda case: case["caption"])
def test_recorded_draws_of_pieces(case: dict[str, Any]) -> None:
    start, *inner, end = case["eval_ids"]
    words = grouped(inner, INSIDE)
    assert [[PIECES["vocab"][number] for number in word] for word in words] == case["wordpieces"]
    for draw in case["train"]:
        random = Random(draw["python_random_seed"])
        dropped = word_drop(words, PIECES["vocab"].index("[MASK]"), len(PIECES["vocab"]), random)
        assert [start, *dropped, end] == draw["ids"]
        assert random.random() == draw["next_random"]


def test_a_batch_of_pieces_is_its_words_one_by_one() -> None:
    rows = [case["eval_ids"] for case in PIECES["cases"]]
    keys = [(5, 0, 3, sample) for sample in range(len(rows))]
    found, lengths = drop_words(*padded(rows), keys, mask_id=4, vocab_size=40, inside=INSIDE)
    for row, length, whole, key in zip(found.tolist(), lengths.tolist(), rows, keys, strict=True):
        kept = word_drop(grouped(whole[1:-1], INSIDE), 4, 40, seeded_random(*key))
        assert row[:length] == [whole[0], *kept, whole[-1]]


def test_start_and_end_may_go_where_that_is_asked() -> None:
    ids, lengths = padded([[1, 7, 8, 9, 2]] * 300)
    keys = [(0, 0, 3, sample) for sample in range(300)]
    found, new = drop_words(ids, lengths, keys, 60, 61, ends=True)
    rows = [row[:length] for row, length in zip(found.tolist(), new.tolist(), strict=True)]
    assert rows == [word_drop([[n] for n in (1, 7, 8, 9, 2)], 60, 61, seeded_random(*key)) for key in keys]
    assert 0.15 < np.mean([row[:1] != [1] for row in rows]) < 0.25
    alone, one = drop_words(*padded([[1]] * 300), keys, 60, 61, ends=True)
    assert one.tolist() == [1] * 300  # never empty
    assert set(alone.flatten().tolist()) >= {1, 60}


# -------------------------------------------------------------------------------------------- regions


def test_dropped_regions_are_gone_and_the_rest_keep_their_order() -> None:
    regions = 1 + torch.arange(4 * 6 * 2, dtype=torch.float32).view(4, 6, 2)
    keys = [(7, 2, 4, sample) for sample in (3, 0, 12, 5)]
    found, lengths = drop_regions(regions, keys, 0.5)
    expected = []
    for image, key in zip(regions, keys, strict=True):
        draws = np.random.default_rng(np.random.SeedSequence(key)).random(6)
        expected.append([region.tolist() for region, draw in zip(image, draws, strict=True) if draw > 0.5])
    assert lengths.tolist() == [len(left) for left in expected]
    assert len(set(lengths.tolist())) > 1
    assert found.shape == (4, max(map(len, expected)), 2)
    for row, length, left in zip(found, lengths.tolist(), expected, strict=True):
        assert row[:length].tolist() == left
        assert not row[length:].any()


def test_a_fifth_of_the_regions_goes_and_one_always_stays() -> None:
    keys = [(0, 0, 4, sample) for sample in range(500)]
    _, lengths = drop_regions(torch.ones(500, 36, 1), keys, 0.2)
    assert lengths.float().mean() / 36 == pytest.approx(0.8, abs=0.01)
    found, least = drop_regions(torch.arange(3.0).view(1, 3, 1).repeat(500, 1, 1) + 1, keys, 0.9)
    assert least.min() == 1
    assert bool((found[:, 0] > 0).all())


def test_an_image_that_would_lose_all_keeps_its_first_region() -> None:
    found, lengths = drop_regions(torch.tensor([[[3.0], [4.0]]]), [(0, 0, 4, 0)], 1.0)
    assert (found.tolist(), lengths.tolist()) == ([[[3.0]]], [1])
