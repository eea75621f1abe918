"""The memory that dry runs of full-size recipes speak of is what counting on paper gives, within a fifth."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from math import isqrt
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmark.evaluation.footprint import LONGEST
from benchmark.method import Baseline, DataFacts
from benchmark.recipe.files import load_recipe
from benchmark.recipe.schema import Recipe
from benchmark.registry import get_method
from benchmark.run import plan, probe
from benchmark.run.job import split_sizes
from tests.paths import ROOT


def recipes_by_model() -> dict[str, list[Path]]:
    """All full-size recipes, those with the same model side by side; by the name of the first."""
    found: dict[str, list[Path]] = {}
    for path in sorted((ROOT / "recipes").glob("*/*.yaml")):
        recipe = load_recipe(path)
        if not path.stem.startswith("scenes") and isinstance(recipe, Recipe):
            found.setdefault(f"{recipe.method} {recipe.method_config()!r}", []).append(path)
    return {f"{paths[0].parent.name}-{paths[0].stem}": paths for paths in found.values()}


FULL = recipes_by_model()
LENGTH = 8
"""Bytes of the length of a caption."""


def recipe_at(name: str) -> Recipe:
    recipe = load_recipe(ROOT / "recipes" / f"{name}.yaml")
    assert isinstance(recipe, Recipe)
    return recipe


# -------------------------------------------------------------------------------------- evaluation


def code_bytes(recipe: Recipe) -> tuple[int, int]:
    """Bytes of the codes of an image and of a caption, by the shapes in the methods' papers."""
    config: Any = recipe.method_config()
    size = {"float32": 4, "float64": 8}[recipe.evaluation.precision]
    if recipe.method == "hat":  # three levels of tokens, in a common space
        return size * (28**2 + 14**2 + 7**2) * 768, size * 3 * 32 * 768 + LENGTH
    if recipe.method in ("user", "vse_infty"):
        return size * 1024, size * 1024
    if recipe.method == "dual_encoder":  # CLIP ViT-B/32's
        return size * 512, size * 512
    if recipe.method == "dualpath":
        return size * 2048, size * 2048
    vector = {"rcar": 0, "sgraf": 1024}.get(recipe.method)
    if vector is None:  # a sketch of so many cells
        vector = config.sketch.depth * config.sketch.width
    return size * (36 * 1024 + vector), size * (LONGEST * 1024 + vector) + LENGTH


