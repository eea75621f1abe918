"""Compares RCAR with quantities that the published code produced (tests/golden/rcar/README.md), every number.

A file is recognised by what it holds, never by its name. Scores, losses, gradients, statistics and stepped weights
go through the production path (`similarity`, `training_codes`, `objective`, `after_step`); values inside a pair
through `published_trace`. Models are replayed in float64, which leaves the recording's own rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from baselines.published.golden import (
    EachEntry,
    Golden,
    Recorded,
    Replay,
    Tolerances,
    compute_objective,
    our_name,
    sum_and_max_cases,
)
from baselines.rcar.checkpoint import our_key, translate
from baselines.rcar.checks.published import published_trace
from baselines.rcar.model import RCAR, RCARConfig
from benchmark.batches import CaptionBatch, ImageBatch, PairBatch, TrainingCodes
from benchmark.method import DataFacts, ParityCase, TripletLoss

TOLERANCES: Tolerances = {
    "values": (1e-5, 0.0),
    "values inside a pair": EachEntry(1e-5, 1e-6),
    "loss": (0.0, 1e-5),
    "gradients": (1e-6, 5e-4),
    "gradient norm": (0.0, 1e-5),
    "stepped weights": (1e-6, 0.0),
    "counts": (0.0, 0.0),
}
"""From tests/golden/rcar/README.md; temperatures inside a pair grow to 30, hence a share of each,
float32's rounding."""

ZERO, ROUNDING = 1e-6, 2.0**-21
"""For gradients that are 0 but for the recording's rounding: absolute, or a share of the largest of all (rcar.md 5)."""

SIGNED = 1e-5
"""Stepped weights are compared where the gradient is larger, or 0, since AdamW's first step takes its sign
alone (rcar.md 5)."""

REGULATORS = {"only_rcr": "rcr", "only_rar": "rar", "coop_rcar": "rcar"}


def choose_replay(recorded: Recorded) -> Replay | None:
    """Tell the kinds of file apart; tokens, ids and augmentation are the harness's own and compared there."""
    if "weights/img_enc.mlp.layers.0.weight" in recorded:
        return _model_cases
    if {"config", "inputs/0/scores", "outputs/0/loss_sum"} <= set(recorded.arrays):
        return sum_and_max_cases
    return None


# ----------------------------------------------------------------------------------- the whole model


@dataclass(frozen=True)
class _Scene:
    """A recorded model, in float64, with its inputs."""

    model: RCAR
    margin: float
    images: ImageBatch
    captions: CaptionBatch
    pairs: PairBatch


def _model_cases(recorded: Recorded) -> Iterator[ParityCase]:
    scene = _rebuild(recorded)
    with torch.no_grad():
        yield from _evaluation_cases(recorded, scene)
    scene.model.train()
    yield from _sum_cases(recorded, scene)
    yield from _step_cases(recorded, scene)


def _rebuild(recorded: Recorded) -> _Scene:
    """The model with the recorded weights, in evaluation mode; every dropout rate is 0, as it was recorded."""
    config = recorded.config()
    setting = config["self_regulator"]
    steps = config[{"only_rcr": "rcr_step", "only_rar": "rar_step", "coop_rcar": "rcar_step"}[setting]]
    model = RCAR(
        RCARConfig(
            direction=config["attn_type"],
            regulator=REGULATORS[setting] if steps else "none",  # type: ignore[arg-type]
            steps=max(steps, 1),
            regions=config["n_region"],
            region_dim=config["img_dim"],
            dim=config["embed_size"],
            sim_dim=config["sim_dim"],
            word_dim=config["word_dim"],
            gru_layers=config["num_layers"],
            bidirectional=config["use_bi_gru"],
            normalize_images=not config["no_imgnorm"],
            normalize_captions=not config["no_txtnorm"],
            dropout=config["dropout_in_train_outputs"],
            temperature=config[f"{config['attn_type']}_smooth"],
        ),
        DataFacts(vocab_size=config["vocab_size"]),
    )
    recorded.load_weights(model, translate)
    pairs = PairBatch(*recorded.batches("inputs/train_"))
    return _Scene(model, config["margin"], *recorded.batches("inputs/"), pairs)


