"""A step in bfloat16 beside the same in float32: how far loss, scores and gradients of the same weights lie apart."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmark.batches import PairBatch
from benchmark.checks.gpu.report import HalfLine
from benchmark.checks.gpu.subjects import Subject
from benchmark.method import Baseline, Progress
from benchmark.training.determinism import seed_step
from benchmark.training.stages import set_trainable

HALF_TOLERANCE = 0.05
"""The share of a loss that may be off in bfloat16, which rounds a number by up to 0.004 of it."""
HALF_COSINE = 0.8
"""The least cosine between all gradients in either precision; some of the hardest negatives are others."""
WARM_UP = (1, 20, 20, 20)
"""Steps before the one that is compared, until scores of different pairs differ."""
SPREAD = 1e-3


@dataclass(frozen=True)
class Outcome:
    """What a step gives before its update, and the scores of the same weights in evaluation mode."""

    loss: float
    gradient: Tensor
    """All gradients in one row, float64."""
    scores: Tensor
    """(B, B) float64."""


def compare_precisions(subject: Subject, device: torch.device) -> HalfLine:
    """A step of the last stage without dropout, once in each precision, from the same initial weights."""
    wide, half = (_step(subject, device, dtype) for dtype in (None, torch.bfloat16))
    cosine = nn.functional.cosine_similarity(wide.gradient, half.gradient, dim=0)
    return HalfLine(
        recipe=subject.name,
        loss=wide.loss,
        half_loss=half.loss,
        score_gap=float((wide.scores - half.scores).abs().max()),
        score_deviation=float(wide.scores.std()),
        gradient_cosine=float(cosine),
    )


def _step(subject: Subject, device: torch.device, half: torch.dtype | None) -> Outcome:
    """`half`: the type that autocast takes for products; None: none of them is cut."""
    trainer = subject.trainer(device)
    still = trainer.training.optimizer.model_copy(update={"lr": 0.0})  # statistics settle, weights stay
    trainer.training = trainer.training.model_copy(update={"precision": "float32", "optimizer": still})
    trainer.reset_optimizer()
    plan, model, batch = trainer.plans[-1], trainer.model, subject.batch().to(device)
    where = Progress(plan.first_epoch, plan.first_epoch, plan.index, plan.loss)
    set_trainable(model, plan.trainable & trainer.free)
    _leave_out_dropout(model)
    for steps in WARM_UP:  # a model whose statistics begin at zero gives all pairs the same score at first
        model.train()
        for _ in range(steps):
            trainer.step(batch, where)
        if float(_scores(model, batch, None).std()) > SPREAD:
            break
    model.train()
    trainer.optimizer.zero_grad(set_to_none=True)
    seed_step(trainer.training.seed, where.step)
    with torch.no_grad():
        prepared = model.prepare_batch(batch, where)
    with torch.autocast(device.type, dtype=half, enabled=half is not None):
        loss = model.objective(model.training_codes(prepared), where, trainer.pair_budget)
    loss.backward()  # type: ignore[no-untyped-call]
    found = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    gradient = torch.cat([part.flatten().double().cpu() for part in found])
    return Outcome(loss.item(), gradient, _scores(model, batch, half))


def _scores(model: Baseline, batch: PairBatch, half: torch.dtype | None) -> Tensor:
    """The scores (B, B) of a batch in evaluation mode, in which the model stays."""
    model.eval()
    device = batch.captions.ids.device.type
    with torch.no_grad(), torch.autocast(device, dtype=half, enabled=half is not None):
        codes = model.encode_images(batch.images), model.encode_captions(batch.captions)
        return model.similarity(*codes).double().cpu()


def _leave_out_dropout(model: Baseline) -> None:
    """A GPU draws other random numbers for another type, which would hide the difference that is asked for."""
    for part in model.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
        elif hasattr(part, "drop_prob"):
            part.drop_prob = 0.0  # type: ignore[assignment]
