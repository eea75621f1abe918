"""Seeds are stable, separate and cover every generator."""

from __future__ import annotations

import os
import random

import numpy as np
import torch

from benchmark.method import DataFacts
from benchmark.training.determinism import (
    deterministic,
    seed_everything,
    seed_for,
    seed_initialisation,
    seed_step,
)
from tests.toy import TOY, ToyConfig


def draws() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_derived_seeds_never_change() -> None:
    """Halves of `printf '[0, "initialisation"]' | b2sum -l 64`, little-endian; another value changes every result."""
    assert seed_for(0, "initialisation") == 4570097508492424514
    assert seed_for(1, "step", 17) == 3678920635008643714


def test_derived_seeds_differ_by_seed_purpose_and_type() -> None:
    keys: list[tuple[int | str, ...]] = [
        (),
        (0,),
        ("0",),
        (0, 0),
        ("step", 1),
        ("step", 11),
        ("step1",),
        (1, "step"),
    ]
    seeds = {seed_for(seed, *key) for seed in range(3) for key in keys}
    assert len(seeds) == 3 * len(keys)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert seed_for(np.int64(3), np.int64(5)) == seed_for(3, 5)  # type: ignore[arg-type]


def test_seeding_covers_python_numpy_and_torch() -> None:
    derived = seed_everything(3, "x")
    assert derived == seed_for(3, "x")
    first = draws()
    again = draws()
    seed_everything(3, "x")
    assert draws() == first
    assert all(one != other for one, other in zip(first, again, strict=True))


def test_a_step_draws_the_same_whatever_came_before() -> None:
    seed_step(0, 5)
    expected = torch.rand(4)
    torch.rand(1000)
    seed_step(0, 4)
    assert not torch.equal(torch.rand(4), expected)
    seed_step(0, 5)
    assert torch.equal(torch.rand(4), expected)


def test_initial_weights_depend_on_the_seed_alone() -> None:
    def built(seed: int) -> torch.Tensor:
        torch.rand(seed + 3)
        seed_initialisation(seed)
        model = TOY.build(ToyConfig(), DataFacts(vocab_size=30))
        return torch.cat([value.detach().flatten() for value in model.parameters()])

    assert torch.equal(built(1), built(1))
    assert not torch.equal(built(1), built(2))


def test_deterministic_algorithms_are_on() -> None:
    deterministic()
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.is_deterministic_algorithms_warn_only_enabled()
    assert torch.backends.cudnn.deterministic
    assert not torch.backends.cudnn.benchmark
    assert not torch.backends.cudnn.allow_tf32
    assert torch.get_float32_matmul_precision() == "highest"
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] in {":4096:8", ":16:8"}
