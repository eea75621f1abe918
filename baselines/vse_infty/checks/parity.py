"""Compares VSE-infinity with what is recorded of its parts (golden README); no recording of a whole model exists.

Pooling, ranking loss, the encoder of regions and that of word pieces, each by itself, in float64. A file is recognised
by what it holds, never by its name.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from baselines.layers.pooled_encoders import PooledBERT
from baselines.published.golden import Golden, Recorded, Replay, Tolerances, sum_and_max_cases
from baselines.published.pooled_cases import (
    gpo_cases,
    gradient_cases,
    image_key,
    is_gpo_file,
    load_recorded,
    pooled_inside,
    text_cases,
)
from baselines.vse_infty.model import VSEConfig, VSEInfinity
from benchmark.method import DataFacts, ParityCase

TOLERANCES: Tolerances = {"values": (1e-5, 0.0), "loss": (0.0, 1e-5), "gradients": (1e-6, 5e-4)}
"""The tolerances of the golden READMEs."""

TINY = {"layers": 1, "hidden": 8, "heads": 1, "intermediate": 8, "max_position": 8, "dropout": 0.0}
"""A BERT for files without one."""


def choose_replay(recorded: Recorded) -> Replay | None:
    """Tell the kinds of file apart."""
    keys = set(recorded.arrays)
    if "config" not in keys:
        return None
    if is_gpo_file(recorded):
        return gpo_cases
    if {"weights/bert.embeddings.word_embeddings.weight", "outputs/embedding"} <= keys:
        return _text_cases
    if {"weights/fc.weight", "inputs/train/regions"} <= keys:
        return _image_cases
    return sum_and_max_cases if {"inputs/0/scores", "outputs/0/loss_sum"} <= keys else None


def _model(config: dict[str, Any]) -> VSEInfinity:
    names = ("layers", "hidden", "heads", "intermediate", "max_position")
    bert = {name: config[f"bert_{name}"] for name in names} if "bert_vocab" in config else TINY
    sizes = {
        "dim": config["embed_size"],
        "pool_width": config["gpo_dim"],
        "region_dim": config.get("img_dim", 2),
    }
    settings = VSEConfig.model_validate({**sizes, "bert": {**bert, "dropout": 0.0}})
    return VSEInfinity(settings, DataFacts(vocab_size=config.get("bert_vocab", 8)))


def _text_cases(recorded: Recorded) -> Iterator[ParityCase]:
    encoder = _model(recorded.config()).text_encoder
    assert isinstance(encoder, PooledBERT)
    return text_cases(recorded, encoder)


def _image_cases(recorded: Recorded) -> Iterator[ParityCase]:
    """The encoder of regions in both modes; gradients and statistics of the pass in train mode."""
    encoder = _model(recorded.config()).image_encoder
    load_recorded(encoder, recorded, image_key)
    for mode in ("eval", "train"):
        encoder.train(mode == "train")
        regions = recorded.tensor(f"inputs/{mode}/regions").double()
        vectors, statistics = encoder(regions, batch_statistics=mode == "train")
        yield recorded.case(f"outputs/{mode}/embedding", vectors, "values")
        for name, value in pooled_inside(encoder, regions).items():
            yield recorded.case(f"outputs/{mode}/{name}", value, "values")
    (vectors * recorded.tensor("inputs/cotangent")).sum().backward()
    encoder.update(statistics)
    yield from gradient_cases(recorded, encoder, image_key)
    state = encoder.state_dict()
    for key in recorded.under("outputs/bn_after_train/"):
        yield recorded.case(key, state[image_key(key.removeprefix("outputs/bn_after_train/"))], "values")


parity_cases = Golden("VSE-infinity", TOLERANCES, choose_replay)
