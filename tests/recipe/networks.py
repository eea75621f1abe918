"""The models of recipes without their numbers, each built once: shapes, names and counts are all that is asked."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch

from benchmark.method import Baseline, DataFacts
from benchmark.recipe.files import load_recipe
from benchmark.recipe.schema import Recipe
from benchmark.registry import get_method


def single(path: Path, profile: str | None = None) -> Recipe:
    """The recipe of a single model."""
    recipe = load_recipe(path, profile)
    assert isinstance(recipe, Recipe)
    return recipe


def network(recipe: Recipe, facts: DataFacts) -> Baseline:
    """The recipe's model on the meta device; shared with other tests, so not to be changed."""
    return _built(recipe.method, recipe.method_config().model_dump_json(), facts)


@cache
def _built(method: str, config: str, facts: DataFacts) -> Baseline:
    found = get_method(method)
    with torch.device("meta"):
        return found.build(found.config.model_validate_json(config), facts)
