"""Compares this HAT with what the published code produced (tests/golden/hat/README.md): every recorded number.

A file is recognised by what it holds, never by its name. Scores, losses and gradients go through the
production path (`similarity`, `objective`); stage outputs and hidden states through the encoders' own methods.
Whole models are replayed in float64: the recorded t2i score divides by norms that nearly vanish, which makes
a float32 replay's gradients depend on the machine (1e-3); what remains in float64 is the recording's rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from baselines.attention.cross_attention import attention_scores
from baselines.hat.checkpoint import LEVEL_SUFFIXES, our_key, translate
from baselines.hat.model import HAT, HATConfig
from baselines.hat.swin import SwinConfig
from baselines.layers.bert import BERTConfig
from baselines.published.golden import (
    Array,
    Golden,
    Recorded,
    Replay,
    Tolerances,
    compute_gradients,
    compute_objective,
    our_name,
    triplet_cases,
)
from benchmark.batches import CaptionBatch, ImageBatch, PairBatch
from benchmark.method import DataFacts, ParityCase, TripletLoss

TOLERANCES: Tolerances = {
    "features": (1e-5, 0.0),
    "scores": (1e-5, 0.0),
    "loss": (1e-5, 0.0),
    "gradients": (0.0, 1e-3),
    "step losses": (5e-5, 0.0),
    "stepped weights": (2e-6, 0.0),
    "one level": (1e-6, 0.0),
    "ranking loss": (1e-6, 0.0),
    "percentages": (1e-4, 0.0),
    "exact": (0.0, 0.0),
}
"""The tolerances of tests/golden/hat/README.md."""

FROZEN_STEPS = 2
"""The recorded optimiser steps: so many with frozen encoders, the rest with all but the pooler at a tenth of the lr."""

RECALL_DEPTHS = (1, 5, 10, 20, 50, 70, 100)


def choose_replay(recorded: Recorded) -> Replay | None:
    """Tell the kinds of file apart; ranks and text preprocessing are the harness's own and compared there."""
    keys = set(recorded.arrays)
    if {"config", "weights/cross_modal_image_transform.weight", "inputs/images"} <= keys:
        return _full_cases
    if {"config", "inputs/images", "inputs/captions", "inputs/lengths"} <= keys and any(
        f"outputs/{direction}/caption_index" in keys for direction in ("i2t", "t2i")
    ):
        return _one_level_cases
    if {"inputs/0/scores", "inputs/0/margin", "outputs/0/loss"} <= keys:
        return _ranking_loss_cases
    return None


# ---------------------------------------------------------------------------- the whole model


@dataclass(frozen=True)
class _Scene:
    """A recorded model with its inputs."""

    model: HAT
    loss: TripletLoss
    images: ImageBatch
    captions: CaptionBatch
    pairs: PairBatch


def _full_cases(recorded: Recorded) -> Iterator[ParityCase]:
    scene = _rebuild(recorded)
    with torch.no_grad():
        yield from _feature_cases(recorded, scene)
        yield from _score_cases(recorded, scene)
    yield from _gradient_cases(recorded, scene)
    yield from _step_cases(recorded, scene)


def _rebuild(recorded: Recorded) -> _Scene:
    """The model in eval mode, in float64, with all the recorded weights, and the inputs."""
    config = recorded.config()
    bert = config["bert"]
    model = HAT(
        HATConfig(
            direction=config["direction"],
            temperature=config["lambda_softmax"],
            hidden=config["hidden_size"],
            image_size=config["image_size"],
            max_text_length=config["max_text_len"],
            swin=SwinConfig(
                patch=config["swin_patch"],
                embed_dim=config["embed_dim"],
                depths=config["depths"],
                num_heads=config["num_heads"],
                window=config["window_size"],
                mlp_ratio=config["mlp_ratio"],
            ),
            bert=BERTConfig(
                layers=bert["num_hidden_layers"],
                hidden=bert["hidden_size"],
                heads=bert["num_attention_heads"],
                intermediate=bert["intermediate_size"],
                max_position=bert["max_position_embeddings"],
            ),
        ),
        DataFacts(vocab_size=bert["vocab_size"]),
    )
    recorded.load_weights(model, translate)
    images = recorded.tensor("inputs/images").double()
    ids, lengths = recorded.tensor("inputs/input_ids"), recorded.tensor("inputs/lengths")
    rows, columns = recorded.tensor("inputs/train_image_index"), recorded.tensor("inputs/train_caption_index")
    return _Scene(
        model,
        TripletLoss(margin=config["margin"]),
        ImageBatch(images, torch.arange(len(images))),
        CaptionBatch(ids, lengths, torch.arange(len(ids))),
        PairBatch(ImageBatch(images[rows], rows), CaptionBatch(ids[columns], lengths[columns], columns)),
    )


