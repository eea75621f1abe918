"""The scenes models of all methods, narrow enough to be trained in a moment, with batches made up for them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmark.checks.gpu.subjects import Subject, shortened
from benchmark.recipe.files import load_recipe
from benchmark.recipe.schema import Recipe
from tests.paths import ROOT

PAIRS, VOCABULARY = 6, 40

_BERT = {
    "layers": 2,
    "hidden": 8,
    "heads": 2,
    "intermediate": 8,
    "max_position": 32,
    "dropout": 0.1,
}
_REGIONS = {"regions": 5, "region_dim": 10, "dim": 8}
_PAIRED = {**_REGIONS, "sim_dim": 4, "word_dim": 6, "dropout": 0.4}
SIZES: Mapping[str, Mapping[str, Any]] = {
    "hat": {
        "hidden": 8,
        "swin": {"patch": 8, "embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2], "window": 4},
        "bert": _BERT,
    },
    "sgraf": _PAIRED,
    "temde": _PAIRED,
    "rcar": {**_PAIRED, "augment": "word_drop"},
    "user": {**_REGIONS, "pool_width": 4, "queue": 2 * PAIRS, "dropout": 0.4, "bert": _BERT},
    "vse_infty": {**_REGIONS, "pool_width": 4, "word_dim": 6, "bert": _BERT},
    "dualpath": {
        "trunk": {"name": "small", "widths": [4, 4], "out": 8, "moment_rate": 0.05},
        "text": {"positions": 20, "word_dim": 6, "widths": [4, 4, 4, 4, 8, 8], "units": [1, 2, 1, 1]},
        "candidates": 7,
        "dropout": 0.5,
    },
}
"""What is changed in a method's recipes; dropout is on, so that its random numbers are drawn."""

RECIPES = sorted(
    path
    for path in (ROOT / "recipes").glob("*/scenes*.yaml")
    if path.parent.name in SIZES and isinstance(load_recipe(path), Recipe)
)
"""The recipes of single models."""


def small(path: Path, precision: str = "float32", pairs: int = PAIRS) -> Subject:
    """Read a recipe and make its model and its training small, with batches of `pairs`."""
    recipe = load_recipe(path)
    assert isinstance(recipe, Recipe)
    document = recipe.model_dump()
    document["model"] = {**recipe.model, **SIZES[recipe.method]}
    if "queue" in document["model"]:
        document["model"]["queue"] = 2 * pairs
    document["training"] |= {"batch_size": pairs, "precision": precision}
    return Subject.of(shortened(Recipe.model_validate(document), pairs), path.stem, VOCABULARY)
