"""Every method in bfloat16: products are cut, while norms, softmax and losses stay in float32; the loss stays near."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from baselines.layers import norms
from benchmark.batches import Codes, TrainingCodes
from benchmark.checks.gpu.half import HALF_COSINE, HALF_TOLERANCE, compare_precisions
from benchmark.checks.gpu.subjects import Subject, shortened
from benchmark.method import DualEncoder, Progress, TripletLoss
from benchmark.recipe.files import load_recipe
from benchmark.recipe.schema import Recipe
from tests.baselines.small import RECIPES, small
from tests.toy import Toy, ToyConfig

CPU = torch.device("cpu")
WIDE = {
    *("_softmax", "_log_softmax", "logsumexp", "log_sigmoid_forward", "softplus"),
    *("linalg_vector_norm", "norm", "rsqrt", "sqrt", "exp", "exp2", "log", "log1p", "log2"),
    *("nll_loss_forward", "nll_loss2d_forward", "mse_loss", "smooth_l1_loss"),
}
"""Operations of norms, softmax and losses, which must not give half precision.

`native_layer_norm`, `native_batch_norm` and products may: their kernels add up in float32 and cut what comes out."""


class HalfOps(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Operations that gave a tensor of half precision."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        parts = result if isinstance(result, tuple | list) else [result]
        if any(isinstance(part, Tensor) and part.dtype in (torch.bfloat16, torch.float16) for part in parts):
            self.found[func._schema.name.removeprefix("aten::").rstrip("_")] += 1
        return result


def half_ops(path: Path) -> Counter[str]:
    """What a step of every stage computes in bfloat16, forward and backward; the loss is in float32."""
    run = small(path, "bfloat16")
    trainer = run.trainer(CPU)
    model = trainer.model
    watch = HalfOps()
    for plan in trainer.plans:
        model.train()
        where = Progress(plan.first_epoch, plan.first_epoch, plan.index, plan.loss)
        with torch.no_grad():
            batch = model.prepare_batch(run.batch(), where)
        with watch:
            with torch.autocast("cpu", torch.bfloat16):
                loss = model.objective(model.training_codes(batch), where, None)
            loss.backward()  # type: ignore[no-untyped-call]
        assert loss.dtype == torch.float32
    return watch.found


def name_of(path: Path) -> str:
    return f"{path.parent.name}-{path.stem}"


@pytest.mark.parametrize("path", RECIPES, ids=name_of)
def test_norms_softmax_and_loss_stay_in_float32(path: Path) -> None:
    found = half_ops(path)
    assert sorted(found.keys() & WIDE) == []
    assert found["mm"] + found["addmm"] + found["bmm"] > 5, "products are cut"


def test_a_norm_in_half_precision_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(norms, "widen", lambda values: values)
    path = next(path for path in RECIPES if name_of(path) == "vse_infty-scenes-bigru")
    assert "linalg_vector_norm" in half_ops(path)


@pytest.mark.parametrize("path", RECIPES, ids=name_of)
def test_loss_and_gradients_stay_near(path: Path) -> None:
    """Of the models of scenes with random weights, whose hardest negatives are not always the same in both."""
    recipe = load_recipe(path)
    assert isinstance(recipe, Recipe)
    line = compare_precisions(Subject.of(shortened(recipe, 8), path.stem), CPU)
    assert line.loss_gap < HALF_TOLERANCE
    assert line.score_gap < 0.02
    assert line.gradient_cosine > HALF_COSINE


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_hardest_negatives_of_a_dual_encoder_are_found_in_float32(dtype: torch.dtype) -> None:
    """Scores that differ by less than bfloat16 can say: 0.5 and 0.5 + 2^-10."""
    images = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    captions = torch.tensor([[0.5 + 2**-10, 0.5], [0.5, 0.5]])
    codes = TrainingCodes(Codes({"vectors": images}), Codes({"vectors": captions}))
    where = Progress(0, 0, 0, TripletLoss(margin=0.2))
    with torch.autocast("cpu", dtype):
        found = DualEncoder.objective(Toy(ToyConfig()), codes, where, None)
    scores = images @ captions.T
    assert found.dtype == torch.float32
    assert torch.equal(found, TripletLoss(margin=0.2)(scores))
    cut = TripletLoss(margin=0.2)((images.to(torch.bfloat16) @ captions.to(torch.bfloat16).T).float())
    assert not torch.equal(found, cut)
