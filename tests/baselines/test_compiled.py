"""Steps of `training.compile` on the methods that have it: the losses and the gradients of steps without.

`nox -s compiled` takes the compiler, minutes a recipe; elsewhere one recipe's parts are only traced.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmark.method import Progress
from benchmark.training import compiling
from benchmark.training.compiling import compile_parts, in_place
from tests.baselines.small import RECIPES, small

ALL = "REMATCH_ALL_COMPILED" in os.environ
NAMED = [path for path in RECIPES if path.parent.name in ("rcar", "sgraf", "temde")]
CHOSEN = (
    NAMED if ALL else [path for path in NAMED if path.stem == "scenes-saf" and path.parent.name == "sgraf"]
)


@pytest.fixture(autouse=True)
def compiler(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if not ALL:
        monkeypatch.setattr(compiling, "BACKEND", "eager")
    yield
    torch._dynamo.reset()


def gradients(path: Path, *, compiled: bool) -> list[tuple[Tensor, list[Tensor | None]]]:
    """The loss and the gradients of a step of every stage."""
    run = small(path)
    trainer = run.trainer(torch.device("cpu"))
    model = trainer.model
    found: list[tuple[Tensor, list[Tensor | None]]] = []
    parts = compile_parts(model) if compiled else []
    for plan in trainer.plans:
        model.train()
        torch.manual_seed(0)
        where = Progress(plan.first_epoch, plan.first_epoch, plan.index, plan.loss)
        with torch.no_grad():
            batch = model.prepare_batch(run.batch(), where)
        with in_place(parts):
            loss = model.objective(model.training_codes(batch), where, None)
            parameters = [value for value in model.parameters() if value.requires_grad]
            own = torch.autograd.grad(loss, parameters, allow_unused=True)
        found.append((loss.detach(), list(own)))
    return found


@pytest.mark.parametrize("path", CHOSEN, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_steps_are_those_without(path: Path) -> None:
    for (loss, own), (compiled_loss, compiled) in zip(
        gradients(path, compiled=False), gradients(path, compiled=True), strict=True
    ):
        torch.testing.assert_close(compiled_loss, loss, rtol=1e-5, atol=0)
        largest = max(float(value.abs().max()) for value in own if value is not None)
        for one, other in zip(own, compiled, strict=True):
            assert (one is None) == (other is None)
            if one is not None and other is not None:
                torch.testing.assert_close(other, one, rtol=0, atol=1e-5 * largest)
