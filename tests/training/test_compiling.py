"""`training.compile`: what is compiled, when, and that nothing else notices."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from benchmark.errors import UserError
from benchmark.training import compiling
from benchmark.training.compiling import compile_parts, in_place
from tests.toy import Toy, toy_model
from tests.training.helpers import RECIPE, fresh, run, same_bits, state_of, toy_training


@pytest.fixture(autouse=True)
def traced(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Parts are traced in full and then run as ever, without the compiler, which takes its time."""
    monkeypatch.setattr(compiling, "BACKEND", "eager")
    monkeypatch.setattr(Toy, "compilable", lambda self: [(self.projection, "forward")])
    yield
    torch._dynamo.reset()


def test_what_is_trained_compiled_equals_what_is_not(tmp_path: Path) -> None:
    (_, plain), (model, compiled) = (
        fresh(toy_training(compile=on), tmp_path / str(on)) for on in (False, True)
    )
    for one, other in zip(plain.log, compiled.log, strict=True):
        assert other["losses"] == pytest.approx(one["losses"], rel=1e-5)
        assert other["validation"] == one["validation"]
    states = [state_of(result.last_checkpoint) for result in (plain, compiled)]
    assert states[0]["model"].keys() == states[1]["model"].keys() == model.state_dict().keys()
    for name, value in states[0]["model"].items():
        torch.testing.assert_close(states[1]["model"][name], value, rtol=1e-4, atol=1e-5)


def test_a_killed_training_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    training = toy_training(compile=True)
    _, whole = fresh(training, tmp_path / "whole")

    def kill(entry: dict[str, Any]) -> None:
        if entry["epoch"] == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fresh(training, tmp_path / "killed", on_epoch=kill)
    resumed = run(toy_model(), training, tmp_path / "killed", resume=True)
    assert resumed.resumed_from == 2
    assert same_bits(state_of(whole.last_checkpoint)["model"], state_of(resumed.last_checkpoint)["model"])


def test_a_checkpoint_of_one_kind_is_refused_by_the_other(tmp_path: Path) -> None:
    """As with every field that decides the numbers; the weights themselves fit both."""
    fresh(toy_training(), tmp_path)
    compiled = toy_training(compile=True)
    recipe = {**RECIPE, "training": {**RECIPE["training"], "compile": True}}
    with pytest.raises(UserError, match=r"another recipe \(training\.compile: null, now true\)"):
        run(toy_model(), compiled, tmp_path, resume=True, recipe=recipe, recipe_digest="other")


def test_parts_are_compiled_with_gradient_and_in_place_only() -> None:
    calls: list[str] = []

    class Part(nn.Module):
        def forward(self, values: torch.Tensor) -> torch.Tensor:
            calls.append("compiled" if torch.compiler.is_compiling() else "plain")
            return values * 2

    model, part = toy_model(), Part()
    model.compilable = lambda: [(part, "forward")]  # type: ignore[method-assign]
    parts = compile_parts(model)
    values = torch.ones(3, requires_grad=True)
    part(values)
    with in_place(parts), torch.no_grad():
        part(values)
    assert calls == ["plain", "plain"]
    with in_place(parts):
        assert torch.equal(part(values), 2 * values)
    assert calls[2:] == ["compiled"]
    with pytest.raises(TypeError), in_place(parts), torch.no_grad():
        part(None)
    assert "forward" not in vars(part)


def test_a_model_that_names_no_parts_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Toy, "compilable", lambda _: [])
    with pytest.raises(UserError, match=r"'training\.compile': found true, expected false"):
        compile_parts(toy_model())


def test_without_a_compiler_one_line_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(
        UserError, match=r"no C\+\+ compiler 'no-such-compiler'.* install g\+\+, or name one in CXX"
    ):
        compile_parts(toy_model())