def _feature_cases(recorded: Recorded, scene: _Scene) -> Iterator[ParityCase]:
    """Stage outputs, BERT layers, projected tokens; the file holds those of the first few items."""
    stages = scene.model.image_encoder(scene.images.pixels, (0, 1, 2, 3))
    states = scene.model.text_states(scene.captions)
    ours = {f"vit_stage_{k}": tokens for k, tokens in enumerate(stages)}
    ours |= {f"bert_layer_{k}": state for k, state in enumerate(states[1:])}
    images, captions = scene.model.encode_images(scene.images), scene.model.encode_captions(scene.captions)
    for k, name in enumerate(_level_names(), start=1):
        ours[f"image_feats_{name}"] = images[f"level_{k}"]
        ours[f"text_feats_{name}"] = captions[f"level_{k}"]
    for name, tensor in ours.items():
        key = f"outputs/eval/{name}"
        if key in recorded:
            yield recorded.case(key, tensor[: len(recorded.arrays[key])], "features")


def _score_cases(recorded: Recorded, scene: _Scene) -> Iterator[ParityCase]:
    images, captions = scene.model.encode_images(scene.images), scene.model.encode_captions(scene.captions)
    for name, scores in zip(_level_names(), scene.model.level_scores(images, captions), strict=True):
        yield recorded.case(f"outputs/eval/sims_{name}", scores, "scores")
    total = scene.model.similarity(images, captions)
    yield recorded.case("outputs/eval/sims", total, "scores")
    image_of_caption = recorded.arrays["inputs/caption_image_index"].astype(np.int64)
    recalls = _recalls(total.numpy(), image_of_caption)  # (14,), i2t then t2i
    yield recorded.case("outputs/eval/metrics", recalls, "percentages")
    best = recalls[0] + recalls[len(RECALL_DEPTHS)]
    yield recorded.case("outputs/eval/logged_best_irtr", np.asarray(best), "percentages")


def _gradient_cases(recorded: Recorded, scene: _Scene) -> Iterator[ParityCase]:
    model = scene.model
    codes = model.training_codes(scene.pairs)
    yield recorded.case("outputs/train/scores", model.similarity(codes.images, codes.captions), "scores")
    loss = compute_objective(model, codes, scene.loss)
    yield recorded.case("outputs/train/loss", loss, "loss")
    model.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    parameters = dict(model.named_parameters())
    for key in recorded.under("grads/"):
        parameter = parameters[our_name(key.removeprefix("grads/"), our_key, parameters)]
        gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        yield recorded.case(key, gradient, "gradients")
    model.zero_grad()


def _step_cases(recorded: Recorded, scene: _Scene) -> Iterator[ParityCase]:
    """One Adam over all parameters: frozen encoders first, then everything but the pooler at a tenth of the rate."""
    model, key = scene.model, "outputs/steps/losses"
    if key not in recorded:
        return
    optimizer = torch.optim.Adam(model.parameters(), lr=recorded.config()["learning_rate"])
    losses = []
    for step in range(recorded.arrays[key].size - 1):
        frozen = step < FROZEN_STEPS
        for name, parameter in model.named_parameters():
            projection = name.startswith(("image_projections.", "text_projections."))
            parameter.requires_grad_(projection or not (frozen or ".pooler." in name))
        if step == FROZEN_STEPS:
            optimizer.param_groups[0]["lr"] *= 0.1
        loss = compute_objective(model, model.training_codes(scene.pairs), scene.loss, step)
        losses.append(loss.detach())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():
        losses.append(compute_objective(model, model.training_codes(scene.pairs), scene.loss, len(losses)))
    yield recorded.case(key, torch.stack(losses), "step losses")
    state = model.state_dict()
    for after in recorded.under("outputs/steps/after/"):
        weight = state[our_name(after.removeprefix("outputs/steps/after/"), our_key, state)]
        yield recorded.case(after, weight, "stepped weights")


def _level_names() -> list[str]:
    return [suffix.removeprefix("_") or "last" for suffix in LEVEL_SUFFIXES]


def _recalls(sims: Array, image_of_caption: Array) -> Array:
    """R@K in percent, i2t then t2i, by counting the items that score higher than the best right one."""
    right = image_of_caption[None, :] == np.arange(len(sims))[:, None]  # (n_images, n_captions)
    best = np.where(right, sims, -np.inf).max(1, keepdims=True)
    i2t = (sims > best).sum(1)
    t2i = (sims > np.where(right, sims, -np.inf).max(0, keepdims=True)).sum(0)
    return np.array([100 * (ranks < depth).mean() for ranks in (i2t, t2i) for depth in RECALL_DEPTHS])


# --------------------------------------------------------------------------------- its parts


