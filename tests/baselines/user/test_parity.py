"""Parity of USER: golden files pass, and copies with one wrong number, weight, formula or order of a step fail."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from baselines.layers.gpo import GPO
from baselines.user import enhancement
from baselines.user.checks.parity import parity_cases
from baselines.user.model import USER, UserLoss
from benchmark.batches import PairBatch
from benchmark.checks.parity.report import compare, run_parity
from benchmark.errors import UserError
from benchmark.method import ParityCase, Progress

GOLDEN = Path("tests/golden/user")
STEPS = ["train_two_steps_official.npz", "train_two_steps_soft.npz"]
PARTS = [
    "eval.npz",
    "gpo.npz",
    "image_encoder.npz",
    "image_encoder_lambda.npz",
    "text_encoder.npz",
    "uto_loss.npz",
]
ARRAYS = [*PARTS, *STEPS]

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
    assert {path.name for path in GOLDEN.glob("*.npz")} == set(ARRAYS)


@pytest.mark.parametrize("name", ARRAYS)
def test_golden_files_pass_and_every_array_is_compared(
    name: str, cases_of: dict[str, list[ParityCase]]
) -> None:
    arrays, cases = load(name), cases_of[name]
    assert failed(cases) == set()
    own = {case.name for case in cases}
    assert recorded(arrays) <= own
    extra = {key.split(" ")[0] for key in own - recorded(arrays)}
    assert extra <= {
        *("outputs/step1/unmoved", "outputs/step2/unmoved", "training_flags_after_step"),
        *("config/i2t", "config/t2i", "config/rsum"),
    }
    for case in cases:
        if case.name in arrays and not case.name.endswith("_json"):
            np.testing.assert_array_equal(case.expected, arrays[case.name])


def test_captions_are_compared_by_the_harness() -> None:
    report = run_parity("user", [GOLDEN / "caption_augmentation.json"])
    assert report.ok
    assert report.compared > 1000


@pytest.mark.parametrize("name", [*PARTS, STEPS[1]])
def test_one_wrong_number_fails_its_array(
    name: str, tmp_path: Path, cases_of: dict[str, list[ParityCase]]
) -> None:
    """One number of every array is moved by ten tolerances; of JSON, where a number is text, none."""
    arrays, generator, wrong = load(name), np.random.default_rng(0), set()
    for case in cases_of[name]:
        if case.name not in arrays or case.expected.dtype.kind == "U" or case.name.endswith("_json"):
            continue
        flat = arrays[case.name].reshape(-1).copy()
        where = int(generator.integers(flat.size))
        if case.name.endswith(("bert_last_hidden", "word_emb")):
            where = 0  # places after a caption's last aren't compared
        step = 10 * (case.tolerance + case.share * abs(float(flat[where])))
        flat[where] += max(step, 1 if flat.dtype.kind in "iu" or not case.tolerance else 0)
        arrays[case.name] = flat.reshape(arrays[case.name].shape)
        wrong.add(case.name)
    assert len(wrong) > 3
    assert wrong <= failed(parity_cases(save(tmp_path / name, arrays)))


@pytest.mark.parametrize("key", ["weights/q/img/fc.weight", "weights/k/txt/linear.weight"])
def test_wrong_weights_fail(key: str, tmp_path: Path) -> None:
    arrays = load(STEPS[1])
    arrays[key] = arrays[key] * np.float32(1.05)
    assert {"outputs/step1/total", "outputs/step2/total"} <= failed(
        parity_cases(save(tmp_path / "x.npz", arrays))
    )


# ------------------------------------------------------------------------------------ common mistakes


def test_another_gate_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def softmax_alone(regions: Tensor, guide: Tensor, sharpness: float) -> Tensor:
        return (sharpness * (regions @ guide[..., None]).squeeze(2)).softmax(1)

    monkeypatch.setattr(enhancement, "region_gate", softmax_alone)
    assert {"outputs/eval/enhanced_regions", "outputs/train/embedding"} <= failed(
        parity_cases(GOLDEN / "image_encoder_lambda.npz")
    )


def test_features_that_are_not_sorted_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    def unsorted(self: GPO, vectors: Tensor, lengths: Tensor) -> Tensor:
        weights = self.weights(lengths)
        return (weights[:, None] @ vectors[:, : weights.shape[1]]).squeeze(1)

    monkeypatch.setattr(GPO, "forward", unsorted)
    assert "outputs/full/pooled" in failed(parity_cases(GOLDEN / "gpo.npz"))


@pytest.mark.parametrize(
    "mistake", ["follow after", "buffers too", "own keys in the loss", "diagonal left out"]
)
def test_another_order_or_form_of_a_step_fails(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the file whose constants make every effect visible."""
    prepare, objective = USER.prepare_batch, USER.objective

    def prepared(self: USER, batch: PairBatch, progress: Progress) -> PairBatch:
        if mistake == "follow after":  # keys by the weights before the momentum update
            keys = {
                "image_keys": self.image_keys(batch.images.pixels, batch_statistics=True)[0],
                "text_keys": self.text_keys(batch.captions.ids, batch.captions.lengths),
            }
            found = prepare(self, batch, progress)
            return PairBatch(found.images, found.captions, {name: keys[name].detach() for name in keys})
        found = prepare(self, batch, progress)
        if mistake == "buffers too":
            for kept, latest in zip(self.image_keys.buffers(), self.image_encoder.buffers(), strict=True):
                kept.copy_(latest)
        return found

    def lost(self: USER, codes: Any, progress: Progress, pair_budget: int | None) -> Tensor:
        if mistake == "own keys in the loss":
            self.after_step(codes)
        return objective(self, codes, progress, pair_budget)

    monkeypatch.setattr(USER, "prepare_batch", prepared)
    monkeypatch.setattr(USER, "objective", lost)
    if mistake == "diagonal left out":

        def without(images: Tensor, captions: Tensor, loss: UserLoss) -> Tensor:
            scores = images @ captions.T
            own = torch.eye(len(scores), dtype=torch.bool)
            rest = (loss.scale * (scores - loss.threshold)).masked_fill(own, -torch.inf)
            costs = rest.logsumexp(0).exp().log1p() + rest.logsumexp(1).exp().log1p()
            return (costs / loss.scale - scores.diagonal().relu().log1p()).mean()

        monkeypatch.setattr("baselines.user.model.batch_loss", without)
        monkeypatch.setattr("baselines.user.checks.parity.batch_loss", without)
        assert "outputs/soft/in_batch" in failed(parity_cases(GOLDEN / "uto_loss.npz"))
        return
    names = failed(parity_cases(GOLDEN / STEPS[1]))
    expected = {
        "follow after": "outputs/step1/le_moco",
        "buffers too": "outputs/step2/k/img/mlp.bns.0.running_var",
        "own keys in the loss": "outputs/step1/total",
    }
    assert expected[mistake] in names


