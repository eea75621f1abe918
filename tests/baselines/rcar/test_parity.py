"""Parity of RCAR: golden files pass, and copies with one wrong number, weight or formula fail."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from baselines.attention.cross_attention import attention_weights
from baselines.attention.regulators import CorrespondenceRegulator, Focus
from baselines.rcar.checks.parity import SIGNED, parity_cases
from benchmark.checks.parity.report import compare
from benchmark.errors import UserError
from benchmark.method import ParityCase

GOLDEN = Path("tests/golden/rcar")
MODELS = sorted(path.name for path in GOLDEN.glob("?2?_*.npz"))
ARRAYS = [*MODELS, "loss_cases.npz"]
SOME = ["i2t_rcar3_saturated.npz", "t2i_rcr2.npz", "t2i_rar3.npz", "i2t_base.npz", "loss_cases.npz"]

Arrays = dict[str, np.ndarray[Any, Any]]


def load(name: str) -> Arrays:
    with np.load(GOLDEN / name) as file:
        return {key: file[key] for key in file.files}


def save(path: Path, arrays: Arrays) -> Path:
    with path.open("wb") as handle:
        np.savez(handle, **arrays)  # type: ignore[arg-type]
    return path


def recorded(arrays: Arrays) -> set[str]:
    return {key for key in arrays if key.startswith(("outputs/", "grads/", "grads_sum/", "after_step/"))}


def failed(cases: list[ParityCase]) -> set[str]:
    return {case.name for case in cases if not compare("file", case).ok}


@pytest.fixture(scope="module")
def cases_of() -> dict[str, list[ParityCase]]:
    return {name: parity_cases(GOLDEN / name) for name in ARRAYS}


def test_the_golden_folder_is_complete() -> None:
    assert len(MODELS) == 16
    assert {path.name for path in GOLDEN.glob("*.npz")} == set(ARRAYS)


@pytest.mark.parametrize("name", ARRAYS)
def test_golden_files_pass_and_every_array_is_compared(
    name: str, cases_of: dict[str, list[ParityCase]]
) -> None:
    arrays, cases = load(name), cases_of[name]
    assert failed(cases) == set()
    assert {case.name for case in cases} == recorded(arrays)
    for case in cases:
        np.testing.assert_array_equal(case.expected, arrays[case.name])


def test_few_stepped_weights_are_left_out(cases_of: dict[str, list[ParityCase]]) -> None:
    """Those with a gradient too small to have a sign; everything else of a stepped weight is compared."""
    for name in MODELS:
        arrays, compared = load(name), []
        for key in (case.name.removeprefix("after_step/") for case in cases_of[name]):
            if f"after_step/{key}" in arrays and f"grads/{key}" in arrays:
                size = np.abs(arrays[f"grads/{key}"])
                compared.append(((size == 0) | (size > SIGNED)).ravel())
                assert compared[-1].mean() > 0.1, (name, key)
        assert np.concatenate(compared).mean() > 0.85, name


@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize("seed", [0, 1])
def test_one_wrong_number_fails_its_array(
    name: str, seed: int, tmp_path: Path, cases_of: dict[str, list[ParityCase]]
) -> None:
    """The largest number of every array, or another, is moved by ten tolerances."""
    arrays, generator = load(name), np.random.default_rng(seed)
    wrong = set()
    for case in cases_of[name]:
        step = 10 * case.tolerance * ((float(np.abs(case.expected).max()) or 1.0) if case.relative else 1.0)
        step = max(step, 1 if case.expected.dtype.kind in "iu" else 0)
        flat = arrays[case.name].reshape(-1).copy()
        gradients = arrays.get(case.name.replace("after_step/", "grads/"), flat)
        where = int(generator.integers(flat.size))
        if case.name.startswith("after_step/") and np.abs(gradients).max() > SIGNED:
            where = int(np.abs(gradients).argmax())
        elif case.relative:  # a larger largest number would move the tolerance with it, by little
            where = int(np.abs(flat).argmin())
        step += 10 * case.share * abs(float(flat[where]))
        moved = flat[where] + (step if generator.random() < 0.5 else -step)
        if moved.astype(flat.dtype) == flat[where]:
            continue
        flat[where] = moved
        arrays[case.name] = flat.reshape(arrays[case.name].shape)
        wrong.add(case.name)
    found = failed(parity_cases(save(tmp_path / name, arrays)))
    assert len(wrong) > 0.95 * len(cases_of[name])
    assert {key for key in wrong - found if not key.startswith("after_step/")} == set()


@pytest.mark.parametrize("name", [name for name in SOME if "loss" not in name and "base" not in name])
def test_wrong_weights_fail(name: str, tmp_path: Path) -> None:
    arrays = load(name)
    key = "weights/sim_enc.alv_modules.0.sim_transform_w.weight"
    arrays[key] = arrays[key] * np.float32(1.05) + np.float32(0.01)
    names = failed(parity_cases(save(tmp_path / name, arrays)))
    assert {"outputs/eval/sims", "outputs/train/sims_forward", "outputs/train/loss_sum"} <= names
    assert "outputs/trace/alv_modules.0" in names
    assert "outputs/trace/attn0/wcontext" not in names


# --------------------------------------------------------------------- common mistakes (tests/golden/rcar/README.md)


@pytest.mark.parametrize("name", ["i2t_rcar3_saturated.npz", "t2i_rcr4_saturated.npz"])
@pytest.mark.parametrize("mistake", ["no clamp", "not accumulated", "no relu", "one for all positions"])
def test_a_mistake_in_the_regulator_fails(name: str, mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = CorrespondenceRegulator.forward

    def forward(self: CorrespondenceRegulator, alignment: Tensor, focus: Focus) -> Focus:
        if mistake == "not accumulated":
            return right(self, alignment, Focus(None, focus.temperature))
        if mistake == "one for all positions":
            found = right(self, alignment, focus)
            assert found.modulation is not None
            return Focus(
                found.modulation.mean(2, keepdim=True).expand_as(found.modulation), found.temperature
            )
        step = self.modulation_step(self.modulation_hidden(alignment).tanh()).tanh()
        change = self.temperature_step(self.temperature_hidden(alignment).tanh())
        sums = step + (1.0 if focus.modulation is None else focus.modulation), focus.temperature + change
        return (
            Focus(sums[0], sums[1].relu()) if mistake == "no clamp" else Focus(sums[0].clamp(-1, 1), sums[1])
        )

    monkeypatch.setattr(CorrespondenceRegulator, "forward", forward)
    names = failed(parity_cases(GOLDEN / name))
    assert names & {"outputs/eval/sims", "outputs/train/sims_forward"}, names
    assert "outputs/eval/img_emb" not in names


@pytest.mark.parametrize("slope", [0.0, 1.0])
def test_a_mistake_in_the_attention_fails(slope: float, monkeypatch: pytest.MonkeyPatch) -> None:
    def weights(products: Tensor, **settings: Any) -> Tensor:
        return attention_weights(products, **{**settings, "slope": slope})

    monkeypatch.setattr("baselines.attention.alignment.attention_weights", weights)
    for name in ("t2i_rcar2.npz", "i2t_rcr2.npz"):
        assert {"outputs/eval/sims", "outputs/train/sims_forward"} <= failed(parity_cases(GOLDEN / name))


# ------------------------------------------------------------------------------ files that are something else


def test_renamed_files_are_recognised(tmp_path: Path, cases_of: dict[str, list[ParityCase]]) -> None:
    for name in SOME:
        copy = tmp_path / "held-out"
        shutil.copy(GOLDEN / name, copy)
        cases = parity_cases(copy)
        assert [case.name for case in cases] == [case.name for case in cases_of[name]]
        assert failed(cases) == set()


@pytest.mark.parametrize(
    "key", ["outputs/trace/alv_modules.7", "outputs/unheard_of", "after_step/unheard_of"]
)
def test_a_recorded_array_that_nothing_answers_to_is_an_error(key: str, tmp_path: Path) -> None:
    arrays = load("t2i_rcar2.npz")
    arrays[key] = np.zeros(3, dtype=np.float32)
    with pytest.raises(UserError):
        parity_cases(save(tmp_path / "x.npz", arrays))


@pytest.mark.parametrize(
    "gone", ["outputs/eval/sims", "weights/txt_enc.embed.weight", "inputs/train_lengths"]
)
def test_a_file_that_lacks_what_it_must_hold_is_an_error(gone: str, tmp_path: Path) -> None:
    arrays = load("i2t_rcar2.npz")
    del arrays[gone]
    with pytest.raises(UserError) as caught:
        parity_cases(save(tmp_path / "x.npz", arrays))
    assert "\n" not in str(caught.value)


def test_an_impossible_configuration_is_an_error(tmp_path: Path) -> None:
    arrays = load("i2t_rcar2.npz")
    config = json.loads(str(arrays["config"]))
    for changes in ({"self_regulator": "only_rcr"}, {"embed_size": 17}, {"rcar_step": 3}):
        arrays["config"] = np.array(json.dumps({**config, **changes}))
        with pytest.raises(UserError) as caught:
            parity_cases(save(tmp_path / "x.npz", arrays))
        assert "\n" not in str(caught.value)


def test_other_files_are_left_to_others(tmp_path: Path) -> None:
    for other in ("hat/triplet_loss.npz", "hat/full_i2t.npz", "sgraf/loss_cases.npz", "sgraf/saf_base.npz"):
        assert parity_cases(GOLDEN.parent / other) == []
    (tmp_path / "notes.txt").write_text("nothing", encoding="utf-8")
    assert parity_cases(tmp_path / "notes.txt") == []
    broken = tmp_path / "broken.npz"
    broken.write_bytes((GOLDEN / "loss_cases.npz").read_bytes()[:400])
    with pytest.raises(UserError):
        parity_cases(broken)