def host_bytes(recipe: Recipe) -> int:
    """Codes of captions, of a block of images and of a batch that waits, and the matrix."""
    image, caption = code_bytes(recipe)
    size = {"float32": 4, "float64": 8}[recipe.evaluation.precision]
    pair = size if recipe.method in ("user", "vse_infty", "dualpath", "dual_encoder") else 8192
    images = max(split_sizes(recipe)[name] for name in ("val", "test"))
    captions = recipe.data.captions_per_image * images
    pairs = recipe.evaluation.memory_mb * 2**20 // pair
    rows = min(images, max(isqrt(pairs), pairs // captions))
    waiting = min(images, rows + recipe.evaluation.batch_size)
    return captions * caption + waiting * image + images * captions * size


@cache
def model_of(method: str, config: str) -> Baseline:
    kind = get_method(method)
    return kind.build(kind.config.model_validate_json(config), DataFacts(vocab_size=100, n_train_images=10))


def found_bytes(recipe: Recipe) -> int:
    config = recipe.method_config()
    spec = get_method(recipe.method).inputs(config)
    model = model_of(recipe.method, config.model_dump_json())
    return plan.largest_footprint(model, spec, recipe).host


def check_evaluation(recipe: Recipe) -> None:
    assert found_bytes(recipe) == pytest.approx(host_bytes(recipe), rel=0.2)


def test_hat_on_mscoco_no_longer_takes_23_gigabytes() -> None:
    recipe = recipe_at("hat/mscoco-i2t")
    image, caption = code_bytes(recipe)
    assert 5_000 * image + 25_000 * caption > 23e9
    assert host_bytes(recipe) < 10.5e9


@pytest.mark.parametrize("name", ["sgraf/mscoco-saf", "vse_infty/flickr30k-bigru", "rcar/mscoco-t2i"])
def test_memory_of_an_evaluation(name: str) -> None:
    check_evaluation(recipe_at(name))


@pytest.mark.slow
@pytest.mark.parametrize("paths", FULL.values(), ids=FULL)
def test_memory_of_every_evaluation(paths: list[Path]) -> None:
    for path in paths:
        recipe = load_recipe(path)
        assert isinstance(recipe, Recipe)
        check_evaluation(recipe)


# ---------------------------------------------------------------------------------------- training


def bert_floats(tokens: int, width: int = 768, layers: int = 12, heads: int = 12) -> int:
    """Numbers that a layer of BERT keeps of a caption, with dropout.

    As wide as the model: the input, query, key, value, the context, two dropout masks, two sums before a norm, and the
    first norm's result; four times as wide: before and after GELU; of all pairs of tokens: the softmax, its dropout
    mask, and both multiplied.
    """
    return layers * (tokens * (10 + 8) * width + 3 * heads * tokens**2)


def swin_floats(side: int = 56, width: int = 128, depths: tuple[int, ...] = (2, 2, 18, 2)) -> int:
    """Numbers that Swin keeps of a picture; windows of 7 x 7 tokens, heads 32 wide.

    A block, as wide as the model: the input, its norm, query, key and value, the query scaled, the context in its
    order, the sum, its norm; four times as wide: before and after GELU; of all pairs of a window: the softmax.
    """
    total = 0
    for stage, blocks in enumerate(depths):
        tokens, wide = (side // 2**stage) ** 2, width * 2**stage
        total += blocks * (tokens * wide * (9 + 8) + tokens * 49 * (wide // 32))
    return total


def bottleneck_floats() -> int:
    """Numbers that ResNet-50 keeps of a picture: of each convolution its result, and what the ReLU after it leaves."""

    def convolutions() -> Iterator[int]:
        yield 64 * 112**2
        yield 64 * 56**2 // 2  # pooled, and the places of the maxima
        for stage, blocks in enumerate((3, 4, 6, 3)):
            side, middle = 56 // 2**stage, 64 * 2**stage
            for block in range(blocks):
                yield from (middle * side**2, middle * side**2, 4 * middle * side**2)
                if block == 0:
                    yield 4 * middle * side**2

    return 2 * sum(convolutions())


def region_floats(regions: int = 36, width: int = 2048, dim: int = 1024) -> int:
    """Numbers that VSE-infinity keeps of an image: the features, the perceptron's hidden layer, the sorted regions.

    Hidden: before its norm, after it, after the ReLU; sorted: the values, and their places, which take twice the room.
    """
    return regions * (width + 3 * dim // 2 + 3 * dim)


STEPS: dict[str, Callable[[], int]] = {
    "hat/flickr30k-i2t": lambda: 4 * 58 * (swin_floats() + bert_floats(32)),
    "vse_infty/flickr30k-bert": lambda: 4 * 128 * (region_floats() + bert_floats(probe.TYPICAL_CAPTION)),
    "rcar/flickr30k-i2t": lambda: 12288 * 2**20,  # the pairs' budget; all else is small beside it
    "dualpath/flickr30k-resnet50-caffe": lambda: 4 * 32 * bottleneck_floats(),
}
"""Bytes that a step keeps for its backward pass, by recipe."""


def with_the_last_stage(recipe: Recipe) -> Recipe:
    """The recipe with that stage alone, which trains all parameters."""
    training = recipe.training.model_copy(update={"stages": recipe.training.stages[-1:]})
    return recipe.model_copy(update={"training": training})


@pytest.mark.slow
@pytest.mark.parametrize("name", STEPS)
def test_memory_of_a_training(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights, gradients and moments, 4 bytes each, and what the step keeps."""
    monkeypatch.setattr(probe, "QUICK", 0)
    # what is kept is counted on the way forward; most of the time goes on the way back
    monkeypatch.setattr(torch.autograd, "backward", lambda *_arguments: None)
    if not name.startswith("dualpath"):  # half the time; those of the dual-path do not grow evenly below 4
        monkeypatch.setattr(probe, "PROBE_SIZES", (2, 3, 4))
    monkeypatch.setattr(probe, "quickest_step", probe.probe_step)
    recipe = recipe_at(name)
    if name in ("hat/flickr30k-i2t", "dualpath/flickr30k-resnet50-caffe"):  # their first ones keep less
        recipe = with_the_last_stage(recipe)
    found = plan.make_plan(recipe, plan.vocabulary_size(recipe), [])
    moments = {"adam": 2, "adamw": 2, "sgd": 1}[recipe.training.optimizer.name]
    expected = 4 * (2 + moments) * found.parameters + STEPS[name]()
    assert found.largest.memory_bytes == pytest.approx(expected, rel=0.2)
