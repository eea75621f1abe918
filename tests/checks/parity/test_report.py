"""Parity: all golden files pass, renamed copies pass, and one perturbed number anywhere fails."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.checks.parity.official_ranks import bounds_of, scalar_argsort
from benchmark.checks.parity.report import compare, not_compared, read_golden, run_parity
from benchmark.errors import UserError
from benchmark.method import ParityCase
from benchmark.places import GOLDEN
from benchmark.reporting.writers.terminal import write_text
from tests.evaluation.naive import naive_ranks

EVALUATION = sorted((GOLDEN / "evaluation").glob("*.npz"))
RANK_FILES = [*EVALUATION, GOLDEN / "hat" / "ranks.npz"]
TEXT = GOLDEN / "hat" / "text_preprocess.json"


@cache
def arrays(path: Path) -> dict[str, Any]:
    return read_golden(path)


def failed(*paths: Path) -> set[str]:
    report = run_parity("evaluation", list(paths))
    assert report.sheet().passed is not bool(report.failed)
    return {row.quantity for row in report.failed}


# ---------------------------------------------------------------------------- the recorded files


def test_evaluation_passes_as_a_whole() -> None:
    report = run_parity("evaluation")
    assert not report.failed
    assert report.ok
    assert {row.file for row in report.rows} == {path.name for path in EVALUATION}
    assert report.summary().startswith("parity evaluation: passed, ")


@pytest.mark.parametrize("path", RANK_FILES, ids=lambda path: path.stem)
def test_every_recorded_array_has_a_row(path: Path) -> None:
    rows = {row.quantity for row in run_parity("evaluation", [path]).rows}
    assert {key for key in arrays(path) if key.startswith("outputs/")} <= rows


@pytest.mark.parametrize("path", [*RANK_FILES, TEXT], ids=lambda path: path.stem)
def test_names_do_not_matter(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "ties_nan_full_i2t.data"
    shutil.copy(path, other)
    assert failed(other) == set()


def test_a_plain_file_under_the_name_of_a_tied_one(tmp_path: Path) -> None:
    """And with its configuration saying so: what is compared follows from the matrix."""
    content = dict(arrays(GOLDEN / "evaluation" / "ties_40x200.npz"))
    content["config"] = np.array(json.dumps({"kind": "plain", "captions_per_image": 5}))
    np.savez(tmp_path / "random_40x200.npz", **content)
    assert failed(tmp_path / "random_40x200.npz") == set()


# ------------------------------------------------------------------------------- perturbed copies


OUTPUTS = [(path, key) for path in RANK_FILES for key in arrays(path) if key.startswith("outputs/")]


def perturbations(value: np.ndarray) -> list[np.ndarray]:
    """The first, a middle and the last number, each a little up and down; a text with one digit changed."""
    if value.dtype.kind == "U":
        text = str(value)
        digits = [place for place, letter in enumerate(text) if letter.isdigit()]
        changed = []
        for place in (digits[0], digits[len(digits) // 2], digits[-1]):
            other = str((int(text[place]) + 1) % 10)
            changed.append(np.array(text[:place] + other + text[place + 1 :]))
        return changed
    result = []
    step = 1 if value.dtype.kind in "iu" else 1e-3
    for place in sorted({0, value.size // 2, value.size - 1}):
        for sign in (1, -1):
            copy = value.copy()
            copy.reshape(-1)[place] += sign * step
            result.append(copy)
    return result


@pytest.mark.parametrize(("path", "key"), OUTPUTS, ids=lambda item: getattr(item, "stem", item))
def test_one_perturbed_number_fails(path: Path, key: str, tmp_path: Path) -> None:
    content = arrays(path)
    choices = perturbations(content[key])
    value = choices[OUTPUTS.index((path, key)) % len(choices)]  # each kind on some array; all of them below
    np.savez(tmp_path / "copy.npz", **{**content, key: value})
    assert failed(tmp_path / "copy.npz")


@pytest.mark.parametrize("path", RANK_FILES, ids=lambda path: path.stem)
def test_every_perturbation_shows_in_its_own_row(path: Path, tmp_path: Path) -> None:
    """All arrays at once, but for the ranks of the sort that cannot be had: those are held to agree with themselves."""
    content = arrays(path)
    keys = [key for key in content if key.startswith("outputs/") and not key.endswith("ranks")]
    keys += [key for key in content if key.endswith("ranks") and "other_sort" not in key]
    for number in range(6):
        changed = {}
        for key in keys:
            choices = perturbations(content[key])
            changed[key] = choices[number % len(choices)]
        np.savez(tmp_path / "copy.npz", **{**content, **changed})
        assert failed(tmp_path / "copy.npz") == set(keys), number


@pytest.mark.parametrize("path", EVALUATION, ids=lambda path: path.stem)
def test_every_single_rank_counts(path: Path, tmp_path: Path) -> None:
    """Also where ties or the sort of another processor leave a rank open: any one rank, moved by one."""
    key = "outputs/other_sort/t2i_ranks"
    content = arrays(path)
    key = key if key in content else "outputs/user/t2i/ranks"
    for place in range(0, content[key].size, max(1, content[key].size // 6)):
        value = content[key].copy()
        value[place] += 1 if value[place] == 0 else -1
        np.savez(tmp_path / "copy.npz", **{**content, key: value})
        assert failed(tmp_path / "copy.npz"), place


def numbers_of(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to all numbers and recorded pieces of a JSON document."""
    if isinstance(document, dict):
        return [found for key, item in document.items() for found in numbers_of(item, (*path, key))]
    if isinstance(document, list):
        return [found for key, item in enumerate(document) for found in numbers_of(item, (*path, key))]
    return [path]


