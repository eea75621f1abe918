"""Counting ranks equal those of a Python sort, for any map, tie rule, precision and memory layout."""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.errors import UserError
from benchmark.evaluation import ranking
from benchmark.evaluation.ranking import Ranks, TieRule, captions_of, rank, top_k
from tests.evaluation.naive import naive_ranks, naive_ties, order_of, scattered_map


@pytest.mark.parametrize("tie_rule", ["lower_index", "pessimistic"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("levels", [2, 6, 1000])
@pytest.mark.parametrize(("n_images", "n_captions"), [(1, 1), (1, 5), (7, 7), (13, 50), (40, 90)])
def test_ranks_equal_a_sort(
    tie_rule: TieRule,
    dtype: Any,
    levels: Any,
    n_images: int,
    n_captions: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ranking, "ROWS", 9)  # several blocks
    rng = np.random.default_rng([levels, n_captions])
    caption_image = scattered_map(rng, n_images, n_captions)
    sims = (rng.integers(0, levels, (n_images, n_captions)) / levels - 0.3).astype(dtype)
    ranks = rank(sims, caption_image, tie_rule)
    i2t, t2i = naive_ranks(sims, caption_image, tie_rule)
    assert ranks.i2t.tolist() == i2t
    assert ranks.t2i.tolist() == t2i
    assert (ranks.ties_i2t, ranks.ties_t2i) == pytest.approx(naive_ties(sims, caption_image))


def test_more_images_than_a_byte_counts() -> None:
    rng = np.random.default_rng(0)
    sims = rng.integers(0, 50, (700, 900)).astype(np.float32)
    caption_image = scattered_map(rng, 700, 900)
    sims[caption_image, np.arange(900)] = -1  # every caption's image comes last
    assert rank(sims, caption_image).t2i.tolist() == [699] * 900


def test_the_lowest_number_overflows_in_silence() -> None:
    sims = np.array([[np.finfo(np.float32).min, 0.0], [1.0, 1.0]], np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert rank(sims, np.array([0, 1])).t2i.tolist() == [1, 0]


def test_many_equal_scores_stand_in_gallery_order() -> None:
    """More than the few dozen that any sort leaves in order."""
    sims = np.random.default_rng(0).integers(0, 3, (2, 600)).astype(np.float32)
    found = top_k(sims, 500)
    for row in range(2):
        assert found.i2t[row].tolist() == sorted(range(600), key=lambda item: (-sims[row, item], item))[:500]
    own = np.random.default_rng(1).permutation(np.arange(600) % 3)
    for image, captions in enumerate(captions_of(own, 3, 600)):
        assert captions.tolist() == [j for j in range(600) if own[j] == image]


def test_ten_items_unless_asked_for_others() -> None:
    sims = np.random.default_rng(0).random((12, 13))
    assert top_k(sims).i2t.shape == (12, 10)
    assert top_k(sims, 11).t2i.shape == (13, 11)
    found = rank(sims, np.arange(13) % 12)
    assert Ranks(found.i2t, found.t2i, 0.0, 0.0).tie_rule == found.tie_rule == "lower_index"


def test_zeros_of_both_signs_and_the_smallest_numbers_are_told_apart_exactly() -> None:
    tiny = np.nextafter(np.float32(0), np.float32(1))
    sims = np.array([[0.0, -0.0], [tiny, 0.0], [-tiny, -tiny]], np.float32)
    caption_image = np.array([1, 0, 2])
    sims = np.concatenate([sims, sims[:, :1]], axis=1)
    for rule in ("lower_index", "pessimistic"):
        ranks = rank(sims, caption_image, rule)
        assert (ranks.i2t.tolist(), ranks.t2i.tolist()) == naive_ranks(sims, caption_image, rule)


@pytest.mark.parametrize("extreme", [np.finfo(np.float32).max, np.finfo(np.float32).min])
def test_the_largest_numbers_tie_like_others(extreme: float) -> None:
    sims = np.full((3, 3), extreme, np.float32)
    assert rank(sims, np.arange(3)).t2i.tolist() == [0, 1, 2]
    assert rank(sims, np.arange(3), "pessimistic").i2t.tolist() == [2, 2, 2]


def test_float64_is_not_rounded_to_float32() -> None:
    sims = np.full((4, 4), 0.5)
    sims[0, 1:] += 1e-12
    assert rank(sims, np.arange(4)).i2t[0] == 3
    assert rank(sims.astype(np.float32), np.arange(4)).i2t[0] == 0


@pytest.mark.parametrize("layout", ["fortran", "big_endian", "strided", "mapped"])
def test_memory_layout_does_not_matter(layout: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    sims = rng.integers(0, 9, (30, 70)).astype(np.float32)
    caption_image = scattered_map(rng, 30, 70)
    expected, best = rank(sims, caption_image), top_k(sims, 4)
    if layout == "mapped":
        np.save(tmp_path / "sims.npy", sims)
        other = np.load(tmp_path / "sims.npy", mmap_mode="r")
    else:
        other = {
            "fortran": np.asfortranarray(sims),
            "big_endian": sims.astype(">f4"),
            "strided": np.repeat(sims, 2, axis=1)[:, ::2],
        }[layout]
    ranks, same = rank(other, caption_image), top_k(other, 4)
    assert np.array_equal(ranks.i2t, expected.i2t)
    assert np.array_equal(ranks.t2i, expected.t2i)
    assert np.array_equal(same.t2i, best.t2i)
    assert same.i2t_scores.dtype == np.float32


@pytest.mark.parametrize("levels", [2, 7, 10**6])
@pytest.mark.parametrize("k", [1, 10, 60])
def test_top_k_is_the_head_of_a_stable_sort(levels: Any, k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking, "ROWS", 9)
    sims = np.random.default_rng(levels).integers(0, levels, (25, 55)).astype(np.float64)
    best = top_k(sims, k)
    for image in range(25):
        assert best.i2t[image].tolist() == order_of(sims[image])[:k]
        assert best.i2t_scores[image].tolist() == [sims[image, j] for j in order_of(sims[image])[:k]]
    for caption in range(55):
        assert best.t2i[caption].tolist() == order_of(sims[:, caption])[:k]


def test_top_one_and_rank_zero_agree() -> None:
    rng = np.random.default_rng(5)
    sims = rng.integers(0, 4, (20, 60)).astype(np.float32)
    caption_image = scattered_map(rng, 20, 60)
    ranks, best = rank(sims, caption_image), top_k(sims, 1)
    assert ((ranks.t2i == 0) == (best.t2i[:, 0] == caption_image)).all()
    assert ((ranks.i2t == 0) == (caption_image[best.i2t[:, 0]] == np.arange(20))).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("check", [lambda sims: rank(sims, np.arange(200) // 5), top_k])
def test_the_first_bad_score_is_named(value: float, check: Any) -> None:
    sims = np.random.default_rng(0).random((40, 200)).astype(np.float32)
    sims[30, 4], sims[7, 123], sims[7, 150] = value, value, np.nan
    with pytest.raises(UserError, match=rf"found {value} at image 7, caption 123"):
        check(sims)


@pytest.mark.parametrize(
    ("sims", "message"),
    [
        (np.zeros(5, np.float32), r"found shape \(5,\)"),
        (np.zeros((0, 5), np.float32), r"found shape \(0, 5\)"),
        (np.zeros((2, 10), np.float16), "found type float16, expected float32 or float64"),
        (np.zeros((2, 10), int), "found type int64"),
        ([[1.0]], "found list"),
    ],
)
def test_other_arrays_are_refused(sims: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        rank(sims, np.repeat(np.arange(2), 5))


@pytest.mark.parametrize(
    ("caption_image", "message"),
    [
        (np.zeros(10, int), "image 1 has no caption"),
        (np.repeat([0, 2], 5), "caption 5 has image 2, expected 0 to 1"),
        (np.repeat([-1, 1], 5), "caption 0 has image -1"),
        (np.repeat([0, 1], 4), r"found shape \(8,\), expected \(10,\)"),
        (np.repeat([0.0, 1.0], 5), "found float64, expected an array of integers"),
        ([0] * 10, "found list"),
    ],
)
def test_maps_that_do_not_fit_are_refused(caption_image: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        rank(np.zeros((2, 10), np.float32), caption_image)


def test_unknown_tie_rule_names_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'pessimistic'"):
        rank(np.zeros((1, 1), np.float32), np.zeros(1, int), "pesimistic")  # type: ignore[arg-type]


def test_time_grows_with_the_matrix_only() -> None:
    """The full 5K x 25K takes a third of a second of one core; a twentieth of it must not take a second."""
    sims = np.random.default_rng(0).random((1000, 5000), np.float32)
    start = time.process_time()
    rank(sims, np.arange(5000) // 5)
    assert time.process_time() - start < 1
