"""Protocols: folds, sizes, ensembles and foreign matrices."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save as safetensors_bytes

from benchmark.errors import UserError
from benchmark.evaluation.protocol import (
    PROTOCOLS,
    check_test_size,
    ensemble,
    evaluate,
    load_array,
    protocols_of,
    read_matrix,
    score_matrix,
)
from benchmark.evaluation.ranking import TieRule
from tests.evaluation.naive import naive_ranks, naive_recall, naive_ties, scattered_map


def matrix(seed: int, n_images: int, n_captions: int, levels: int = 40) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, levels, (n_images, n_captions)).astype(np.float32)


def test_datasets_have_their_protocols() -> None:
    assert {name: (item.dataset, item.n_images, item.folds) for name, item in PROTOCOLS.items()} == {
        "scenes": ("scenes", None, 1),
        "flickr30k": ("flickr30k", 1000, 1),
        "flickr8k": ("flickr8k", 1000, 1),
        "mscoco-1k": ("mscoco", 5000, 5),
        "mscoco-5k": ("mscoco", 5000, 1),
    }
    assert [protocol.name for protocol in protocols_of("mscoco")] == ["mscoco-1k", "mscoco-5k"]
    with pytest.raises(UserError, match="did you mean 'mscoco'"):
        protocols_of("mscocoo")


@pytest.mark.parametrize("tie_rule", ["lower_index", "pessimistic"])
def test_folds_are_consecutive_images_with_their_own_captions(tie_rule: TieRule) -> None:
    """Captions are scattered: a fold's gallery is the captions of its images, wherever they stand."""
    sims = matrix(0, 30, 100)
    caption_image = scattered_map(np.random.default_rng(1), 30, 100)
    result = evaluate(sims, caption_image, "mscoco-1k", tie_rule, n_images=30)
    recalls, tied = [], np.zeros(2)
    for fold in range(5):
        images = list(range(6 * fold, 6 * fold + 6))
        captions = [j for j in range(100) if caption_image[j] in images]
        block, local = sims[images][:, captions], caption_image[captions] - 6 * fold
        i2t, t2i = naive_ranks(block, local, tie_rule)
        assert result.ranks.i2t[images].tolist() == i2t
        assert result.ranks.t2i[captions].tolist() == t2i
        assert result.folds[fold].i2t.recall[1] == pytest.approx(naive_recall(i2t, 1))
        recalls.append((naive_recall(i2t, 5), naive_recall(t2i, 5)))
        tied += np.array(naive_ties(block, local)) * (6, len(captions))
    assert result.metrics.i2t.recall[5] == pytest.approx(np.mean([r[0] for r in recalls]))
    assert result.metrics.t2i.recall[5] == pytest.approx(np.mean([r[1] for r in recalls]))
    assert (result.ranks.ties_i2t, result.ranks.ties_t2i) == pytest.approx(tuple(tied / (30, 100)))
    assert (result.n_images, result.n_captions, len(result.folds)) == (30, 100, 5)


def test_without_folds_the_gallery_is_everything() -> None:
    sims, caption_image = matrix(2, 20, 70), scattered_map(np.random.default_rng(2), 20, 70)
    result = evaluate(sims, caption_image, "scenes")
    i2t, t2i = naive_ranks(sims, caption_image, "lower_index")
    assert result.metrics == result.folds[0]
    assert len(result.folds) == 1
    assert result.metrics.values()["t2i_r10"] == pytest.approx(naive_recall(t2i, 10))
    assert result.metrics.values()["i2t_r1"] == pytest.approx(naive_recall(i2t, 1))
    low, high = result.intervals.bounds["rsum"]
    assert low <= result.metrics.rsum <= high
    assert result.intervals == evaluate(sims, caption_image, "scenes", resamples=1000, seed=0).intervals
    sims[0, 0] = np.inf
    with pytest.raises(UserError, match=r"^scores: found inf at image 0, caption 0"):  # no fold is named
        evaluate(sims, caption_image, "scenes")


