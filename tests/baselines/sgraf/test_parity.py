"""Parity of SAF and SGR: golden files pass, and copies with one wrong number, weight or formula fail."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from baselines.sgraf.checks.parity import parity_cases
from benchmark.checks.parity.report import compare
from benchmark.errors import UserError
from benchmark.method import ParityCase

GOLDEN = Path("tests/golden/sgraf")
MODELS = sorted(path.name for path in GOLDEN.glob("s*.npz"))
ARRAYS = [*MODELS, "loss_cases.npz"]

Arrays = dict[str, np.ndarray[Any, Any]]


def load(name: str) -> Arrays:
    with np.load(GOLDEN / name) as file:
        return {key: file[key] for key in file.files}


def save(path: Path, arrays: Arrays) -> Path:
    with path.open("wb") as handle:
        np.savez(handle, **arrays)  # type: ignore[arg-type]
    return path


def recorded(arrays: Arrays) -> set[str]:
    return {key for key in arrays if key.startswith(("outputs/", "grads/"))}


def failed(cases: list[ParityCase]) -> set[str]:
    return {case.name for case in cases if not compare("file", case).ok}


@pytest.fixture(scope="module")
def cases_of() -> dict[str, list[ParityCase]]:
    return {name: parity_cases(GOLDEN / name) for name in ARRAYS}


def test_the_golden_folder_is_complete() -> None:
    assert len(MODELS) == 5
    assert {path.name for path in GOLDEN.iterdir()} == {*ARRAYS, "rank_cases.npz", "README.md"}


@pytest.mark.parametrize("name", ARRAYS)
def test_golden_files_pass_and_every_array_is_compared_whole(
    name: str, cases_of: dict[str, list[ParityCase]]
) -> None:
    arrays, cases = load(name), cases_of[name]
    assert failed(cases) == set()
    assert {case.name for case in cases} == recorded(arrays)
    for case in cases:
        np.testing.assert_array_equal(case.expected, arrays[case.name])


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("seed", [0, 1])
def test_one_wrong_number_fails_its_array(
    name: str, seed: int, tmp_path: Path, cases_of: dict[str, list[ParityCase]]
) -> None:
    """One number of every array is moved by ten tolerances; ours come from the file itself, replayed once more."""
    arrays, generator = load(name), np.random.default_rng(seed)
    wrong = recorded(arrays)
    for case in cases_of[name]:
        step = 10 * case.tolerance * (float(np.abs(case.expected).max()) if case.relative else 1.0)
        step = max(step, 1 if case.expected.dtype.kind in "iu" else 0)
        flat = arrays[case.name].reshape(-1).copy()
        where = int(generator.integers(flat.size))
        step += 10 * case.share * abs(float(flat[where]))
        flat[where] += step if generator.random() < 0.5 else -step
        arrays[case.name] = flat.reshape(arrays[case.name].shape)
    assert failed(parity_cases(save(tmp_path / name, arrays))) == wrong


@pytest.mark.parametrize("name", MODELS)
def test_wrong_weights_fail(name: str, tmp_path: Path) -> None:
    arrays = load(name)
    key = "weights/sim_enc.sim_tranloc_w.weight"
    arrays[key] = arrays[key] * np.float32(1.01)
    names = failed(parity_cases(save(tmp_path / name, arrays)))
    assert {"outputs/eval/sims", "outputs/train/sims", "outputs/train/loss"} <= names
    assert any(key.endswith("/sim_loc") for key in names)
    assert not any(key.endswith(("/context", "/img_glo")) for key in names)


# --------------------------------------------------------------------- common mistakes (tests/golden/sgraf/README.md)


MISTAKES: dict[str, tuple[float, str]] = {
    "ReLU for leaky ReLU": (0.0, "query"),
    "no norm over the words": (0.1, "none"),
    "a norm over the regions": (0.1, "context"),
}


@pytest.mark.parametrize("name", ["saf_base.npz", "sgr_base.npz"])
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_attention_fails(name: str, mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    negative_slope, norm = MISTAKES[mistake]

    def weights(
        products: Tensor, *, query_axis: int, context_axis: int, temperature: float, slope: float
    ) -> Tensor:
        assert slope == 0.1
        activations = torch.nn.functional.leaky_relu(products, negative_slope)
        if norm != "none":
            axis = query_axis if norm == "query" else context_axis
            activations = activations / (activations.norm(dim=axis, keepdim=True) + 1e-8)
        return (temperature * activations).softmax(context_axis)

    monkeypatch.setattr("baselines.attention.alignment.attention_weights", weights)
    names = failed(parity_cases(GOLDEN / name))
    assert {"outputs/eval/sims", "outputs/train/sims"} <= names
    assert "outputs/eval/img_emb" not in names


# ------------------------------------------------------------------------------ files that are something else


def test_renamed_files_are_recognised(tmp_path: Path, cases_of: dict[str, list[ParityCase]]) -> None:
    for name in ARRAYS:
        copy = tmp_path / "held-out"
        shutil.copy(GOLDEN / name, copy)
        cases = parity_cases(copy)
        assert [case.name for case in cases] == [case.name for case in cases_of[name]]
        assert failed(cases) == set()


@pytest.mark.parametrize(
    "key", ["outputs/eval/cap0/sgr_step4", "outputs/unheard_of", "outputs/eval/cap5/score"]
)
def test_a_recorded_array_that_nothing_answers_to_is_an_error(key: str, tmp_path: Path) -> None:
    arrays = load("sgr_base.npz")
    arrays[key] = np.zeros(3, dtype=np.float32)
    with pytest.raises(UserError, match=key):
        parity_cases(save(tmp_path / "x.npz", arrays))


@pytest.mark.parametrize(
    "gone",
    ["outputs/eval/sims", "weights/txt_enc.embed.weight", "inputs/train/lengths", "outputs/train/grad_norm"],
)
def test_a_file_that_lacks_what_it_must_hold_is_an_error(gone: str, tmp_path: Path) -> None:
    arrays = load("saf_base.npz")
    del arrays[gone]
    with pytest.raises(UserError) as caught:
        parity_cases(save(tmp_path / "x.npz", arrays))
    assert "\n" not in str(caught.value)


def test_an_impossible_configuration_is_an_error(tmp_path: Path) -> None:
    arrays = load("saf_base.npz")
    config = json.loads(str(arrays["config"]))
    for changes in ({"module_name": "SGR"}, {"embed_size": 17}, {"num_region": 35}):
        arrays["config"] = np.array(json.dumps({**config, **changes}))
        with pytest.raises(UserError) as caught:
            parity_cases(save(tmp_path / "x.npz", arrays))
        assert "\n" not in str(caught.value)


def test_other_files_are_left_to_others(tmp_path: Path) -> None:
    assert parity_cases(GOLDEN / "rank_cases.npz") == []
    assert parity_cases(GOLDEN.parent / "hat" / "triplet_loss.npz") == []
    assert parity_cases(GOLDEN.parent / "hat" / "full_i2t.npz") == []
    assert parity_cases(GOLDEN.parent / "hat" / "state_dict_manifest.json") == []
    (tmp_path / "notes.txt").write_text("nothing", encoding="utf-8")
    assert parity_cases(tmp_path / "notes.txt") == []
    broken = tmp_path / "broken.npz"
    broken.write_bytes((GOLDEN / "loss_cases.npz").read_bytes()[:400])
    with pytest.raises(UserError):
        parity_cases(broken)
