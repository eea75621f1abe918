"""Compares VSE-infinity with what is recorded of its parts (golden README); no recording of a whole model exists.

Pooling, ranking loss, the encoder of regions and that of word pieces, each by itself, in float64. A file is recognised
by what it holds, never by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from baselines.layers.pooled_encoders import PooledBERT
from baselines.published.pooled_cases import (
    gpo_cases,
    gradient_cases,
    image_key,
    is_gpo_file,
    load_recorded,
    pooled_inside,
    text_cases,
)
from baselines.published.recorded import Recorded, Tolerances, replayed
from baselines.vse_infty.model import VSEConfig, VSEInfinity
from benchmark.method import DataFacts, ParityCase, TripletLoss

TOLERANCES: Tolerances = {"values": (1e-5, 0.0), "loss": (0.0, 1e-5), "gradients of losses": (1e-6, 5e-4)}
"""From the golden READMEs."""

TINY = {"layers": 1, "hidden": 8, "heads": 1, "intermediate": 8, "max_position": 8, "dropout": 0.0}
"""A BERT for files without one."""


def parity_cases(path: Path) -> list[ParityCase]:
    """Every recorded quantity of one golden file beside ours; [] where the file holds none.

    Raises UserError where the file is damaged or records something that isn't compared.
    """
    return replayed(path, TOLERANCES, _comparison_for, name="VSE-infinity", what="part of VSE-infinity")


def _comparison_for(recorded: Recorded) -> Callable[[Recorded], Iterator[ParityCase]] | None:
    keys = set(recorded.arrays)
    if "config" not in keys:
        return None
    if is_gpo_file(recorded):
        return gpo_cases
    if {"weights/bert.embeddings.word_embeddings.weight", "outputs/embedding"} <= keys:
        return _text_cases
    if {"weights/fc.weight", "inputs/train/regions"} <= keys:
        return _image_cases
    return _loss_cases if {"inputs/0/scores", "outputs/0/loss_sum"} <= keys else None


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


def _loss_cases(recorded: Recorded) -> Iterator[ParityCase]:
    """The ranking loss in both phases, as RCAR's code recorded it."""
    cases: Any = recorded.config()  # a list here
    for number, case in enumerate(cases):
        for name in ("sum", "max"):
            scores = recorded.tensor(f"inputs/{number}/scores").double().requires_grad_()
            loss = TripletLoss(margin=case["margin"], hardest=name == "max")(scores)
            loss.backward()  # type: ignore[no-untyped-call]
            assert scores.grad is not None
            yield recorded.case(f"outputs/{number}/loss_{name}", loss, "loss")
            yield recorded.case(f"outputs/{number}/grad_{name}", scores.grad, "gradients of losses")