def _one_level_cases(recorded: Recorded) -> Iterator[ParityCase]:
    """Bare cross-attention, in float32, in float64, and its gradients."""
    for direction in ("i2t", "t2i"):
        key = f"outputs/{direction}/caption_index"
        if key not in recorded:
            continue
        # an index that is not one of the captions' fails its own case and leaves the others to be compared
        index = np.clip(np.rint(recorded.arrays[key]), 0, len(recorded.arrays["inputs/lengths"]) - 1)
        yield recorded.case(key, index, "exact")
        used = torch.from_numpy(index.astype(np.int64))
        yield from _attention_cases(recorded, direction, used)


def _attention_cases(recorded: Recorded, direction: str, used: Tensor) -> Iterator[ParityCase]:
    def score(images: Tensor, captions: Tensor) -> Tensor:
        lengths = recorded.tensor("inputs/lengths")[used]
        temperature = float(recorded.config()["lambda_softmax"])
        side: Any = direction
        return attention_scores(images, captions, lengths, direction=side, temperature=temperature)

    images = recorded.tensor("inputs/images").requires_grad_()
    captions = recorded.tensor("inputs/captions")[used].requires_grad_()
    sims = score(images, captions)
    yield recorded.case(f"outputs/{direction}/sims", sims, "one level")
    weighted = (sims * torch.linspace(-1, 1, sims.numel()).view_as(sims)).sum()
    for name, gradient in zip(
        ("images", "captions"), compute_gradients(weighted, images, captions), strict=True
    ):
        yield recorded.case(f"grads/{direction}/{name}", gradient, "one level")
    double = score(images.detach().double(), captions.detach().double())
    yield recorded.case(f"outputs/{direction}/sims_float64_path", double, "one level")


def _ranking_loss_cases(recorded: Recorded) -> Iterator[ParityCase]:
    for key in recorded.under("outputs/"):
        number = key.split("/")[1]
        loss = TripletLoss(margin=float(recorded.arrays[f"inputs/{number}/margin"]))
        scores, keys = recorded.tensor(f"inputs/{number}/scores"), (key, f"grads/{number}/scores")
        yield from triplet_cases(recorded, scores, loss, keys, ("ranking loss", "ranking loss"))


# ------------------------------------------------------------------------ the official checkpoint


@cache
def official_manifest() -> dict[str, tuple[tuple[int, ...], str, str]]:
    """Full-size HAT's official keys, each with its shape, dtype and kind, derived from this model (no memory used)."""
    with torch.device("meta"):
        model = HAT(HATConfig(direction="i2t"), DataFacts(vocab_size=30522))
    names: dict[str, tuple[Tensor, str]] = {
        name: (tensor, "parameter") for name, tensor in model.named_parameters()
    }
    names |= {name: (tensor, "buffer") for name, tensor in model.named_buffers() if "image_encoder." in name}
    return {
        official_key(name): (tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."), kind)
        for name, (tensor, kind) in names.items()
    }


def official_key(name: str) -> str:
    """The official name of one of our weights or of timm's buffers: `our_key` the other way round."""
    for side in ("image", "text"):
        for k, suffix in enumerate(LEVEL_SUFFIXES):
            name = name.replace(f"{side}_projections.{k}.", f"cross_modal_{side}_transform{suffix}.")
    for stage in (1, 2, 3):
        name = name.replace(f"swin.layers.{stage}.downsample", f"swin.layers.{stage - 1}.downsample")
    name = name.replace("image_encoder.norms.", "vit_model.norm_")
    return name.replace("image_encoder.swin.", "vit_model.").replace("text_encoder.", "text_transformer.")


def _manifest_cases(manifest: dict[str, Any]) -> Iterator[ParityCase]:
    """Compare keys, shapes, dtypes and kinds of all entries, in the file's order; none of another document."""
    if "cross_modal_image_transform.weight" not in manifest:
        return
    ours = official_manifest()
    absent: tuple[tuple[int, ...], str, str] = ((), "absent", "absent")
    entries = [(tuple(shape), dtype, kind) for shape, dtype, kind in manifest.values()]
    counterparts = [ours.get(key, absent) for key in manifest]
    known = np.array([key in ours for key in manifest], dtype=np.int64)
    yield ParityCase("manifest/keys", np.ones_like(known), known, 0.0)
    lacking = [key for key in ours if key not in manifest]
    yield ParityCase("manifest/keys_lacking", np.array(0), np.array(len(lacking)), 0.0)
    yield ParityCase("manifest/shapes", _pad_shapes(entries), _pad_shapes(counterparts), 0.0)
    for column, name in ((1, "dtypes"), (2, "kinds")):
        expected, actual = (np.array([str(row[column]) for row in rows]) for rows in (entries, counterparts))
        yield ParityCase(f"manifest/{name}", expected, actual, 0.0)


def _pad_shapes(rows: list[tuple[tuple[int, ...], str, str]]) -> Array:
    """Shapes as an (n, 4) array, filled up with -1."""
    return np.array([[*shape, -1, -1, -1, -1][:4] for shape, _, _ in rows])


parity_cases = Golden("HAT", TOLERANCES, choose_replay, documents=_manifest_cases)
