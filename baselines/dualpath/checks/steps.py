"""Recorded training steps beside ours: losses, features, gradients, Nesterov's update, stored moments.

A step goes as the harness's: `training_codes`, `objective`, backward, update, `after_step`. Dropout has the recorded
masks in its place.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from baselines.dualpath.batch_norm import DeviationNorm
from baselines.dualpath.checkpoint import official_names, to_official
from baselines.dualpath.checks.replay import load_model, place_captions, read_words
from baselines.dualpath.config import DualPathLoss
from baselines.dualpath.losses import IGNORED
from baselines.dualpath.model import DualPath
from baselines.published.golden import Recorded
from benchmark.batches import CaptionBatch, ImageBatch, PairBatch, TrainingCodes
from benchmark.method import ParityCase, Progress

ROUNDING = 1e-9
"""Recorded gradients without a larger entry are zero but for rounding, such as that of a bias in front of a norm."""


class FixedMask(nn.Module):
    """Dropout with a recorded mask (B, D), its scale included."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.mask = mask

    def forward(self, features: Tensor) -> Tensor:
        return features * self.mask


def step_cases(recorded: Recorded) -> Iterator[ParityCase]:
    """All recorded steps, one after the other."""
    config = recorded.config()
    model = load_model(recorded).train()
    if "inputs/mask_img" in recorded:
        model.image_dropout = FixedMask(recorded.tensor("inputs/mask_img").double())  # type: ignore[assignment]
        model.text_dropout = FixedMask(recorded.tensor("inputs/mask_txt").double())  # type: ignore[assignment]
    if config["stage"] == 1:
        for parameter in model.trunk.parameters():
            parameter.requires_grad_(False)
    optimizer = _optimizer(model, config)
    batch = _batch(recorded, config)
    loss = DualPathLoss(
        ranking=config["lambda_rank"],
        image=config["lambda_img"],
        text=config["lambda_txt"],
        margin=config["margin"] or 0.0,
    )
    for number, rate in enumerate(config["base_lr"], start=1):
        codes = model.training_codes(batch)
        yield from _output_cases(recorded, f"outputs/step{number}/", model, batch, codes, loss)
        optimizer.zero_grad()
        model.objective(codes, Progress(0, number - 1, 0, loss), None).backward()  # type: ignore[no-untyped-call]
        if number == 1:
            yield from _gradient_cases(recorded, model, len(batch))
        for group in optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        optimizer.step()
        model.after_step(codes)
        yield from _weight_cases(recorded, model, f"after_step{number}/")


def _optimizer(model: DualPath, config: dict[str, Any]) -> torch.optim.SGD:
    """Nesterov's momentum with the recorded factors; a norm's moments must have the recorded shares."""
    parameters, layers = dict(model.named_parameters()), dict(model.named_modules())
    groups = []
    for official, ours in official_names(model):
        factor, decay = config["lr_mult"][official], config["wd_mult"][official]
        if ours in parameters:
            groups.append({"params": [parameters[ours]], "factor": factor, "weight_decay": decay})
            continue
        norm = layers[ours.removesuffix(".moments")]
        assert isinstance(norm, DeviationNorm)
        frozen = not norm.weight.requires_grad
        if factor != (0.0 if frozen else norm.rate):
            raise ValueError(f"'{official}': a batch has a share of {norm.rate}, recorded {factor}")
    for group in groups:
        group["weight_decay"] *= config["weight_decay"]
    return torch.optim.SGD(groups, lr=1.0, momentum=config["momentum"], nesterov=config["nesterov"])


def _batch(recorded: Recorded, config: dict[str, Any]) -> PairBatch:
    pixels = recorded.tensor("inputs/data").double()
    ids = place_captions(
        read_words(recorded, len(pixels)), recorded.tensor("inputs/start"), config["positions"]
    )
    classes, text_classes = recorded.tensor("inputs/label_img") - 1, recorded.tensor("inputs/label_txt") - 1
    assert IGNORED == -1
    captions = CaptionBatch(ids, (ids > 0).sum(1), torch.arange(len(ids)))
    return PairBatch(ImageBatch(pixels, classes), captions, {"classes": text_classes})


@torch.no_grad()
def _output_cases(
    recorded: Recorded,
    prefix: str,
    model: DualPath,
    batch: PairBatch,
    codes: TrainingCodes,
    loss: DualPathLoss,
) -> Iterator[ParityCase]:
    """Losses before their weights, features, predictions."""
    parts = model.losses(codes, loss)
    image_logits = model.classifier(codes.images["dropped"])
    classes = codes.extra["image_classes"]
    wrong = (image_logits.argmax(1) != classes) & (classes != IGNORED)
    ours = {
        "objective_img": parts["image"],
        "objective_txt": parts["text"],
        "objective_f": parts["ranking"],
        "top1err_img": wrong.sum(),
        "fc1_1bn": model.image_features(batch.images.pixels),
        "fc5_2bn": model.text(batch.captions.ids),
        "prediction_img": image_logits,
        "prediction_txt": model.classifier(codes.captions["dropped"]),
        "img_norm": codes.images["ranked"],
        "txt_norm": codes.captions["ranked"],
    }
    for key in recorded.under(prefix):
        yield recorded.case(key, ours[key.removeprefix(prefix)], "steps")


def _gradient_cases(recorded: Recorded, model: DualPath, count: int) -> Iterator[ParityCase]:
    """Gradients of the sum over the batch; a parameter without a recorded one must have none."""
    parameters = dict(model.named_parameters())
    for official, ours in official_names(model):
        key, parameter = f"grads/{official}", parameters.get(ours)
        if parameter is None:
            continue
        if key not in recorded:
            if parameter.grad is not None:
                raise ValueError(f"'{official}' has a gradient")
            continue
        assert parameter.grad is not None
        quantity = "steps" if np.abs(recorded.arrays[key]).max() > ROUNDING else "nothing"
        yield _shape_case(recorded, key, to_official(ours, parameter.grad * count), quantity)


def _weight_cases(recorded: Recorded, model: DualPath, prefix: str) -> Iterator[ParityCase]:
    state = model.state_dict()
    for official, ours in official_names(model):
        yield _shape_case(recorded, f"{prefix}{official}", to_official(ours, state[ours]).copy(), "steps")


def _shape_case(recorded: Recorded, key: str, ours: np.ndarray[Any, Any], quantity: str) -> ParityCase:
    return recorded.case(key, ours.reshape(recorded.arrays[key].shape), quantity)