def _evaluation_cases(recorded: Recorded, scene: _Scene) -> Iterator[ParityCase]:
    model = scene.model
    images, captions = model.encode_images(scene.images), model.encode_captions(scene.captions)
    yield recorded.case("outputs/eval/img_emb", images["regions"], "values")
    yield recorded.case("outputs/eval/cap_emb", captions["words"], "values")
    yield recorded.case("outputs/eval/sims", model.similarity(images, captions), "values")
    trace = published_trace(model, images, captions, recorded.config()["trace_caption"])
    for key in recorded.under("outputs/trace/"):
        yield recorded.case(key, trace[key.removeprefix("outputs/trace/")], "values inside a pair")


def _sum_cases(recorded: Recorded, scene: _Scene) -> Iterator[ParityCase]:
    """Loss and gradients of the warm-up epochs."""
    model = scene.model
    loss = _loss(scene, model.training_codes(scene.pairs), hardest=False)
    yield recorded.case("outputs/train/loss_sum", loss, "loss")
    loss.backward()  # type: ignore[no-untyped-call]
    yield from _gradient_cases(recorded, model, "grads_sum/")
    yield recorded.case("outputs/train/grad_norm_sum", _clip(recorded, model), "gradient norm")
    model.zero_grad()


def _step_cases(recorded: Recorded, scene: _Scene) -> Iterator[ParityCase]:
    """One step with the hardest negatives: scores, loss, gradients, weights after clipping and AdamW, statistics."""
    model = scene.model
    optimizer = torch.optim.AdamW(model.parameters(), **recorded.config()["adamw"])
    codes = model.training_codes(scene.pairs)
    yield recorded.case("outputs/train/sims_forward", model.training_scores(codes, None).T, "values")
    loss = _loss(scene, codes, hardest=True)
    yield recorded.case("outputs/train/loss_max", loss, "loss")
    loss.backward()  # type: ignore[no-untyped-call]
    yield from _gradient_cases(recorded, model, "grads/")
    yield recorded.case("outputs/train/grad_norm_max", _clip(recorded, model), "gradient norm")
    optimizer.step()
    model.after_step(codes)
    state = model.state_dict()
    for key in recorded.under("after_step/"):
        yield _stepped_case(recorded, key, state[our_name(key.removeprefix("after_step/"), our_key, state)])


def _gradient_cases(recorded: Recorded, model: RCAR, prefix: str) -> Iterator[ParityCase]:
    parameters = dict(model.named_parameters())
    zero = recorded.config()["params_with_grad_zero_up_to_rounding"]
    largest = max(float(np.abs(recorded.arrays[key]).max()) for key in recorded.under(prefix))
    rounding = max(ZERO, ROUNDING * largest)
    for key in recorded.under(prefix):
        gradient = parameters[our_name(key.removeprefix(prefix), our_key, parameters)].grad
        if gradient is None:
            raise ValueError(f"no gradient for '{key}'")
        case = recorded.case(key, gradient, "gradients")
        yield replace(case, tolerance=rounding) if key.removeprefix(prefix) in zero else case


def _stepped_case(recorded: Recorded, key: str, value: Tensor) -> ParityCase:
    """Ours beside the recorded value; entries whose gradient is too small to have a sign are taken from the file."""
    if not value.is_floating_point():
        return recorded.case(key, value, "counts")
    gradients = recorded.arrays.get(f"grads/{key.removeprefix('after_step/')}")
    if gradients is None:
        return recorded.case(key, value, "stepped weights")
    size = np.abs(gradients)
    compared = (size == 0) | (size > SIGNED)
    if not compared.any():
        raise ValueError(f"no entry of '{key}' has a gradient to go by")
    ours = np.where(compared, value.numpy(), recorded.arrays[key])
    return recorded.case(key, ours, "stepped weights")


def _clip(recorded: Recorded, model: RCAR) -> Tensor:
    return torch.nn.utils.clip_grad_norm_(model.parameters(), recorded.config()["grad_clip"])


def _loss(scene: _Scene, codes: TrainingCodes, *, hardest: bool) -> Tensor:
    return compute_objective(scene.model, codes, TripletLoss(margin=scene.margin, hardest=hardest))


parity_cases = Golden("RCAR", TOLERANCES, choose_replay)
