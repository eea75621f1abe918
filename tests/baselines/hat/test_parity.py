"""Parity of HAT: the golden files pass, any wrong number fails, names don't matter, nothing is left uncompared."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from baselines.hat.checks.parity import parity_cases
from benchmark.checks.parity.report import compare
from benchmark.errors import UserError
from benchmark.method import ParityCase

GOLDEN = Path("tests/golden/hat")
ARRAYS = ["full_i2t.npz", "full_t2i.npz", "cross_attention.npz", "triplet_loss.npz"]
MANIFEST = "state_dict_manifest.json"

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
    return {name: parity_cases(GOLDEN / name) for name in [*ARRAYS, MANIFEST]}


@pytest.mark.parametrize("name", [*ARRAYS, MANIFEST])
def test_golden_files_pass(name: str, cases_of: dict[str, list[ParityCase]]) -> None:
    cases = cases_of[name]
    assert cases
    assert failed(cases) == set()


@pytest.mark.parametrize("name", ARRAYS)
def test_every_recorded_array_is_compared_whole(name: str, cases_of: dict[str, list[ParityCase]]) -> None:
    arrays = load(name)
    assert {case.name for case in cases_of[name]} == recorded(arrays)
    for case in cases_of[name]:
        np.testing.assert_array_equal(case.expected, arrays[case.name])


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("seed", [0, 1])
def test_one_wrong_number_fails_its_array(
    name: str, seed: int, tmp_path: Path, cases_of: dict[str, list[ParityCase]]
) -> None:
    """One number of every array is moved by ten tolerances; ours come from the file itself, replayed once more."""
    arrays, generator = load(name), np.random.default_rng(seed)
    tolerances = {case.name: case for case in cases_of[name]}
    wrong = {key for key in recorded(arrays) if not key.endswith("caption_index")}
    for key in wrong:
        case = tolerances[key]
        step = 10 * case.tolerance * (float(np.abs(case.expected).max()) if case.relative else 1.0)
        flat = arrays[key].reshape(-1).copy()
        flat[generator.integers(flat.size)] += step if generator.random() < 0.5 else -step
        arrays[key] = flat.reshape(arrays[key].shape)
    assert failed(parity_cases(save(tmp_path / name, arrays))) == wrong


@pytest.mark.parametrize("direction", ["i2t", "t2i"])
@pytest.mark.parametrize("wrong", [0, 99, -1])
def test_a_wrong_caption_index_fails(direction: str, wrong: int, tmp_path: Path) -> None:
    arrays = load("cross_attention.npz")
    index = arrays[f"outputs/{direction}/caption_index"].copy()
    index[2] = wrong
    arrays[f"outputs/{direction}/caption_index"] = index
    assert failed(parity_cases(save(tmp_path / "x.npz", arrays)))


@pytest.mark.parametrize("name", ["full_i2t.npz", "full_t2i.npz"])
def test_wrong_weights_fail(name: str, tmp_path: Path) -> None:
    arrays = load(name)
    key = "weights/vit_model.layers.0.downsample.reduction.weight"
    arrays[key] = arrays[key] * np.float32(1.01)
    names = failed(parity_cases(save(tmp_path / name, arrays)))
    assert "outputs/eval/vit_stage_1" in names
    assert "outputs/eval/sims" in names
    assert "outputs/eval/bert_layer_3" not in names


def test_renamed_files_are_recognised(tmp_path: Path, cases_of: dict[str, list[ParityCase]]) -> None:
    for number, name in enumerate([*ARRAYS, MANIFEST]):
        copy = tmp_path / ("held-out" if number % 2 else "ranks.npz")
        shutil.copy(GOLDEN / name, copy)
        cases = parity_cases(copy)
        assert [case.name for case in cases] == [case.name for case in cases_of[name]]
        assert failed(cases) == set()


def test_a_file_may_lack_stage_0(tmp_path: Path) -> None:
    arrays = load("full_i2t.npz")
    del arrays["outputs/eval/vit_stage_0"]
    cases = parity_cases(save(tmp_path / "x.npz", arrays))
    assert {case.name for case in cases} == recorded(arrays)
    assert failed(cases) == set()


@pytest.mark.parametrize(
    "key", ["outputs/eval/vit_stage_7", "outputs/unheard_of", "outputs/eval/bert_layer_12"]
)
def test_a_recorded_array_that_nothing_answers_to_is_an_error(key: str, tmp_path: Path) -> None:
    arrays = load("full_i2t.npz")
    arrays[key] = np.zeros(3, dtype=np.float32)
    with pytest.raises(UserError, match=key):
        parity_cases(save(tmp_path / "x.npz", arrays))


@pytest.mark.parametrize("gone", ["outputs/eval/sims", "weights/vit_model.norm.weight", "inputs/lengths"])
def test_a_file_that_lacks_what_it_must_hold_is_an_error(gone: str, tmp_path: Path) -> None:
    arrays = load("full_i2t.npz")
    del arrays[gone]
    with pytest.raises(UserError) as caught:
        parity_cases(save(tmp_path / "x.npz", arrays))
    assert "\n" not in str(caught.value)


def test_other_files_are_left_to_others(tmp_path: Path) -> None:
    assert parity_cases(GOLDEN / "ranks.npz") == []
    assert parity_cases(GOLDEN / "text_preprocess.json") == []
    assert parity_cases(GOLDEN.parent / "evaluation" / "random_40x200.npz") == []
    (tmp_path / "notes.txt").write_text("nothing", encoding="utf-8")
    assert parity_cases(tmp_path / "notes.txt") == []
    broken = tmp_path / "broken.npz"
    broken.write_bytes((GOLDEN / "triplet_loss.npz").read_bytes()[:400])
    with pytest.raises(UserError):
        parity_cases(broken)


def test_any_wrong_entry_of_the_manifest_fails(tmp_path: Path) -> None:
    original = json.loads((GOLDEN / MANIFEST).read_text(encoding="utf-8"))
    key, buffer = "text_transformer.pooler.dense.bias", "vit_model.layers.2.blocks.17.attn_mask"
    changes: list[tuple[str, Any, str]] = [
        (key, [[769], "float32", "parameter"], "manifest/shapes"),
        (buffer, [[3, 49, 49], "float32", "buffer"], "manifest/shapes"),
        (key, [[768], "float64", "parameter"], "manifest/dtypes"),
        (buffer, [[4, 49, 49], "float32", "parameter"], "manifest/kinds"),
        ("vit_model.head.bias", [[3], "float32", "parameter"], "manifest/keys"),
        (key, None, "manifest/keys_lacking"),
    ]
    for entry, value, quantity in changes:
        manifest = {**original, entry: value}
        if value is None:
            del manifest[entry]
        path = tmp_path / "x.json"
        path.write_text(json.dumps(manifest), encoding="utf-8")
        assert quantity in failed(parity_cases(path))
