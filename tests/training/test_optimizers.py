"""Optimisers: groups with a rate of their own, and SGD, against loops written out; stages with their own schedule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmark.errors import UserError
from benchmark.method import Progress
from benchmark.recipe.faults import check_fields
from benchmark.recipe.training import Optimizer, Training
from benchmark.training.optimizers import make_optimizer, set_rate
from benchmark.training.trainer import Trainer
from tests.toy import Toy, ToyBatches, ToyLoss, toy_model
from tests.training.helpers import CPU, fresh, same_bits, state_of, toy_training

NESTEROV = {"name": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}
GROUPED = {
    "name": "adamw",
    "lr": 0.01,
    "weight_decay": 0.1,
    "groups": [
        {"parameters": ["words.*"], "lr_factor": 0.1},
        {"parameters": ["*.weight"], "weight_decay": 0.0},
    ],
}


def settings(document: dict[str, Any]) -> Optimizer:
    found = check_fields("training.optimizer", document, Optimizer)
    assert isinstance(found, Optimizer)
    return found


def trainer(**changes: Any) -> Trainer:
    training = toy_training(**changes)
    return Trainer(toy_model(), training, ToyLoss, lambda epoch: ToyBatches(0, epoch), CPU, False)


def steps(model: Toy, document: dict[str, Any], rates: list[float]) -> list[dict[str, Tensor]]:
    """Weights after each of some steps of the optimiser, with gradients that depend on the step alone."""
    optimizer = make_optimizer(model, settings(document))
    found = []
    for number, rate in enumerate(rates):
        for index, parameter in enumerate(model.parameters()):
            draw = torch.Generator().manual_seed(1000 * number + index)
            parameter.grad = torch.randn(parameter.shape, generator=draw)
        set_rate(optimizer, rate)
        optimizer.step()
        found.append({name: value.detach().clone() for name, value in model.named_parameters()})
    return found


def test_nesterov_is_the_published_update() -> None:
    """g = grad + wd p; v <- 0.9 v - g; p <- p + lr (0.9 v - g) (dualpath.md 5.1)."""
    rates = [0.1, 0.05, 0.05]
    model = toy_model()
    weights = {name: value.detach().clone() for name, value in model.named_parameters()}
    velocity = {name: torch.zeros_like(value) for name, value in weights.items()}
    for number, found in enumerate(steps(model, NESTEROV, rates)):
        for index, name in enumerate(weights):
            draw = torch.Generator().manual_seed(1000 * number + index)
            gradient = torch.randn(weights[name].shape, generator=draw) + 0.01 * weights[name]
            velocity[name] = 0.9 * velocity[name] - gradient
            weights[name] = weights[name] + rates[number] * (0.9 * velocity[name] - gradient)
            torch.testing.assert_close(found[name], weights[name], atol=1e-6, rtol=1e-6)


def test_each_group_has_its_rate_and_decay_and_the_first_match_wins() -> None:
    """As three optimisers of their own, one a group."""
    alone = toy_model()
    names = [name for name, _ in alone.named_parameters()]
    slow = [name for name in names if name.startswith("words.")]
    undecayed = [name for name in names if name.endswith(".weight") and name not in slow]
    rest = [name for name in names if name not in (*slow, *undecayed)]
    assert all((slow, undecayed, rest))
    found = steps(toy_model(), GROUPED, [0.01, 0.004])[-1]
    for own, factor, decay in ((slow, 0.1, 0.1), (undecayed, 1.0, 0.0), (rest, 1.0, 0.1)):
        parameters = dict(alone.named_parameters())
        optimizer = torch.optim.AdamW([parameters[name] for name in own], weight_decay=decay, fused=True)
        for number, rate in enumerate((0.01, 0.004)):
            optimizer.param_groups[0]["lr"] = rate * factor
            for name in own:
                draw = torch.Generator().manual_seed(1000 * number + names.index(name))
                parameters[name].grad = torch.randn(parameters[name].shape, generator=draw)
            optimizer.step()
        for name in own:
            assert torch.equal(found[name], parameters[name]), name


def test_groups_train_and_resume_to_the_same_bits(tmp_path: Path) -> None:
    training = toy_training(optimizer=GROUPED)
    _, whole = fresh(training, tmp_path / "whole")

    class Cut(Exception):  # noqa: N818
        pass

    def cut(entry: dict[str, Any]) -> None:
        if entry["epoch"] == 1:
            raise Cut

    with pytest.raises(Cut):
        fresh(training, tmp_path / "cut", on_epoch=cut)
    _, resumed = fresh(training, tmp_path / "cut", resume=True)
    one, other = state_of(whole.last_checkpoint), state_of(resumed.last_checkpoint)
    assert same_bits(one["model"], other["model"])
    assert same_bits(one["optimizer"]["state"], other["optimizer"]["state"])
    plain = state_of(fresh(toy_training(), tmp_path / "plain")[1].last_checkpoint)
    assert not same_bits(one["model"], plain["model"])


def test_a_stage_with_a_schedule_of_its_own_counts_from_its_beginning() -> None:
    own = {"name": "milestones", "at": [1, 3], "gamma": 0.1}
    made = trainer(
        schedule={"name": "step", "every": 2, "gamma": 0.5},
        stages=[{"epochs": 3}, {"epochs": 4, "schedule": own}, {"epochs": 1}],
    )
    per_epoch = made.steps_per_epoch

    def rate(epoch: int) -> float:
        stage = 0 if epoch < 3 else 1 if epoch < 7 else 2
        return made.rate(Progress(epoch, epoch * per_epoch, stage, ToyLoss()))

    expected = [0.01, 0.01, 0.005, 0.01, 0.001, 0.001, 0.0001, 0.01 * 0.5**3]
    assert [rate(epoch) for epoch in range(8)] == pytest.approx(expected)


def test_a_cosine_of_a_stage_ends_with_the_stage() -> None:
    own = {"name": "cosine", "warmup_steps": 2}
    made = trainer(stages=[{"epochs": 1}, {"epochs": 2, "schedule": own}])
    per_epoch = made.steps_per_epoch
    rates = [
        made.rate(Progress(step // per_epoch, step, 1, ToyLoss())) for step in range(per_epoch, 3 * per_epoch)
    ]
    assert rates[:3] == pytest.approx([0.005, 0.01, 0.01])
    assert rates[-1] == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "sgd", "betas": [0.9, 0.99]}, r"optimizer\.betas': sgd has none"),
        ({"name": "adam", "momentum": 0.9}, r"optimizer\.momentum': adam has none"),
        ({"name": "adamw", "nesterov": True}, r"optimizer\.nesterov': adamw has none"),
        ({"groups": [{"parameters": []}]}, r"groups\.0\.parameters'"),
        ({"groups": [{"parameters": ["*"], "factor": 1}]}, r"groups\.0\.factor' is not known.*lr_factor"),
    ],
)
def test_settings_of_another_kind_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        settings({"name": "adam", "lr": 0.1} | changes)


def test_a_group_without_a_parameter_is_refused() -> None:
    document = {"name": "adam", "lr": 0.1, "groups": [{"parameters": ["wrods.*"]}]}
    with pytest.raises(UserError, match=r"groups\.0\.parameters': 'wrods\.\*' matches no parameter.*words"):
        make_optimizer(toy_model(), settings(document))


def test_a_stages_warm_up_must_fit_it() -> None:
    own = {"name": "cosine", "warmup_steps": 1000}
    with pytest.raises(UserError, match=r"training\.stages\.1\.schedule\.warmup_steps"):
        trainer(stages=[{"epochs": 1}, {"epochs": 1, "schedule": own}])


def test_what_a_recipe_does_not_set_is_not_in_its_dump() -> None:
    """Records from before there were groups still belong to their recipes."""
    dump = toy_training().model_dump(mode="json")
    assert not {"groups", "momentum", "nesterov"} & set(dump["optimizer"])
    assert "schedule" not in dump["stages"][0]
    grouped = toy_training(optimizer=NESTEROV).model_dump(mode="json")["optimizer"]
    assert grouped["nesterov"] is True
    assert "betas" not in grouped
    assert Training.model_validate(toy_training(optimizer=GROUPED).model_dump(mode="json")).optimizer.groups


def test_an_optimiser_of_one_group_has_all_parameters_in_order() -> None:
    model = toy_model()
    (group,) = make_optimizer(model, settings({"name": "adam", "lr": 0.1})).param_groups
    assert [id(value) for value in group["params"]] == [id(value) for value in nn.Module.parameters(model)]


@pytest.mark.parametrize("document", [NESTEROV, GROUPED, {"name": "adam", "lr": 0.1}])
def test_on_a_cpu_it_is_the_fused_one_whose_updates_are_the_plain_ones(document: dict[str, Any]) -> None:
    rates = [0.1, 0.05, 0.02]
    fused = steps(toy_model(), document, rates)
    optimizer = make_optimizer(toy_model(), settings(document))
    assert all(group["fused"] for group in optimizer.param_groups)
    model = toy_model()
    plain = make_optimizer(model, settings(document))
    for group in plain.param_groups:
        group["fused"] = None
    for number, (rate, expected) in enumerate(zip(rates, fused, strict=True)):
        for index, parameter in enumerate(model.parameters()):
            draw = torch.Generator().manual_seed(1000 * number + index)
            parameter.grad = torch.randn(parameter.shape, generator=draw)
        set_rate(plain, rate)
        plain.step()
        for name, value in model.named_parameters():
            torch.testing.assert_close(value, expected[name], atol=2e-6, rtol=1e-5)


def test_a_checkpoint_of_a_plain_optimiser_goes_on_as_it_began() -> None:
    older = make_optimizer(toy_model(), settings({"name": "adam", "lr": 0.1}))
    document = older.state_dict()
    document["param_groups"][0]["fused"] = None
    newer = make_optimizer(toy_model(), settings({"name": "adam", "lr": 0.1}))
    newer.load_state_dict(document)
    assert newer.param_groups[0]["fused"] is None
