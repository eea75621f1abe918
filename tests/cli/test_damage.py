"""Damaged and foreign files: one line that names the file and what to do, and every file left as it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.tiny import (
    BOTH,
    I2T,
    T2I,
    change_recipe,
    cut_in_half,
    put,
    refused,
    rematch,
    reproduce,
    tiny_recipe,
    write_recipe,
)

I2T_WORK = Path(".rematch/scenes/hat-i2t/0")
T2I_WORK = Path(".rematch/scenes/hat-t2i/0")
I2T_RECORD = Path("results/runs/scenes/hat-i2t/0.json")
RESUME = ("reproduce", I2T, "--resume", "--no-latency", "--no-progress")


def test_a_truncated_checkpoint(home: Path) -> None:
    cut_in_half(I2T_WORK / "checkpoint.pt")
    error = refused(*RESUME)
    assert error.startswith(".rematch/scenes/hat-i2t/0/checkpoint.pt: not a readable checkpoint (")
    assert error.endswith("truncated or damaged); train anew without --resume")
    assert reproduce(I2T).good, home  # the advice works
    assert (I2T_WORK / "previous/checkpoint.pt").is_file()


def test_a_checkpoint_of_another_method(home: Path) -> None:
    path = I2T_WORK / "checkpoint.pt"
    state = torch.load(path, weights_only=True)
    state["recipe"] = json.dumps({**json.loads(state["recipe"]), "method": "toy"})
    torch.save(state, path)
    assert "found a checkpoint of method 'toy', expected 'hat'" in refused(*RESUME), home


def test_a_checkpoint_of_another_recipe(home: Path) -> None:
    (I2T_WORK / "checkpoint.pt").write_bytes((T2I_WORK / "checkpoint.pt").read_bytes())
    error = refused(*RESUME)
    assert 'the checkpoint was made with another recipe (model.direction: "t2i", now "i2t"); ' in error, home


def test_a_checkpoint_of_an_earlier_version_of_the_recipe(home: Path) -> None:
    change_recipe(I2T, put("training.optimizer.lr", 0.01))
    error = refused(*RESUME)
    assert "the checkpoint was made with another recipe (training.optimizer.lr: 0.001, now 0.01)" in error, (
        home
    )


def test_truncated_weights(home: Path) -> None:
    path = I2T_WORK / "best.safetensors"
    cut_in_half(path)
    for arguments in (("evaluate", "--recipe", I2T), RESUME, ("latency", I2T)):
        assert refused(*arguments).startswith(f"{path.as_posix()}: not a complete safetensors file ("), home


def test_weights_of_another_model(home: Path) -> None:
    document = tiny_recipe()
    document["model"]["text_layers"] = [1, 1, 2]
    document["model"]["bert"]["layers"] = 2
    other = write_recipe(Path("recipes/hat/scenes-deep.yaml"), document)
    error = refused("evaluate", "--recipe", other, "--checkpoint", I2T_WORK / "best.safetensors")
    assert "weights of another model: 16 missing (first 'text_encoder.encoder.layer.1." in error, home


def test_weights_of_another_recipe_are_remarked_on(home: Path) -> None:
    weights = T2I_WORK / "best.safetensors"
    said = rematch("evaluate", "--recipe", I2T, "--checkpoint", weights, "--no-progress").good
    assert "were not trained with this recipe as it is now" in said, home
    said = rematch("evaluate", "--recipe", T2I, "--checkpoint", weights, "--no-progress").good
    assert "were not trained with this recipe as it is now" not in said


def test_no_safetensors_at_all(home: Path) -> None:
    Path("weights.safetensors").write_text("[not] weights")
    error = refused("evaluate", "--recipe", I2T, "--checkpoint", "weights.safetensors")
    assert error.startswith("weights.safetensors: not a complete safetensors file ("), home


@pytest.mark.parametrize(
    "arguments",
    [
        ("leaderboard",),
        ("leaderboard", "--check"),
        ("list", "runs"),
        ("list",),
        ("reproduce", BOTH),
        ("drift", "--update"),
    ],
)
def test_a_half_written_record(home: Path, arguments: tuple[object, ...]) -> None:
    cut_in_half(I2T_RECORD)
    error = refused(*arguments)
    assert error.startswith(f"{I2T_RECORD.as_posix()}: not a complete JSON document ("), home
    assert error.endswith("delete it and run again")


def test_a_record_that_was_edited(home: Path) -> None:
    I2T_RECORD.write_text(I2T_RECORD.read_text().replace('"r1": ', '"r1": 1', 1))
    assert refused("leaderboard").startswith(f"{I2T_RECORD.as_posix()}: "), home


def test_another_runs_record_does_not_stop_a_training(home: Path) -> None:
    cut_in_half(I2T_RECORD)
    assert reproduce(T2I, "--no-tables").good, home
