"""The toy as a method that recipes can name: it reads words, and stands among the entry points.

`TOY` of `tests/toy.py` is built for batches that a test makes; here captions come from a dataset, so that the
embedding has a row for each id.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
from torch import nn

from benchmark import registry
from benchmark.inputs import WordText
from benchmark.method import DataFacts, Method
from tests.toy import TOY, Toy, ToyConfig
from tests.toy import inputs as toy_inputs

TOY_RECIPE: dict[str, Any] = {
    "summary": "a toy",
    "method": "toy",
    "departures": ["a model for tests"],
    "paper_row": {"method": "hat", "variant": "HAT (i2t)"},
    "data": {"name": "scenes", "options": {"n_train": 20, "n_val": 8, "n_test": 16}},
    "model": {},
    "pretrained": False,
    "training": {
        "batch_size": 32,
        "optimizer": {"name": "adam", "lr": 0.001},
        "schedule": {"name": "cosine", "warmup_steps": 2},
        "stages": [{"epochs": 2}],
    },
}


def build(config: ToyConfig, facts: DataFacts) -> Toy:
    """A toy whose embedding has a row for each id."""
    model = Toy(config)
    model.words = nn.Embedding(facts.vocab_size, config.width, padding_idx=facts.pad_id)
    return model


def reading(text: WordText) -> Method:
    """The toy with captions read so."""
    return replace(TOY, build=build, inputs=lambda config: replace(toy_inputs(config), text=text))


WORD_TOY = reading(WordText())


@dataclass(frozen=True)
class Point:
    """An entry point that is there already."""

    method: Method

    def load(self) -> Method:
        return self.method


def register(patch: pytest.MonkeyPatch, **methods: Method) -> None:
    """Let recipes name these methods beside those that are there."""
    points = {**registry._entry_points(), **{name: Point(method) for name, method in methods.items()}}
    patch.setattr(registry, "_entry_points", lambda: points)
