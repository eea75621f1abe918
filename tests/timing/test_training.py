"""Timed training steps: the published way gives the same step, ratios, floor, extrapolation, memory, bad input."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from baselines.published.random_pairs import random_pairs
from baselines.rcar.checks.published import published_objective as published_rcar
from baselines.sgraf.checks.published import published_objective as published_sgraf
from benchmark.batches import TrainingCodes
from benchmark.errors import UserError
from benchmark.method import Baseline, Progress, TrainingCase
from benchmark.registry import get_method, method_names
from benchmark.reporting.timings import training_case, training_sheet
from benchmark.reporting.writers.terminal import write_text
from benchmark.timing import training as timed
from benchmark.timing.memory import available, peak_above
from tests.baselines.rcar.models import tiny_rcar
from tests.baselines.region_models import REGION_DIM, REGIONS, VOCABULARY, progress
from tests.baselines.sgraf.models import tiny_sgraf

CPU = torch.device("cpu")
tiny_pairs = partial(
    random_pairs, device=CPU, image=(REGIONS, REGION_DIM), lengths=(2, 9), vocabulary=VOCABULARY
)
Published = Callable[[Any, TrainingCodes, Progress, int | None], Tensor]
MODELS: list[tuple[Callable[[], Baseline], Published]] = [
    (partial(tiny_rcar, "i2t", "rcar", 2, dropout=0), published_rcar),
    (partial(tiny_rcar, "t2i", "rcr", 2, dropout=0), published_rcar),
    (partial(tiny_sgraf, "SAF", dropout=0), published_sgraf),
    (partial(tiny_sgraf, "SGR", dropout=0), published_sgraf),
]


@pytest.mark.parametrize(("build", "published"), MODELS)
def test_the_published_way_has_the_same_loss_gradients_and_statistics(
    build: Callable[[], Baseline], published: Published
) -> None:
    results = []
    for kind in (None, published):
        model = build().double().train()
        batch = tiny_pairs(6)
        batch = type(batch)(
            type(batch.images)(batch.images.pixels.double(), batch.images.index), batch.captions
        )
        codes = model.training_codes(batch)
        objective = model.objective if kind is None else partial(kind, model)
        loss: Tensor = objective(codes, progress(), None)
        loss.backward()  # type: ignore[no-untyped-call]
        model.after_step(codes)
        gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        results.append({**gradients, **model.state_dict(), "loss": loss.detach()})
    ours, theirs = results
    assert ours.keys() <= theirs.keys()  # SGR's keys have a bias, which its softmax does not see
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], atol=1e-10, rtol=1e-8)


def test_the_published_way_has_dropout_in_training() -> None:
    model = tiny_rcar("t2i", "rcar", 2).train()
    codes = model.training_codes(tiny_pairs(4))
    first, second = (published_rcar(model, codes, progress(), None).item() for _ in range(2))
    assert first != second


@pytest.fixture
def one_case(monkeypatch: pytest.MonkeyPatch) -> None:
    case = TrainingCase("made up", MODELS[0][0], tiny_pairs, MODELS[0][1])
    method = type("Method", (), {"training_cases": staticmethod(lambda _device: [case])})
    monkeypatch.setattr(timed, "get_method", lambda _name: method)
    monkeypatch.setattr(timed, "MATRIX", 64)


@pytest.mark.usefixtures("one_case")
def test_a_row_has_ratio_floor_and_memory() -> None:
    (row,) = timed.time_training("any", 8, repeats=3)
    assert (row.name, row.batch, row.extrapolated) == ("made up", 8, False)
    assert min(row.published, row.own, row.times_published, row.floor) > 0
    assert row.over_floor == row.own / row.floor
    found = training_case(row)
    assert {"case", "batch", "times_published", "memory_over_published", "over_floor"} <= found.keys()
    assert found["over_floor"] == row.over_floor
    text = write_text([training_sheet([row], "steps")])
    assert f"{row.times_published:.2f}" in text
    assert "*" not in text


@pytest.mark.usefixtures("one_case")
def test_what_does_not_fit_is_extrapolated_and_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timed, "available", lambda _device: 1)
    monkeypatch.setattr(timed, "peak_above", lambda call, _device: call() or 1000)
    (row,) = timed.time_training("any", 8, repeats=2)
    assert row.extrapolated
    assert row.own_peak == 1000
    assert row.published_peak == 6 * 1000 - 8 * 1000
    text = write_text([training_sheet([row], "steps")])
    assert "made up*" in text
    assert "extrapolated" in text


def test_extrapolation_is_exact_for_what_grows_with_pairs_and_their_square() -> None:
    def cost(batch: int) -> float:
        return 3 * batch + 0.25 * batch**2

    assert timed._extrapolate([cost(32), cost(64)]) == pytest.approx(cost(128))
    assert timed._extrapolate([7.0]) == 7.0


@pytest.mark.usefixtures("one_case")
def test_the_floor_is_that_of_the_products_of_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a model of one product: 2 * 8 * 5 * 3 forward, as much for its weights; the plain product takes 0.5 s."""
    case = TrainingCase("one product", OneProduct, tiny_pairs)
    method = type("Method", (), {"training_cases": staticmethod(lambda _device: [case])})
    monkeypatch.setattr(timed, "get_method", lambda _name: method)
    monkeypatch.setattr(
        timed,
        "time_group",
        lambda group, **_: {name: [0.5] for name in group.calls},
    )
    (row,) = timed.time_training("any", 8, repeats=1)
    assert row.floor == pytest.approx(2 * (2 * 8 * 5 * 3) * 0.5 / (2 * 64**3))


class OneProduct(Baseline):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(5, 3, bias=False)

    def training_codes(self, *_: object) -> None:  # type: ignore[override]
        return None

    def objective(self, *_: object) -> Tensor:
        value: Tensor = self.layer(torch.ones(8, 5)).sum()
        return value

    def encode_images(self, *_: object) -> None:  # type: ignore[override]
        raise NotImplementedError

    encode_captions = similarity = pair_bytes = encode_images  # type: ignore[assignment]


def test_peak_above_sees_what_is_gone_again() -> None:
    def allocate() -> None:
        torch.ones(50 * 2**20 // 4)

    peak = peak_above(allocate, CPU)
    if peak is None:
        pytest.skip("this system cannot forget a process's earlier peak")
    assert 40 * 2**20 < peak < 60 * 2**20
    free = available(CPU)
    assert free is None or free > 2**20


def test_bad_input_is_one_line() -> None:
    with pytest.raises(
        UserError, match=r"dualpath.*expected one of hat, rcar, sgraf, temde, user, vse_infty"
    ):
        timed.time_training("dualpath", 32)
    with pytest.raises(UserError, match="multiple of 4, such as 36"):
        timed.time_training("rcar", 33)
    with pytest.raises(UserError, match="rcarr"):
        timed.time_training("rcarr", 32)


def test_methods_bring_their_cases() -> None:
    found = {
        name: [case.name for case in cases(CPU)]
        for name in method_names()
        if (cases := get_method(name).training_cases) is not None
    }
    assert found == {
        "hat": ["HAT i2t", "HAT t2i"],
        "rcar": ["RCAR(2) i2t", "RCAR(2) t2i"],
        "sgraf": ["SAF", "SGR"],
        "temde": ["SAF", "SGR"],
        "user": ["USER (SGE)"],
        "vse_infty": ["VSE-infinity (bigru)", "VSE-infinity (bert)"],
    }
