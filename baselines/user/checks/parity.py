"""Compares USER with quantities that the published code produced (golden README): every recorded number.

A file is recognised by what it holds, never by its name. Embeddings, scores, losses and whole training steps go
through the production path; values inside an encoder through a probe. Models are replayed in float64, which leaves
the recording's own rounding. Two training steps: steps.py.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from baselines.layers.norms import l2_normalize
from baselines.layers.queues import KeyQueues
from baselines.published.golden import Array, Golden, Recorded, Replay, compute_gradients
from baselines.published.pooled_cases import (
    gpo_cases,
    gradient_cases,
    is_gpo_file,
    load_recorded,
    pooled_inside,
    text_cases,
)
from baselines.user.checks.replay import TOLERANCES, build_recorded, image_key, load_all
from baselines.user.checks.steps import step_cases
from baselines.user.enhancement import region_gate
from baselines.user.model import ImageEncoder, UserLoss, batch_loss, queue_loss
from benchmark.method import ParityCase


def choose_replay(recorded: Recorded) -> Replay | None:
    """Tell the kinds of file apart; word pieces and augmentation are the harness's own and compared there."""
    if "config" not in recorded:
        return None
    if is_gpo_file(recorded):
        return gpo_cases
    if {"inputs/v_queue", "inputs/t_k", "inputs/v_k"} <= set(recorded.arrays):
        return _loss_cases
    for key, compare in (
        ("weights/v_sa.embedding_common.0.weight", _image_cases),
        ("weights/bert.embeddings.word_embeddings.weight", _text_cases),
        ("weights/img/v_sa.embedding_common.0.weight", _evaluation_cases),
        ("weights/q/img/v_sa.embedding_common.0.weight", step_cases),
    ):
        if key in recorded:
            return compare
    return None


# -------------------------------------------------------------------------------- an encoder by itself


def _image_cases(recorded: Recorded) -> Iterator[ParityCase]:
    """Values inside the image encoder in both modes; gradients and statistics of the pass in train mode."""
    encoder = build_recorded(recorded.config()).image_encoder
    load_recorded(encoder, recorded, image_key)
    regions = recorded.tensor("inputs/images").double()
    for mode in ("eval", "train"):
        encoder.train(mode == "train")
        vectors, statistics = encoder(regions, batch_statistics=mode == "train")
        yield recorded.case(f"outputs/{mode}/embedding", vectors, "values")
        for name, value in _inside(encoder, regions).items():
            yield recorded.case(f"outputs/{mode}/{name}", value, "values")
    (vectors * recorded.tensor("inputs/cotangent")).sum().backward()
    encoder.update(statistics)
    yield from gradient_cases(recorded, encoder, image_key)
    state = encoder.state_dict()
    for key in recorded.under("outputs/bn_after_train/"):
        official = key.removeprefix("outputs/bn_after_train/")
        yield recorded.case(key, state[image_key(official)], "values")


def _inside(encoder: ImageEncoder, regions: Tensor) -> dict[str, Tensor]:
    """Compute the recorded values between regions and embedding, by name; written out, for parity only."""
    enhancement, batch = encoder.enhancement, encoder.training
    assert enhancement is not None
    attention = enhancement.attention
    assert attention.local_norm is not None
    assert attention.query_norm is not None
    local = attention.local_norm(attention.local(regions), batch_statistics=batch)[0].tanh()  # (B, R, D)
    whole = attention.query_norm(attention.query(regions.mean(1)), batch_statistics=batch)[0].tanh()  # (B, D)
    weights = attention.score(local * whole[:, None]).squeeze(2).softmax(1)  # (B, R)
    guide = l2_normalize((weights[..., None] * regions).sum(1))  # (B, D)
    enhanced, _ = enhancement(regions, batch_statistics=batch)
    return {
        "sge_local": local,
        "sge_global": whole,
        "sge_weights": weights,
        "global_vector": guide,
        "region_gate": region_gate(regions, guide, enhancement.sharpness),
        "enhanced_regions": enhanced,
        **pooled_inside(encoder.pooled, enhanced),
    }