def test_every_recorded_value_of_the_captions_counts(tmp_path: Path) -> None:
    document = json.loads(TEXT.read_text(encoding="utf-8"))
    places = [p for p in numbers_of(document) if p[0] in ("rows", "collate") and p[-1] != "caption"]
    assert len(places) > 300
    for place in places[::11] + places[-1:]:
        copy = json.loads(json.dumps(document))
        inner = copy
        for part in place[:-1]:
            inner = inner[part]
        inner[place[-1]] = (
            "dog"
            if isinstance(inner[place[-1]], str) and inner[place[-1]] != "dog"
            else ("dogs" if isinstance(inner[place[-1]], str) else inner[place[-1]] + 1)
        )
        (tmp_path / "copy.json").write_text(json.dumps(copy), encoding="utf-8")
        assert failed(tmp_path / "copy.json"), place


def test_recorded_arrays_that_nobody_knows_fail(tmp_path: Path) -> None:
    content = {**arrays(RANK_FILES[0]), "outputs/rcar/i2t/novelty": np.zeros(3), "grads/sims": np.zeros(2)}
    np.savez(tmp_path / "copy.npz", **content)
    assert failed(tmp_path / "copy.npz") == {"outputs/rcar/i2t/novelty", "grads/sims"}
    document = json.loads(TEXT.read_text(encoding="utf-8"))
    document["rows"][3]["novelty"] = 1
    (tmp_path / "copy.json").write_text(json.dumps(document), encoding="utf-8")
    assert failed(tmp_path / "copy.json") == {"rows/novelty"}


def test_an_array_of_another_shape_fails(tmp_path: Path) -> None:
    content = dict(arrays(RANK_FILES[0]))
    content["outputs/hat/i2t/ranks"] = content["outputs/hat/i2t/ranks"][:-1]
    np.savez(tmp_path / "copy.npz", **content)
    assert failed(tmp_path / "copy.npz") == {"outputs/hat/i2t/ranks"}


# ----------------------------------------------------------------- nothing compared, bad input


def test_a_file_that_nobody_recognises_fails_the_run(tmp_path: Path) -> None:
    content: dict[str, Any] = {"inputs/x": np.zeros(2), "outputs/y": np.zeros(2)}
    np.savez(tmp_path / "other.npz", **content)
    (tmp_path / "other.json").write_text('{"a": 1}', encoding="utf-8")
    (tmp_path / "other.mat").write_bytes(b"MATLAB 5.0 MAT-file")
    report = run_parity("evaluation", [tmp_path, RANK_FILES[0]])
    assert {row.file for row in report.failed} == {"other.npz", "other.json", "other.mat"}
    assert report.sheet().passed is False


def test_a_run_in_which_nothing_was_compared_fails(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("no golden file", encoding="utf-8")
    report = run_parity("evaluation", [tmp_path])
    assert report.sheet().passed is False
    assert "nothing was compared" in report.summary()


@pytest.mark.parametrize("name", ["random_40x20.npz", "nothing"])
def test_missing_paths_are_one_line(name: str) -> None:
    with pytest.raises(UserError, match="no such file or folder"):
        run_parity("evaluation", [GOLDEN / "evaluation" / name])


def test_unknown_methods_name_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'evaluation'"):
        run_parity("evalution")
    with pytest.raises(UserError, match="did you mean 'hat'"):
        run_parity("hatt")


@pytest.mark.parametrize("content", [b"PK\x03\x04 cut off", b'{"vocab": [', b"PK"])
def test_damaged_files_are_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"bad\.npz: damaged: ") as caught:
        run_parity("evaluation", [tmp_path / "bad.npz"])
    assert "\n" not in str(caught.value)


