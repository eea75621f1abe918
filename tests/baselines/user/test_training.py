"""USER and VSE-infinity through the harness: they learn, and a training resumes bit for bit, queues and all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from baselines.user.model import UserLoss
from benchmark.batches import PairBatch
from benchmark.method import Baseline, TripletLoss
from benchmark.recipe.training import Training
from benchmark.training import TrainingResult, train
from benchmark.training.loop import first_losses
from tests.baselines.user.models import pairs, tiny_user, tiny_vse
from tests.training.helpers import same_bits, state_of

CPU = torch.device("cpu")
LENGTHS = [5, 8, 3, 12]


def training(epochs: int, **loss: object) -> Training:
    groups = [{"parameters": ["text_encoder.bert.*"], "lr_factor": 0.5}]
    optimizer = {"name": "adamw", "lr": 0.01, "weight_decay": 1e-4, "clip_norm": 2.0, "groups": groups}
    return Training.model_validate(
        {
            "batch_size": 4,
            "optimizer": optimizer,
            "schedule": {"name": "step", "every": 50, "gamma": 0.1},
            "stages": [{"epochs": epochs, "loss": loss}],
            "select": "last",
        }
    )


class Stopped(Exception):  # noqa: N818
    """Stands for whatever ends a run early."""


class Few:
    """Three batches of an epoch; the third of one epoch may never come."""

    def __init__(self, epoch: int, stop_in: int | None = None) -> None:
        self.epoch, self.stop_in = epoch, stop_in

    def __len__(self) -> int:
        return 3

    def __iter__(self) -> Iterator[PairBatch]:
        for number in range(3):
            if (self.epoch, number) == (self.stop_in, 2):
                raise Stopped
            yield pairs(LENGTHS, seed=10 * self.epoch + number)


def run(
    model: Baseline, folder: Path, batches: Callable[[int], Any], *, resume: bool = False
) -> TrainingResult:
    return train(
        model,
        training=training(4, scale=10, threshold=0.2, tangent=True),
        loss_type=UserLoss,
        make_batches=batches,
        validate=None,
        work_dir=folder,
        resume=resume,
        device=CPU,
        recipe_digest="digest",
        show_progress=False,
    )


def test_a_resumed_training_ends_with_the_same_bits(tmp_path: Path) -> None:
    expected = tiny_user()
    run(expected, tmp_path / "whole", Few)
    cut = tiny_user()
    with pytest.raises(Stopped):
        run(cut, tmp_path / "cut", lambda epoch: Few(epoch, stop_in=2))
    again = tiny_user(seed=99)  # nothing but the checkpoint counts
    result = run(again, tmp_path / "cut", Few, resume=True)
    assert result.resumed_from == 2
    state, whole = state_of(result.last_checkpoint), state_of(tmp_path / "whole" / "checkpoint.pt")
    assert same_bits(again.state_dict(), expected.state_dict())
    assert same_bits(state["model"], whole["model"])
    assert same_bits(state["optimizer"], whole["optimizer"])
    assert int(expected.queues.pointer) == 4 * 12 % 8
    kept = set(state["model"])
    assert {"queues.images", "queues.captions", "queues.pointer"} <= kept
    assert {name.split(".")[0] for name in kept} == {
        *("image_encoder", "text_encoder", "image_keys", "text_keys", "queues")
    }


def test_the_keys_moved_and_no_optimiser_holds_them(tmp_path: Path) -> None:
    model = tiny_user()
    start = {name: value.clone() for name, value in model.state_dict().items()}
    run(model, tmp_path, Few)
    names = [name for name, _ in model.named_parameters() if name.startswith(("image_keys.", "text_keys."))]
    queries = [name.replace("_keys.", "_encoder.") for name in names]
    moved = [key for key in names if not torch.equal(model.state_dict()[key], start[key])]
    assert len(moved) > 0.8 * len(names)
    assert any(
        not torch.equal(model.state_dict()[key], model.state_dict()[query])
        for key, query in zip(names, queries, strict=True)
    )
    assert not any(parameter.requires_grad for name, parameter in model.named_parameters() if name in names)


def losses_of(model: Baseline, loss_type: Any, steps: int, **loss: object) -> list[float]:
    """One batch, again and again."""
    batches = [pairs(LENGTHS)]
    settings = training(steps, **loss)
    made: Callable[[int], Any] = lambda _epoch: batches  # noqa: E731
    return first_losses(
        model, training=settings, loss_type=loss_type, make_batches=made, device=CPU, max_steps=steps
    )


@pytest.mark.parametrize("changes", [{}, {"queue": 0}, {"enhancement": "none"}])
def test_user_learns_a_batch_and_draws_the_same_twice(changes: dict[str, Any]) -> None:
    loss = {"scale": 10, "threshold": 0.2, "batch_weight": 3, "tangent": True}
    model = tiny_user(dropout=0.1, **changes)
    losses = losses_of(model, UserLoss, 40, **loss)
    assert losses[:6] == losses_of(tiny_user(dropout=0.1, **changes), UserLoss, 6, **loss)
    assert sum(losses[-5:]) < sum(losses[:5])
    assert right(model) == 4


@pytest.mark.parametrize("text", ["bert", "bigru"])
def test_vse_infinity_learns_a_batch(text: str) -> None:
    model = tiny_vse(text=text)
    settings = {"optimizer": {"name": "adamw", "lr": 0.01, "clip_norm": 2.0}}
    batches = [pairs(LENGTHS)]
    losses = first_losses(
        model,
        training=training(40, hardest=False).model_copy(
            update={"optimizer": Training.model_validate({**BARE, **settings}).optimizer}
        ),
        loss_type=TripletLoss,
        make_batches=lambda _epoch: batches,
        device=CPU,
        max_steps=40,
    )
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])
    assert right(model) == 4


BARE: dict[str, Any] = {
    "batch_size": 4,
    "schedule": {"name": "step", "every": 50, "gamma": 0.1},
    "stages": [{"epochs": 1}],
}


def right(model: Baseline) -> int:
    """Images of the batch whose best caption is their own."""
    model.eval()
    batch = pairs(LENGTHS)
    with torch.no_grad():
        scores = model.similarity(model.encode_images(batch.images), model.encode_captions(batch.captions))
    return int((scores.argmax(1) == torch.arange(len(batch))).sum())