def _text_cases(recorded: Recorded) -> Iterator[ParityCase]:
    return text_cases(recorded, build_recorded(recorded.config()).text_encoder)


# ------------------------------------------------------------------------------------ losses and scores


def _loss_cases(recorded: Recorded) -> Iterator[ParityCase]:
    """Yield both parts of the loss by themselves."""
    config = recorded.config()
    queues = KeyQueues(config["embed_size"], config["K"]).double()
    queues.images.copy_(recorded.tensor("inputs/v_queue"))
    queues.captions.copy_(recorded.tensor("inputs/t_queue"))
    keys = recorded.tensor("inputs/v_k").double(), recorded.tensor("inputs/t_k").double()
    for name, setting in config["settings"].items():
        loss = UserLoss(scale=setting["mu"], threshold=setting["gamma"])
        for part, (first, second) in {"in_batch": ("im", "s"), "queue": ("v_q", "t_q")}.items():
            images = recorded.tensor("inputs/im").double().requires_grad_()
            captions = recorded.tensor("inputs/s").double().requires_grad_()
            if part == "in_batch":
                value = batch_loss(images, captions, loss)
            else:
                value = queue_loss(images, captions, keys, queues, loss)
            yield recorded.case(f"outputs/{name}/{part}", value, "loss alone")
            for side, gradient in zip(
                (first, second), compute_gradients(value, images, captions), strict=True
            ):
                yield recorded.case(f"grads/{name}/{part}/{side}", gradient, "loss alone")


@torch.no_grad()
def _evaluation_cases(recorded: Recorded) -> Iterator[ParityCase]:
    """Yield embeddings, scores and ranks; the metrics in the file's configuration belong to its ranks."""
    config = recorded.config()
    model = build_recorded(config)
    load_all(model, recorded, "weights/")
    model.eval()
    images, captions = recorded.batches("inputs/", ids="token_ids")
    image_codes, caption_codes = model.encode_images(images), model.encode_captions(captions)
    scores = model.similarity(image_codes, caption_codes)
    yield recorded.case("outputs/image_embeddings", image_codes["vectors"], "values")
    yield recorded.case("outputs/caption_embeddings", caption_codes["vectors"], "values")
    yield recorded.case("outputs/sims", scores, "values")
    n, m = scores.shape
    own = torch.arange(m) // (m // n)  # the image of each caption
    matching = own == torch.arange(n)[:, None]  # (n, m)
    best = scores.masked_fill(~matching, -torch.inf).amax(1, keepdim=True)  # of an image's captions
    ranks = {
        "i2t": (scores > best).sum(1),
        "t2i": (scores > scores[own, torch.arange(m)]).sum(0),
    }
    for direction, found in ranks.items():
        yield recorded.case(f"outputs/ranks_{direction}", found, "exact")
        yield _metrics_case(direction, config[direction], found.numpy())
    recalls = [config[direction][f"r{k}"] for direction in ranks for k in (1, 5, 10)]
    yield ParityCase("config/rsum", np.array(config["rsum"]), np.array(sum(recalls)), 1e-9)


def _metrics_case(direction: str, metrics: dict[str, float], ranks: Array) -> ParityCase:
    """R@1, 5, 10, median and mean rank, in the file's order."""
    ours = {f"r{k}": 100 * (ranks < k).mean() for k in (1, 5, 10)}
    ours |= {"medr": np.floor(np.median(ranks)) + 1, "meanr": ranks.mean() + 1}
    values = np.array(list(metrics.values())), np.array([ours[name] for name in metrics])
    return ParityCase(f"config/{direction}", *values, 1e-9)


parity_cases = Golden("USER", TOLERANCES, choose_replay)