# ------------------------------------------------------------------------------------- its parts


def case(expected: Any, actual: Any, tolerance: float = 0.1, relative: bool = False) -> ParityCase:
    return ParityCase("q", np.asarray(expected), np.asarray(actual), tolerance, relative)


def test_errors_are_the_largest_and_relative_to_the_largest() -> None:
    assert compare("f", case([1.0, 100.0], [1.05, 100.0])).error == pytest.approx(0.05)
    row = compare("f", case([1.0, 100.0], [6.0, 100.0], 0.1, True))
    assert row.error == pytest.approx(0.05)
    assert row.ok
    assert not compare("f", case([1.0, 100.0], [1.11, 100.0])).ok


def test_nothing_is_allowed_beside_a_recorded_zero() -> None:
    assert compare("f", case([0.0, 0.0], [0.0, 0.0], 1e-5, True)).ok
    assert not compare("f", case([0.0, 0.0], [0.0, 1e-9], 1e-5, True)).ok


def test_each_entry_may_have_a_tolerance_of_its_own() -> None:
    """1e-4 and a thousandth of 100 make 0.1001; beside a large entry, a small one is allowed no more for it."""
    expected = np.array([100.0, -100.0, 0.0])
    for off, ok in (([0.1, -0.1, 1e-4], True), ([0.1002, 0, 0], False), ([0, 0, 1.1e-4], False)):
        found = compare("f", ParityCase("q", expected, expected + np.array(off), 1e-4, share=1e-3))
        assert found.ok is ok, off
    half = compare("f", ParityCase("q", expected, expected + np.array([0.05005, 0, 0]), 1e-4, share=1e-3))
    assert half.error == pytest.approx(0.5)
    assert half.cells == ("0.5 of it", "0.0001 + 0.001 of each")
    assert not compare("f", ParityCase("q", expected, np.full(3, np.nan), 1e-4, share=1e-3)).ok


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        ([1.0], [np.nan]),
        ([np.nan], [np.nan]),
        ([np.inf], [np.inf]),
        ([1.0, 2.0], [1.0]),
        ([], []),
        (["a", "b"], ["a", "c"]),
    ],
)
def test_nan_shape_empty_and_text_never_pass(expected: Any, actual: Any) -> None:
    assert not compare("f", case(expected, actual, 0.5)).ok


def test_names_cover_a_key_only_as_a_whole() -> None:
    content = {"config": 0, "inputs/a": 0, "weights/b": 0, "outputs/sims": 0, "outputs/sims_1": 0}
    cases = [ParityCase("outputs/sims_1", np.zeros(1), np.zeros(1), 0.0)]
    assert not_compared(content, cases) == ["outputs/sims"]


def test_the_table_says_what_failed(tmp_path: Path) -> None:
    content = dict(arrays(RANK_FILES[0]))
    content["outputs/rsum"] = content["outputs/rsum"] + 1
    np.savez(tmp_path / "copy.npz", **content)
    report = run_parity("evaluation", [tmp_path / "copy.npz"])
    shown = {}
    for only_failed in (False, True):
        shown[only_failed] = write_text([report.sheet(only_failed)])
    assert "1 quantities out of tolerance" in report.summary()
    assert all("outputs/rsum" in text and "FAILED" in text for text in shown.values())
    assert "outputs/hat/i2t/ranks" in shown[False]
    assert "outputs/hat/i2t/ranks" not in shown[True]


@pytest.mark.parametrize("size", [1, 2, 16, 17, 18, 33, 200, 1000])
def test_the_sort_is_numpys_own(size: int) -> None:
    """NumPy sorts extended precision without vector instructions on every machine."""
    rng = np.random.default_rng(size)
    for levels in (1, 2, 7, 10**6):
        values = rng.integers(0, levels, size).astype(np.float32)
        values[rng.random(size) < 0.05] = np.nan
        assert scalar_argsort(values).tolist() == np.argsort(values.astype(np.longdouble)).tolist()


def test_bounds_are_the_best_and_the_worst_order() -> None:
    rng = np.random.default_rng(0)
    sims, caption_image = rng.integers(0, 4, (9, 30)).astype(np.float32), np.arange(30) % 9
    low, high = bounds_of(sims, caption_image)
    own = caption_image == np.arange(9)[:, None]
    nudged = naive_ranks(sims + 0.5 * own, caption_image, "lower_index")
    assert [low["i2t"].tolist(), low["t2i"].tolist()] == list(nudged)
    pessimistic = naive_ranks(sims, caption_image, "pessimistic")
    assert [high["i2t"].tolist(), high["t2i"].tolist()] == list(pessimistic)
