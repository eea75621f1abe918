"""Compares SAF and SGR with quantities that the published code produced (tests/golden/sgraf/README.md).

A file is recognised by what it holds, never by its name. Scores, losses, gradients, statistics and stepped weights
go through the production path (`similarity`, `training_codes`, `objective`, `after_step`); values inside a pair
through `published_trace`, whose score is compared as well. Models are replayed in float64, which leaves the
recording's own rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch

from baselines.published.golden import (
    EachEntry,
    Golden,
    Recorded,
    Replay,
    Tolerances,
    compute_objective,
    our_name,
    triplet_cases,
)
from baselines.sgraf.checkpoint import our_key, translate
from baselines.sgraf.checks.published import published_trace
from baselines.sgraf.model import SGRAF, SGRAFConfig
from benchmark.batches import CaptionBatch, ImageBatch, PairBatch
from benchmark.method import DataFacts, ParityCase, TripletLoss

TOLERANCES: Tolerances = {
    "values": (1e-5, 0.0),
    "loss": (1e-5, 1e-6),
    "gradients": EachEntry(1e-4, 1e-3),
    "gradient norm": (0.0, 1e-5),
    "statistics": (1e-6, 0.0),
    "stepped weights": (2e-6, 0.0),
    "counts": (0.0, 0.0),
}
"""The tolerances of tests/golden/sgraf/README.md."""

Build = Callable[[SGRAFConfig, DataFacts], SGRAF]


def make_golden(build: Build) -> Golden:
    """The golden files, replayed by the model that `build` makes; a method that has this one inside brings its own."""

    def choose_replay(recorded: Recorded) -> Replay | None:
        if "weights/sim_enc.sim_eval_w.weight" in recorded:
            return partial(_model_cases, build=build)
        if "config" in recorded and "cases" in recorded.config() and recorded.under("grads/"):
            return _loss_cases
        return None

    return Golden("SGRAF", TOLERANCES, choose_replay)


# ----------------------------------------------------------------------------------- the whole model


@dataclass(frozen=True)
class _Scene:
    """A recorded model, in float64, with its inputs and the recorded values to compare."""

    model: SGRAF
    loss: TripletLoss
    images: ImageBatch
    captions: CaptionBatch
    pairs: PairBatch


def _model_cases(recorded: Recorded, build: Build) -> Iterator[ParityCase]:
    scene = _rebuild(recorded, build)
    with torch.no_grad():
        yield from _evaluation_cases(recorded, scene)
    yield from _training_cases(recorded, scene)


def _rebuild(recorded: Recorded, build: Build) -> _Scene:
    """The model with the recorded weights, in evaluation mode; every dropout rate is 0, as it was recorded."""
    config = recorded.config()
    model = build(
        SGRAFConfig(
            module=config["module_name"],
            regions=config["num_region"],
            region_dim=config["img_dim"],
            dim=config["embed_size"],
            sim_dim=config["sim_dim"],
            word_dim=config["word_dim"],
            gru_layers=config["num_layers"],
            bidirectional=config["bi_gru"],
            normalize_images=not config["no_imgnorm"],
            normalize_captions=not config["no_txtnorm"],
            dropout=0,
            sgr_steps=config["sgr_step"],
        ),
        DataFacts(vocab_size=config["vocab_size"]),
    )
    recorded.load_weights(model, translate)
    return _Scene(
        model,
        TripletLoss(margin=config["margin"], hardest=config["max_violation"]),
        *recorded.batches("inputs/eval/"),
        PairBatch(*recorded.batches("inputs/train/")),
    )


def _evaluation_cases(recorded: Recorded, scene: _Scene) -> Iterator[ParityCase]:
    model = scene.model
    images, captions = model.encode_images(scene.images), model.encode_captions(scene.captions)
    yield recorded.case("outputs/eval/img_emb", images["regions"], "values")
    yield recorded.case("outputs/eval/cap_emb", captions["words"], "values")
    yield recorded.case("outputs/eval/sims", model.similarity(images, captions), "values")
    for caption in recorded.config()["probe_captions"]:
        own = captions["global"][caption : caption + 1]  # (1, D)
        trace = {"img_glo": images["global"], "cap_glo": own}
        trace |= published_trace(model, images, captions, caption)
        for name, value in trace.items():
            yield recorded.case(f"outputs/eval/cap{caption}/{name}", value, "values")


def _training_cases(recorded: Recorded, scene: _Scene) -> Iterator[ParityCase]:
    """One training step: scores, loss, gradients, statistics, weights after clipping and Adam."""
    model, config = scene.model.train(), recorded.config()
    optimizer = torch.optim.Adam(model.parameters(), lr=config["learning_rate"])
    codes = model.training_codes(scene.pairs)
    yield recorded.case("outputs/train/img_emb", codes.images["regions"], "values")
    yield recorded.case("outputs/train/cap_emb", codes.captions["words"], "values")
    yield recorded.case("outputs/train/sims", model.training_scores(codes, None), "values")
    loss = compute_objective(model, codes, scene.loss)
    yield recorded.case("outputs/train/loss", loss, "loss")
    loss.backward()  # type: ignore[no-untyped-call]
    parameters = dict(model.named_parameters())
    for key in recorded.under("grads/"):
        parameter = parameters[our_name(key.removeprefix("grads/"), our_key, parameters)]
        # a key's bias has none: the softmax over its row does not see it, the recording is rounding (sgraf.md 3.6)
        gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        yield recorded.case(key, gradient, "gradients")
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config["grad_clip"])
    yield recorded.case("outputs/train/grad_norm", norm, "gradient norm")
    optimizer.step()
    model.after_step(codes)
    yield from _state_cases(recorded, model)


def _state_cases(recorded: Recorded, model: SGRAF) -> Iterator[ParityCase]:
    state = model.state_dict()
    for prefix, quantity in (("buffers_after/", "statistics"), ("after_step/", "stepped weights")):
        for key in recorded.under(f"outputs/train/{prefix}"):
            value = state[our_name(key.removeprefix(f"outputs/train/{prefix}"), our_key, state)]
            yield recorded.case(key, value, quantity if value.is_floating_point() else "counts")


# ------------------------------------------------------------------------------------------ the loss


def _loss_cases(recorded: Recorded) -> Iterator[ParityCase]:
    for case in recorded.config()["cases"]:
        name = case["name"]
        scores = recorded.tensor(f"inputs/{name}/scores").double()
        loss = TripletLoss(margin=case["margin"], hardest=case["max_violation"])
        keys = f"outputs/{name}/loss", f"grads/{name}/scores"
        yield from triplet_cases(recorded, scores, loss, keys, ("loss", "gradients"))


parity_cases = make_golden(SGRAF)