def test_momentum_encoders_in_other_modes_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(USER, "train", torch.nn.Module.train)
    assert "training_flags_after_step" in failed(parity_cases(GOLDEN / STEPS[0]))


# -------------------------------------------------------------------------- files that are something else


def test_renamed_files_are_recognised(tmp_path: Path, cases_of: dict[str, list[ParityCase]]) -> None:
    for name in PARTS:
        copy = tmp_path / "held-out"
        shutil.copy(GOLDEN / name, copy)
        assert [case.name for case in parity_cases(copy)] == [case.name for case in cases_of[name]]


@pytest.mark.parametrize("name", ["image_encoder.npz", "uto_loss.npz", STEPS[0]])
def test_a_recorded_array_that_nothing_answers_to_is_an_error(name: str, tmp_path: Path) -> None:
    arrays = load(name)
    arrays["outputs/unheard_of"] = np.zeros(3, dtype=np.float32)
    with pytest.raises(UserError, match="unheard_of"):
        parity_cases(save(tmp_path / "x.npz", arrays))


@pytest.mark.parametrize("gone", ["inputs/v_queue", "weights/q/txt/linear.bias", "inputs/step2/lengths"])
def test_a_file_that_lacks_what_it_must_hold_is_an_error(gone: str, tmp_path: Path) -> None:
    arrays = load(STEPS[0])
    del arrays[gone]
    with pytest.raises(UserError) as caught:
        parity_cases(save(tmp_path / "x.npz", arrays))
    assert "\n" not in str(caught.value)


def test_other_files_are_left_to_others(tmp_path: Path) -> None:
    for other in ("hat/triplet_loss.npz", "sgraf/loss_cases.npz", "rcar/t2i_rcar2.npz"):
        assert parity_cases(GOLDEN.parent / other) == []
    (tmp_path / "notes.txt").write_text("nothing", encoding="utf-8")
    assert parity_cases(tmp_path / "notes.txt") == []
