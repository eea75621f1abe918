"""Weights on disk: bit for bit, tied tensors once, and refused with a reason where they do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmark.errors import UserError
from benchmark.training import load_weights, read_weights, save_weights
from tests.toy import Toy, ToyConfig, toy_model, toy_recall
from tests.training.helpers import fresh, run, same_bits, toy_training

TRAINING = toy_training()


class Tied(Toy):
    """A toy with a tied parameter and a buffer that is a view into a larger one."""

    part: Tensor

    def __init__(self) -> None:
        super().__init__(ToyConfig())
        self.head = nn.Linear(16, 30, bias=False)
        self.head.weight = self.words.weight
        table = torch.arange(40.0)
        self.register_buffer("part", table[8:20].view(3, 4).T)


def test_weights_come_back_bit_for_bit(tmp_path: Path) -> None:
    model, _ = fresh(TRAINING, tmp_path / "run")
    path = tmp_path / "weights.safetensors"
    save_weights(path, model, {"source": "test"})
    other = toy_model(seed=8)
    assert load_weights(path, other) == {"source": "test"}
    assert same_bits(other.state_dict(), model.state_dict())
    assert toy_recall(other) == toy_recall(model)
    first = path.read_bytes()
    save_weights(path, other, {"source": "test"})
    assert path.read_bytes() == first


def test_tied_tensors_are_kept_once_and_come_back_tied(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    model = Tied()
    save_weights(path, model)
    assert path.stat().st_size < 4 * sum(value.numel() for value in set(model.state_dict().values())) + 2048
    state, notes = read_weights(path)
    assert notes == {}
    assert torch.equal(state["head.weight"], state["words.weight"])
    other = Tied()
    with torch.no_grad():
        other.part.zero_()
    load_weights(path, other)
    assert same_bits(other.state_dict(), model.state_dict())
    assert other.head.weight is other.words.weight


def test_tied_tensors_resume(tmp_path: Path) -> None:
    result = run(Tied(), TRAINING, tmp_path)
    model = Tied()
    run(model, TRAINING, tmp_path, resume=True)
    assert model.head.weight is model.words.weight
    assert torch.equal(model.words.weight, read_weights(result.best_weights)[0]["head.weight"])


def test_weights_of_another_model_are_refused_and_change_nothing(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    cases: list[tuple[Any, str]] = [
        (lambda model: model.register_buffer("extra", torch.ones(1)), r"1 unexpected \(first 'extra'\)"),
        (lambda model: delattr(model, "momentum"), r"2 missing \(first 'momentum\.weight'\)"),
        (
            lambda model: setattr(model, "momentum", nn.Linear(16, 4)),
            r"found float32 \(4, 16\), expected float32 \(16",
        ),
        (lambda model: model.double(), r"found float64 \(\d+.*\), expected float32"),
    ]
    for change, message in cases:
        other = toy_model(seed=4)
        change(other)
        save_weights(path, other)
        model = toy_model()
        with pytest.raises(UserError, match=message) as caught:
            load_weights(path, model)
        assert "weights.safetensors" in str(caught.value)
        assert same_bits(model.state_dict(), toy_model().state_dict())


def test_missing_truncated_and_foreign_weight_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    with pytest.raises(UserError, match=r"weights\.safetensors: no such weights file"):
        load_weights(path, toy_model())
    save_weights(path, toy_model())
    data = path.read_bytes()
    foreign = [b"", data[:7], data[:300], data[: len(data) // 2], data[:-1], b"not safetensors at all"]
    for content in foreign:
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"not a complete safetensors file \([^\n]*\)$"):
            load_weights(path, toy_model())


def test_frozen_and_tied_states_are_plain_tensors(tmp_path: Path) -> None:
    """What lies on disk needs nothing of ours to be read."""
    _, result = fresh(TRAINING, tmp_path)
    state, notes = read_weights(result.best_weights)
    assert all(isinstance(value, Tensor) for value in state.values())
    assert notes == {"epoch": result.best_epoch, "recipe_digest": "digest"}
