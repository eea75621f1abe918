"""A step that runs out of memory ends in one line, with a setting that was tried and fits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmark.batches import PairBatch, TrainingCodes
from benchmark.errors import UserError
from benchmark.memory import MEGABYTE
from benchmark.method import Progress
from tests.pretend_cuda import GPU, pretended_gpu
from tests.toy import Toy, ToyBatches, ToyConfig, ToyLoss
from tests.training.helpers import fresh, run, toy_training

FULL = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


class Cramped(Toy):
    """Has room for so many pairs of a batch, and for so large a budget of their scores."""

    def __init__(self, pairs: int, megabytes: int | None = None) -> None:
        super().__init__(ToyConfig())
        self.pairs, self.megabytes = pairs, megabytes

    def training_codes(self, batch: PairBatch) -> TrainingCodes:
        if len(batch) > self.pairs:
            raise FULL
        return super().training_codes(batch)

    def objective(self, codes: TrainingCodes, progress: Progress, pair_budget: int | None) -> Tensor:
        if self.megabytes is not None and (pair_budget is None or pair_budget > self.megabytes * MEGABYTE):
            raise FULL
        return super().objective(codes, progress, pair_budget)


def message(model: Cramped, folder: Path, **changes: Any) -> str:
    with pytest.raises(UserError) as caught:
        run(model, toy_training(**changes), folder)
    return str(caught.value)


@pytest.mark.parametrize(("given", "fitting"), [(None, 64), (512, 64), (48, 24)])
def test_a_budget_for_pairs_comes_first(given: int | None, fitting: int, tmp_path: Path) -> None:
    """It changes no result. Halves of what was given are tried."""
    room = 100 if fitting == 64 else 30
    assert message(Cramped(99, room), tmp_path, pair_budget_mb=given) == (
        f"field 'training.pair_budget_mb': cpu ran out of memory in a step of 12 pairs; {fitting} fits, with the same "
        "results"
    )


def test_the_smallest_budget_is_said_where_no_half_fits(tmp_path: Path) -> None:
    assert "; 16 fits, with" in message(Cramped(99, 16), tmp_path, pair_budget_mb=100)


def test_a_smaller_batch_is_another_training(tmp_path: Path) -> None:
    assert message(Cramped(5), tmp_path) == (
        "field 'training.batch_size': cpu ran out of memory in a step of 12 pairs; 3 fits, but is another training"
    )
    assert message(Cramped(1), tmp_path).endswith("; not even 2 fit")


def test_a_fault_that_is_no_lack_of_memory_comes_through(tmp_path: Path) -> None:
    class Broken(Toy):
        def training_codes(self, batch: PairBatch) -> TrainingCodes:
            raise RuntimeError(f"shapes of {len(batch)} do not fit")

    with pytest.raises(RuntimeError, match="shapes of 12 do not fit"):
        run(Broken(ToyConfig()), toy_training(), tmp_path)


def test_on_a_gpu_the_peak_is_said() -> None:
    from benchmark.training import first_losses

    with pretended_gpu(), pytest.raises(UserError) as caught:
        first_losses(
            Cramped(5),
            training=toy_training(),
            loss_type=ToyLoss,
            make_batches=lambda epoch: ToyBatches(0, epoch),
            device=GPU,
        )
    assert "cuda:0 ran out of memory in a step of 12 pairs, 10.0 of 80.0 GiB at the peak; 3 fits" in str(
        caught.value
    )


def test_no_gradient_is_left_when_training_ends(tmp_path: Path) -> None:
    model, _ = fresh(toy_training(), tmp_path)
    assert all(parameter.grad is None for parameter in model.parameters())
