"""Parity of the detector: the recordings pass under any name, and a change anywhere in one fails."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.checks.parity.detector import THINNED, recorded_sizes, weight_cases
from benchmark.checks.parity.report import compare, read_golden, run_parity
from benchmark.data.regions.detector.formula import formula_weights
from benchmark.data.regions.detector.network import PUBLISHED
from benchmark.data.regions.detector.published import sizes_of
from benchmark.errors import UserError
from benchmark.guarded import parse_json
from benchmark.places import GOLDEN
from tests.data.regions.detector.narrow import golden, narrow_weights
from tests.tiny import rematch

NARROW = ("narrow_a", "narrow_b_portrait", "narrow_f_nms06")


def saved(path: Path, arrays: dict[str, Any]) -> Path:
    with path.open("wb") as handle:
        np.savez(handle, **arrays)
    return path


def failed(path: Path) -> set[str]:
    return {row.quantity for row in run_parity("detector", [path]).failed}


def outputs(arrays: dict[str, Any]) -> set[str]:
    return {key for key in arrays if key.startswith("outputs/")}


def test_the_narrow_recordings_pass() -> None:
    report = run_parity("detector", [GOLDEN / "detector" / f"{name}.npz" for name in NARROW])
    assert report.failed == []
    for name in NARROW:
        rows = {row.quantity for row in report.rows if row.file == f"{name}.npz"}
        assert rows == outputs(golden(name))


def test_a_renamed_copy_passes_by_command_and_a_changed_one_fails(tmp_path: Path) -> None:
    copy = tmp_path / "full_ranks.data"
    copy.write_bytes((GOLDEN / "detector" / "narrow_f_nms06.npz").read_bytes())
    assert rematch("parity", "detector", copy).code == 0
    arrays = dict(golden("narrow_f_nms06"))
    arrays["outputs/kept_obj_ids"] = arrays["outputs/kept_obj_ids"].copy()
    arrays["outputs/kept_obj_ids"][0, 35] += 1
    outcome = rematch("parity", "detector", saved(copy, arrays), "--failed")
    assert outcome.code == 1
    assert "outputs/kept_obj_ids" in outcome.out


def test_one_changed_number_in_any_array_is_noticed(tmp_path: Path) -> None:
    arrays = dict(golden("narrow_f_nms06"))
    for key in outputs(arrays):
        changed = arrays[key].copy()
        changed[(-1,) * changed.ndim] += 1 if changed.dtype.kind == "i" else 0.025
        arrays[key] = changed
    assert failed(saved(tmp_path / "changed.npz", arrays)) == outputs(arrays)


BEFORE_CLASSES = (
    "input",
    "res4",
    "objectness_logits",
    "anchor_deltas",
    "proposals",
    "proposal_logits",
    "pooled",
)


def test_what_goes_in_decides_what_comes_out(tmp_path: Path) -> None:
    arrays = dict(golden("narrow_f_nms06"))
    others = {
        "colours": arrays | {"image_bgr": arrays["image_bgr"][..., ::-1]},
        "size": arrays | {"short_side": np.array(150)},
        "bias": {key: -array if key.endswith("cls_score.bias") else array for key, array in arrays.items()},
    }
    found = {name: failed(saved(tmp_path / "changed.npz", other)) for name, other in others.items()}
    assert found["colours"] >= outputs(arrays) - {"outputs/kept_attr_ids"}
    assert found["size"] >= {"outputs/input", "outputs/res4", "outputs/proposals", "outputs/kept_boxes"}
    assert found["bias"] >= {"outputs/obj_logits", "outputs/kept_obj_probs"}
    assert not found["bias"] & {f"outputs/{name}" for name in BEFORE_CLASSES}


def test_an_array_that_nothing_is_beside_of_fails(tmp_path: Path) -> None:
    arrays = golden("narrow_f_nms06") | {"outputs/masks": np.ones(3), "notes": np.ones(1)}
    assert failed(saved(tmp_path / "more.npz", arrays)) == {"outputs/masks", "notes"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pre_nms_top": 5000}, r"'config\.pre_nms_top': found 5000, expected 6000"),
        ({"roi_nms": [0.5]}, r"'config\.roi_nms': found \[0\.5\]"),
        ({"classes": 41}, "found .*classes=41.* expected the weights'"),
        ({"depth": 34}, "cannot be replayed: KeyError"),
    ],
)
def test_other_constants_are_another_port(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    arrays = dict(golden("narrow_a"))
    config = parse_json(str(arrays["config"])) | change
    path = saved(tmp_path / "other.npz", arrays | {"config": np.array(json.dumps(config))})
    with pytest.raises(UserError, match=message):
        run_parity("detector", [path])


def test_missing_weights_are_named(tmp_path: Path) -> None:
    arrays = dict(golden("narrow_a"))
    del arrays["weights/backbone.res3.1.conv2.weight"]
    with pytest.raises(UserError, match=r"found no 'backbone\.res3\.1\.conv2\.weight'"):
        run_parity("detector", [saved(tmp_path / "less.npz", arrays)])


def test_other_files_are_not_the_detectors(tmp_path: Path) -> None:
    path = saved(tmp_path / "other.npz", {"outputs/kept_roi_features": np.ones((1, 36, 8))})
    (row,) = run_parity("detector", [path]).rows
    assert (row.ok, row.note) == (False, "not recognised by detector")


def test_the_detector_is_among_all(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def note(name: str, _files: object) -> Any:
        asked.append(name)
        return run_parity("evaluation", [GOLDEN / "evaluation" / "tiny_1x5.npz"])

    monkeypatch.setattr("benchmark.checks.parity.report.run_parity", note)
    assert rematch("parity", "all").code == 0
    assert asked[:2] == ["evaluation", "detector"]


def test_the_sums_of_weights_by_formula_are_compared() -> None:
    sizes = sizes_of(narrow_weights())
    weights = formula_weights(sizes, 0.5, np.zeros(41, np.float32))
    key = "backbone.res3.0.conv1.weight"
    flat = weights[key].double().flatten()
    checks = {f"weight_checks/{key}": np.array([float(flat.sum()), *flat[:3].tolist()])}
    (case,) = weight_cases(checks, weights)
    assert compare("x", case).ok
    checks[f"weight_checks/{key}"][2] *= 1 + 1e-6
    (case,) = weight_cases(checks, weights)
    assert not compare("x", case).ok


def test_the_full_recording_is_of_the_published_sizes() -> None:
    recorded = read_golden(GOLDEN / "detector" / "full_a.npz")
    assert recorded_sizes(parse_json(str(recorded["config"]))) == PUBLISHED
    assert recorded["outputs/obj_logits"].shape == np.zeros((60, 1601))[THINNED["obj_logits"]].shape
