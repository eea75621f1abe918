"""Parity of the dual-path CNN: golden files pass, every array is compared, and wrong numbers or weights fail."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from baselines.dualpath.checks.parity import parity_cases
from benchmark.checks.parity.report import check_file, compare
from benchmark.errors import UserError
from benchmark.method import ParityCase

GOLDEN = Path("tests/golden/dualpath")
ALONE = ["rankloss_0", "rankloss_1", "rankloss_2", "softmaxlog_0", "softmaxlog_1"]
MODELS = ["eval_a", "eval_b", "mining_a", "stage1_a", "stage1_b_mask_ignore", "stage2_a", "stage2_b_mask"]
HARNESS = ["metric_0.npz", "metric_1.npz", "text_encoding.json"]
MADE = ("outputs/", "grads/", "after_step")

Arrays = dict[str, np.ndarray[Any, Any]]


def load(name: str) -> Arrays:
    with np.load(GOLDEN / f"{name}.npz") as file:
        return {key: file[key] for key in file.files}


def save(path: Path, arrays: Arrays) -> Path:
    with path.open("wb") as handle:
        np.savez(handle, **arrays)  # type: ignore[arg-type]
    return path


def failed(cases: list[ParityCase]) -> set[str]:
    return {case.name for case in cases if not compare("file", case).ok}


def test_the_golden_folder_is_complete() -> None:
    names = {*(f"{name}.npz" for name in [*ALONE, *MODELS]), *HARNESS, "layer_lists.json", "net-epoch-1.mat"}
    assert {path.name for path in GOLDEN.iterdir()} == names | {"README.md"}


@pytest.mark.parametrize("name", [*ALONE, *MODELS])
def test_golden_files_pass_and_every_array_is_compared(name: str) -> None:
    arrays, cases = load(name), parity_cases(GOLDEN / f"{name}.npz")
    assert failed(cases) == set()
    assert {case.name for case in cases} == {key for key in arrays if key.startswith(MADE)}


@pytest.mark.parametrize("name", HARNESS)
def test_what_is_the_harness_s_passes(name: str) -> None:
    rows = check_file("dualpath", GOLDEN / name)
    assert len(rows) >= 6
    assert all(row.ok for row in rows)


def test_full_size_layers_and_counts_are_the_published_ones() -> None:
    cases = parity_cases(GOLDEN / "layer_lists.json")
    assert failed(cases) == set()
    assert sum("/parameters/" in case.name for case in cases) == 16
    assert len(cases) == 700


@pytest.mark.parametrize("name", ["eval_a", "stage2_a", "rankloss_1"])
def test_one_wrong_number_fails_its_array(name: str, tmp_path: Path) -> None:
    arrays, wrong = load(name), set()
    for key in arrays:
        if key.startswith(MADE) and np.abs(arrays[key]).max() > 1e-9 and arrays[key].dtype.kind == "f":
            flat = arrays[key].reshape(-1).copy()
            flat[np.abs(flat).argmax()] *= 1.001
            arrays[key] = flat.reshape(arrays[key].shape)
            wrong.add(key)
    assert failed(parity_cases(save(tmp_path / "x.npz", arrays))) == wrong


@pytest.mark.parametrize(
    ("name", "key"),
    [("eval_a", "fc2_1_2f"), ("eval_b", "fc1_1bn_m"), ("mining_a", "fc2f"), ("stage1_a", "fcsharef")],
)
def test_wrong_weights_fail(name: str, key: str, tmp_path: Path) -> None:
    arrays = load(name)
    arrays[f"weights/{key}"] = arrays[f"weights/{key}"] * np.float32(1.05) + np.float32(0.01)
    assert failed(parity_cases(save(tmp_path / "x.npz", arrays)))


def test_a_wrong_multiplier_fails(tmp_path: Path) -> None:
    arrays = load("stage2_a")
    config = json.loads(str(arrays["config"]))
    config["lr_mult"]["fc5_2f"] = 0.2
    arrays["config"] = np.array(json.dumps(config))
    assert "after_step1/fc5_2f" in failed(parity_cases(save(tmp_path / "x.npz", arrays)))


def test_what_isn_t_known_is_refused(tmp_path: Path) -> None:
    arrays = load("eval_b")
    with pytest.raises(UserError, match="unknown to the dual-path's parity"):
        parity_cases(save(tmp_path / "x.npz", {**arrays, "outputs/more": np.ones(2)}))
    del arrays["weights/fc2f"]
    with pytest.raises(UserError, match="can't be replayed"):
        parity_cases(save(tmp_path / "y.npz", arrays))


def test_a_file_is_recognised_by_its_content(tmp_path: Path) -> None:
    shutil.copy(GOLDEN / "rankloss_0.npz", tmp_path / "metric.npz")
    assert failed(parity_cases(tmp_path / "metric.npz")) == set()
    (tmp_path / "layer_lists.json").write_text('{"a": 1}')
    assert parity_cases(tmp_path / "layer_lists.json") == []
    (tmp_path / "net.mat").write_bytes(b"nothing")
    assert parity_cases(tmp_path / "net.mat") == []
