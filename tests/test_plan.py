"""Dry runs: what they say is what the recipe and the catalog say, and nothing is done."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch
from rich.console import Console

from benchmark import plan
from benchmark.baseline import InputSpec, PixelInput, RegionInput, TextInput, get_method
from benchmark.job import Settings, build_model, prepare
from benchmark.recipe import Recipe, load_recipe
from tests.tiny import I2T, ROOT, T2I, change_recipe


def recipe_at(path: Path) -> Recipe:
    recipe = load_recipe(path)
    assert isinstance(recipe, Recipe)
    return recipe


def shown(made: plan.Plan) -> str:
    text = io.StringIO()
    Console(file=text, width=200).print(plan.plan_table(made, "title"))
    return text.getvalue()


@pytest.fixture
def weightless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Full-size models without their memory: no weights, no probe."""
    method = get_method("hat")
    build = method.build

    def on_meta(*args: object) -> object:
        with torch.device("meta"):
            return build(*args)  # type: ignore[arg-type]

    monkeypatch.setitem(method.__dict__, "build", on_meta)
    monkeypatch.setattr(plan, "probe", lambda *_: (0.5, 1000))


@pytest.mark.usefixtures("weightless")
def test_full_size_plans_count_as_the_paper_does() -> None:
    flickr = plan.make_plan(recipe_at(ROOT / "recipes/hat/flickr30k-i2t.yaml"), 30522, ["here"])
    assert dict(flickr.images) == {"train": 29_000, "val": 1_014, "test": 1_000}
    assert (flickr.epochs, flickr.steps_per_epoch) == (100, 2_500)  # hat.md 5
    assert flickr.parameters == 199_377_592
    assert flickr.step_seconds == 0.5 * 58
    assert flickr.train_seconds == 0.5 * 58 * 2_500 * 100
    assert flickr.memory_bytes == 199_377_592 * 16 + 1000 * 58
    assert flickr.disk_bytes > 2 * 4_305_000_000 + 199_377_592 * 16
    text = shown(flickr)
    for part in (
        "199,377,592 parameters",
        "100 epochs x 2,500 steps",
        "83.9 days",
        "umaru97",
        "4.03 GB",
        "here",
    ):
        assert part in text
    assert len(flickr.pretrained) == 2
    assert all(part in text for part in flickr.pretrained)


@pytest.mark.usefixtures("weightless")
def test_mscoco_with_and_without_restval() -> None:
    recipe = recipe_at(ROOT / "recipes/hat/mscoco-t2i.yaml")
    made = plan.make_plan(recipe, 30522, [])
    assert dict(made.images) == {"train": 82_783, "val": 1_000, "test": 5_000}
    assert made.steps_per_epoch == 7_137  # hat.md 5
    data = recipe.data.model_copy(update={"options": {"restval": True}})
    more = plan.make_plan(recipe.model_copy(update={"data": data}), 30522, [])
    assert dict(more.images)["train"] == 113_287
    assert more.steps_per_epoch == 9_767


def test_a_tiny_plan_is_of_the_model_that_is_trained(fresh: Path) -> None:
    recipe = recipe_at(I2T)
    made = plan.make_plan(recipe, plan.vocabulary_size(recipe), [])
    job = prepare(I2T, recipe, 0, Settings())
    model = build_model(job, pretrained=False)
    assert plan.vocabulary_size(recipe) == job.codec.vocab_size, fresh
    assert made.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert (made.steps_per_epoch, made.epochs) == (7, 1)
    assert dict(made.images) == {name: len(split) for name, split in job.dataset.splits.items()}
    assert made.step_seconds > 0
    assert made.pretrained == []
    text = shown(made)
    assert "none: random weights" in text
    assert "train 40, val 8, test 16 images" in text
    assert [line for line in text.splitlines() if "download" in line and "nothing" in line]


def test_memory_grows_with_the_batch_and_the_picture(fresh: Path) -> None:
    def memory() -> int:
        recipe = recipe_at(I2T)
        return plan.make_plan(recipe, plan.vocabulary_size(recipe), []).memory_bytes

    first = memory()
    change_recipe(I2T, lambda document: document["training"].update(batch_size=64))
    second = memory()
    assert second > 1.5 * first, fresh
    change_recipe(I2T, lambda document: document["model"].update(image_size=128))
    assert memory() > 2 * second


def test_the_probes_bytes_are_those_that_autograd_keeps(fresh: Path) -> None:
    recipe = recipe_at(T2I)
    method = get_method("hat")
    job = prepare(T2I, recipe, 0, Settings())
    model = build_model(job, pretrained=False)
    spec = method.inputs(recipe.method_config())
    seconds, kept = plan.probe(model, spec, recipe, job.codec.vocab_size)
    assert seconds > 0, fresh
    pixels = 3 * 64 * 64 * 4
    assert pixels < kept < 400 * pixels  # the batch itself is kept; weights are not counted


def test_synthetic_batches_have_the_declared_shapes() -> None:
    pixels = PixelInput(size=48, train="plain", evaluate="resize", resize_to=48)
    batch = plan.synthetic_batch(InputSpec(pixels, TextInput("wordpiece", 9)), 50, 3)
    assert batch.images.pixels.shape == (3, 3, 48, 48)
    assert batch.captions.ids.shape == (3, 9)
    assert 0 < int(batch.captions.ids.min()) <= int(batch.captions.ids.max()) < 50
    batch = plan.synthetic_batch(InputSpec(RegionInput(36, 20), TextInput("words", 40)), 50, 2)
    assert batch.images.pixels.shape == (2, 36, 20)
    assert batch.captions.ids.shape == (2, plan.TYPICAL_CAPTION)
    assert len(batch) == 2
