"""Every method by two and by three processes: the losses, the weights, the buffers and the queues of one.

`nox -s distributed` takes all recipes; elsewhere two, which have one of everything: batch norm, queues, momentum
encoders, BERT with dropout; and two passes over pairs with dropout of their own.
"""

from __future__ import annotations

import os
from contextlib import nullcontext
from functools import cache
from pathlib import Path

import pytest
import torch

from benchmark.training import trainer
from tests.baselines.small import RECIPES
from tests.distributed.gang import run_together
from tests.distributed.methods import LAST, PAIRS, STEPS, Steps, train_steps

CHEAP = ("user/scenes-sge", "rcar/scenes-t2i")
ALL = "REMATCH_ALL_DISTRIBUTED" in os.environ
CHOSEN = [path for path in RECIPES if ALL or f"{path.parent.name}/{path.stem}" in CHEAP]


def name_of(path: Path) -> str:
    return f"{path.parent.name}-{path.stem}"


@cache
def alone(path: Path) -> Steps:
    return train_steps(path)


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("path", CHOSEN, ids=name_of)
def test_several_processes_train_as_one(path: Path, size: int) -> None:
    one, found = alone(path), run_together(size, train_steps, path)
    assert len(one.losses) == STEPS
    assert set(one.pairs) <= {PAIRS, LAST}
    shares = [sum(pairs) for pairs in zip(*(steps.pairs for steps in found), strict=True)]
    assert shares == one.pairs  # each pair is read by one process
    for steps in found:
        assert steps.losses == pytest.approx(one.losses, rel=1e-9, abs=0)
        assert steps.gradients.keys() == one.gradients.keys()
        assert steps.state.keys() == one.state.keys()
        whole = torch.cat([value.flatten() for value in one.gradients.values()])
        theirs = torch.cat([value.flatten() for value in steps.gradients.values()])
        assert float((theirs - whole).norm()) < 1e-12 * float(whole.norm())
        for name, value in one.state.items():  # buffers and queues among them
            torch.testing.assert_close(steps.state[name], value, rtol=1e-9, atol=1e-9, msg=name)
            assert torch.equal(steps.state[name], found[0].state[name]), name


def train_apart(path: Path) -> Steps:
    """Train with every part taken for a batch of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "as_one_batch", lambda *_: nullcontext())
        return train_steps(path)


def test_parts_that_are_batches_of_their_own_are_noticed() -> None:
    """Dropout and batch norm of the parts alone give another training, by far."""
    path = next(path for path in CHOSEN if path.parent.name == "rcar")
    one, found = alone(path), run_together(2, train_apart, path)[0]
    assert max(abs(a - b) / b for a, b in zip(found.losses, one.losses, strict=True)) > 1e-3
