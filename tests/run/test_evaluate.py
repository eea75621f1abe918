"""Weights without a training: our own give the record's numbers, the authors' leave a record of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from baselines.hat.checks.parity import official_key
from benchmark.files import sha256_file
from benchmark.training import read_weights
from tests.baselines.hat.test_checkpoint import save_lightning
from tests.tiny import I2T, Outcome, change_recipe, contents, cut_in_half, record_of, rematch

RUNS = Path("results/runs/scenes")
I2T_WORK = Path(".rematch/scenes/hat-i2t/0")


def evaluate(*arguments: object) -> Outcome:
    return rematch("evaluate", *arguments, "--device", "cpu", "--no-progress")


def test_evaluate_gives_the_records_metrics(home: Path) -> None:
    before = contents(Path("results"))
    record = record_of("hat-i2t").results["scenes"].metrics
    said = evaluate("--recipe", I2T, "--save-sims", "out/sims.npy").good
    assert (home / "out/sims.npy").read_bytes() == (I2T_WORK / "sims.npy").read_bytes()
    assert f"{record.rsum:.1f} [" in said
    assert f"{record.i2t.r10:.1f} [" in said
    assert f"{record.t2i.r1:.1f} [" in said
    assert contents(Path("results")) == before  # no record of its own
    assert rematch("score", "out/sims.npy", "--dataset", "scenes").good.count(f"{record.rsum:.1f} [") == 1


def test_evaluate_takes_the_named_weights_and_the_recipes_seed(home: Path) -> None:
    weights = (I2T_WORK / "best.safetensors").rename("mine.safetensors")
    evaluate("--recipe", I2T, "--checkpoint", weights, "--save-sims", "sims.npy")
    assert Path("sims.npy").read_bytes() == (I2T_WORK / "sims.npy").read_bytes(), home
    change_recipe(I2T, lambda document: document["training"].update(seed=5))
    assert (
        ".rematch/scenes/hat-i2t/5/best.safetensors: no such weights file" in evaluate("--recipe", I2T).error
    )
    assert "hat-i2t/0/best.safetensors: no such weights" in evaluate("--recipe", I2T, "--seed", 0).error


def authors_checkpoint(path: Path, **changes: Any) -> Path:
    """The trained weights in the layout of the authors' checkpoint."""
    state, _ = read_weights(I2T_WORK / "best.safetensors")
    named = {official_key(name): tensor for name, tensor in state.items()}
    save_lightning(path, {name: tensor for name, tensor in (named | changes).items() if tensor is not None})
    return path


def test_an_authors_checkpoint_leaves_a_record_of_its_own(home: Path) -> None:
    path = authors_checkpoint(home / "epoch=68.ckpt")
    before = contents(RUNS)
    said = evaluate("--recipe", I2T, "--official-checkpoint", "epoch=68.ckpt", "--save-sims", "sims.npy").good
    assert "authors' checkpoint: " in said
    after = contents(RUNS)
    assert {name: digest for name, digest in after.items() if name in before} == before
    assert after.keys() - before.keys() == {"hat-i2t-official/0.json", "hat-i2t-official/0.npz"}
    record, ours = record_of("hat-i2t-official"), record_of("hat-i2t")
    assert (record.weights, record.weights_sha256) == ("official", sha256_file(path))
    assert record.training is None
    assert record.results["scenes"].metrics == ours.results["scenes"].metrics
    assert any("tensors loaded" in note for note in record.notes)
    assert Path("sims.npy").read_bytes() == (I2T_WORK / "sims.npy").read_bytes()
    assert rematch("leaderboard").code == 0
    assert "hat-i2t-official" in Path("results/tables/scenes.md").read_text()


def test_a_damaged_authors_checkpoint_is_one_line(home: Path) -> None:
    path = authors_checkpoint(home / "epoch=68.ckpt")
    cut_in_half(path)
    before = contents()
    error = evaluate("--recipe", I2T, "--official-checkpoint", "epoch=68.ckpt").error
    assert error.startswith("epoch=68.ckpt")
    assert contents() == before


def test_an_authors_checkpoint_that_does_not_fit_is_one_line(home: Path) -> None:
    authors_checkpoint(home / "lacks.ckpt", **{"cross_modal_image_transform_1.bias": None})
    authors_checkpoint(home / "more.ckpt", **{"another.weight": torch.zeros(2)})
    before = contents()
    error = evaluate("--recipe", I2T, "--official-checkpoint", "lacks.ckpt").error
    assert "1 keys of the model are missing and 0 are unknown" in error
    error = evaluate("--recipe", I2T, "--official-checkpoint", "more.ckpt").error
    assert "0 keys of the model are missing and 1 are unknown, the first 'another.weight'" in error
    assert contents() == before