def test_adjacent_and_scattered_captions_score_alike() -> None:
    sims = np.random.default_rng(5).random((20, 100))  # no ties
    moved = np.random.default_rng(6).permutation(100)
    plain = evaluate(sims, np.arange(100) // 5, "mscoco-1k", n_images=20)
    other = evaluate(sims[:, moved], (np.arange(100) // 5)[moved], "mscoco-1k", n_images=20)
    assert plain.metrics == other.metrics
    assert other.ranks.t2i.tolist() == plain.ranks.t2i[moved].tolist()
    assert plain.intervals == other.intervals


def test_a_bad_score_is_found_in_its_fold() -> None:
    sims = matrix(0, 20, 100)
    sims[9, 47] = np.nan
    with pytest.raises(
        UserError, match=r"fold 2 \(images 8 and on, captions 40 and on\).*image 1, caption 7"
    ):
        evaluate(sims, np.arange(100) // 5, "mscoco-1k", n_images=20)


@pytest.mark.parametrize("name", ["flickr30k", "mscoco-1k", "mscoco-5k"])
def test_wrong_sizes_are_refused(name: str) -> None:
    expected = PROTOCOLS[name].n_images
    with pytest.raises(UserError, match=f"protocol {name}: found scores of 20 images, expected {expected}"):
        evaluate(matrix(0, 20, 100), np.arange(100) // 5, name)


def test_folds_must_divide_the_images() -> None:
    with pytest.raises(UserError, match="21 images cannot be cut into 5 equal folds"):
        evaluate(matrix(0, 21, 105), np.arange(105) // 5, "mscoco-1k", n_images=21)


def test_a_test_set_is_checked_before_it_is_scored() -> None:
    for dataset, size in (("mscoco", 50), ("mscoco", 5000), ("flickr30k", 7), ("scenes", 1)):
        check_test_size(dataset, size)
    with pytest.raises(
        UserError, match="mscoco-1k: 4999 images cannot be cut into 5 equal folds; keep a multiple"
    ):
        check_test_size("mscoco", 4999)


def test_ensemble_is_the_mean() -> None:
    parts = [matrix(seed, 4, 20) for seed in range(3)]
    mean = ensemble(parts)
    for i in range(4):
        for j in range(20):
            assert mean[i, j] == pytest.approx(sum(float(part[i, j]) for part in parts) / 3)


def test_ensemble_makes_no_ties() -> None:
    """float32 rounding would make these two means equal."""
    a = np.array([[1.0, np.nextafter(np.float32(1), np.float32(2))]], np.float32)
    b = np.array([[1e-9, 0.0]], np.float32)
    assert ensemble([a, b])[0, 1] > ensemble([a, b])[0, 0]
    assert ensemble([a, b]).dtype == np.float64


def test_ensembles_of_other_shapes_are_refused() -> None:
    with pytest.raises(UserError, match=r"matrix 1 has shape \(5, 20\), expected \(4, 20\)"):
        ensemble([matrix(0, 4, 20), matrix(0, 5, 20)])
    with pytest.raises(UserError, match="found type int64"):
        ensemble([np.zeros((4, 20), np.int64)] * 2)
    with pytest.raises(UserError, match="at least two"):
        ensemble([matrix(0, 4, 20)])


# ------------------------------------------------------------------------------- foreign matrices


def saved(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


def test_a_foreign_matrix_is_evaluated_like_our_own(tmp_path: Path) -> None:
    sims = matrix(3, 1000, 5000, 10**6)
    sims[np.arange(5000) // 5, np.arange(5000)] += 50_000
    [result] = score_matrix(saved(tmp_path / "sims.npy", sims), "flickr30k", resamples=10)
    assert result.metrics == evaluate(sims, np.arange(5000) // 5, "flickr30k").metrics
    assert 0 < result.metrics.i2t.recall[1] < 100


def test_every_protocol_of_the_dataset_or_the_one_asked_for(tmp_path: Path) -> None:
    path = saved(tmp_path / "sims.npy", matrix(0, 50, 250))
    assert [r.protocol.name for r in score_matrix(path, "mscoco", n_images=50)] == ["mscoco-1k", "mscoco-5k"]
    [result] = score_matrix(path, "mscoco", protocol="mscoco-5k", n_images=50)
    assert result.protocol.name == "mscoco-5k"
    with pytest.raises(UserError, match="'flickr30k' is not one of dataset 'mscoco'; valid: mscoco-1k"):
        score_matrix(path, "mscoco", protocol="flickr30k")


def test_a_caption_map_allows_any_number_of_captions(tmp_path: Path) -> None:
    sims, caption_image = matrix(1, 10, 37), scattered_map(np.random.default_rng(0), 10, 37)
    path, given = saved(tmp_path / "sims.npy", sims), saved(tmp_path / "map.npy", caption_image)
    [result] = score_matrix(path, "scenes", caption_map=given)
    assert result.ranks.i2t.tolist() == naive_ranks(sims, caption_image, "lower_index")[0]
    with pytest.raises(UserError, match=r"sims.npy: found scores of shape \(10, 37\), expected \(n, 5n\)"):
        score_matrix(path, "scenes")


def test_a_matrix_is_mapped_and_a_map_of_no_length_is_one_line(tmp_path: Path) -> None:
    path = saved(tmp_path / "sims.npy", matrix(0, 4, 20))
    sims, caption_image = read_matrix(path, "scenes")
    assert isinstance(sims, np.memmap)
    assert caption_image.tolist() == [row // 5 for row in range(20)]
    with pytest.raises(UserError, match=r"map: found shape \(\), expected \(20,\)"):
        score_matrix(path, "scenes", caption_map=saved(tmp_path / "map.npy", np.array(3)))


@pytest.mark.parametrize("with_map", [False, True])
def test_a_transposed_matrix_is_told_apart(tmp_path: Path, with_map: bool) -> None:
    path = saved(tmp_path / "sims.npy", matrix(0, 1000, 200))
    given = saved(tmp_path / "map.npy", np.arange(1000) // 5) if with_map else None
    with pytest.raises(UserError, match=r"sims.npy: found scores of shape \(1000, 200\).*transpose it"):
        score_matrix(path, "scenes", caption_map=given)


def test_a_transposed_matrix_of_a_sized_dataset(tmp_path: Path) -> None:
    path = saved(tmp_path / "sims.npy", np.zeros((5000, 1000), np.float32))
    with pytest.raises(UserError, match="transpose it"):
        score_matrix(path, "flickr30k")
    other = saved(tmp_path / "other.npy", np.zeros((5000, 7), np.float32))
    with pytest.raises(UserError, match=r"found scores of shape \(5000, 7\), expected \(1000, 5000\)"):
        score_matrix(other, "flickr30k")  # neither way round


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((1000, 4000), np.float32), r"shape \(1000, 4000\), expected \(1000, 5000\) for flickr30k"),
        (np.zeros((200, 1000), np.float32), "found scores of 200 images, expected 1000"),
        (np.zeros((1000, 5000), np.float16), "found type float16"),
        (np.zeros(7, np.float32), r"found shape \(7,\)"),
        (np.full((1000, 5000), np.nan, np.float32), "found nan at image 0, caption 0"),
    ],
)
def test_unfit_matrices_name_the_file(tmp_path: Path, array: Any, message: str) -> None:
    with pytest.raises(UserError, match=rf"sims\.npy: .*{message}"):
        score_matrix(saved(tmp_path / "sims.npy", array), "flickr30k")


def test_unreadable_files_are_one_line(tmp_path: Path) -> None:
    saved(tmp_path / "sims.npy", np.zeros((1, 5)))
    with pytest.raises(UserError, match=r"sim\.npy: no such file; did you mean '.*sims\.npy'"):
        score_matrix(tmp_path / "sim.npy", "scenes")
    for name, content in (("text.npy", b"not numpy"), ("empty.npy", b""), ("cut.npy", b"\x93NUMPY\x01\x00v")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=rf"{name}: not a readable .npy file") as caught:
            score_matrix(tmp_path / name, "scenes")
        assert "\n" not in str(caught.value)


def with_header(array: np.ndarray, former: bytes, header: bytes) -> bytes:
    """The bytes of a .npy file with another header, of the same length."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    assert former in buffer.getvalue()
    assert len(former) == len(header)
    return buffer.getvalue().replace(former, header)


def content_of(save: Callable[[Any], object]) -> bytes:
    buffer = io.BytesIO()
    save(buffer)
    return buffer.getvalue()


SCORES = np.arange(320, dtype=np.float32).reshape(8, 40)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"0.5,0.25\n0.125,1\n", "text, such as a .csv"),
        (content_of(lambda file: np.savez(file, SCORES)), "an archive"),
        (content_of(lambda file: torch.save(torch.from_numpy(SCORES), file)), "an archive"),
        (
            content_of(lambda file: torch.save(torch.zeros(2), file, _use_new_zipfile_serialization=False)),
            "a pickle",
        ),
        (safetensors_bytes({"a": torch.zeros(2)}), "a safetensors file"),
        (b"", "an empty file"),
        (with_header(SCORES, b"(8, 40)", b"(-8,40)"), ""),
        (with_header(SCORES, b"(8, 40), }", b"(8, 4**9)}"), ""),
        (with_header(SCORES, b"(8, 40), }      ", b"(8, 40000000), }"), ""),
        (with_header(SCORES, b"'<f4'", b"'<zz'"), ""),
    ],
)
def test_a_file_of_another_kind_says_how_to_save_it(content: bytes, word: str, tmp_path: Path) -> None:
    path = tmp_path / "sims.npy"
    path.write_bytes(content)
    for mapped in (True, False):
        with pytest.raises(UserError, match=rf"sims\.npy: .*{word}.*numpy\.save") as caught:
            load_array(path, mapped=mapped)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("array", "advice"),
    [
        (SCORES.astype(np.float16), r"float16.*astype\('float32'\).*stays a tie"),
        (SCORES.astype(np.int64), r"int64.*astype\('float32'\)$"),
        (SCORES.T, r"scores\.T"),
        (np.repeat(SCORES, 5, 0), r"\(40, 40\).*scores\[::5\]"),
        (SCORES[:, :8].repeat(5, 1)[:, :37], "give a caption map"),
        (np.arange(1600, dtype=np.float32).reshape(40, 40), "give a caption map"),
    ],
)
def test_a_matrix_of_another_form_says_what_to_do(array: np.ndarray, advice: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"sims\.npy: .*{advice}"):
        read_matrix(saved(tmp_path / "sims.npy", array), "scenes")
