"""The dual-path CNN's recipes: the published numbers (dualpath.md 3 to 5), and a whole run of both stages on scenes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from baselines.dualpath.checkpoint import official_names
from baselines.dualpath.model import DualPath
from baselines.dualpath.trunks import official_factor
from benchmark.method import DataFacts
from benchmark.recipe.files import load_recipe
from benchmark.recipe.schema import Recipe
from benchmark.registry import get_method
from benchmark.run.job import split_sizes
from benchmark.run.plan import what_is_fetched
from benchmark.run.resolve import check_recipes
from benchmark.training.optimizers import FACTOR, parameter_groups
from benchmark.training.stages import plan_stages
from tests.paths import ROOT

FOLDER = ROOT / "recipes/dualpath"
FULL = sorted(path for path in FOLDER.glob("*.yaml") if not path.stem.startswith("scenes"))
EPOCHS = {  # dataset, trunk: epochs of stage I; of stage II, and before its rate drops (dualpath.md 5.4)
    ("flickr30k", "resnet50"): (240, 60, 40),
    ("flickr30k", "resnet152"): (240, 60, 40),
    ("flickr30k", "vgg19"): (240, 60, 40),
    ("mscoco", "resnet50"): (75, 20, 15),
    ("mscoco", "vgg19"): (70, 20, 15),
}


def recipe_of(path: Path) -> Recipe:
    recipe = load_recipe(path)
    assert isinstance(recipe, Recipe)
    return recipe


def model_of(recipe: Recipe) -> DualPath:
    with torch.device("meta"):  # shapes without numbers
        facts = DataFacts(vocab_size=20_074, n_train_images=29_783)
        model = get_method("dualpath").build(recipe.method_config(), facts)
    assert isinstance(model, DualPath)
    return model


def factors(recipe: Recipe, model: DualPath) -> dict[str, float]:
    """The learning-rate factor of each parameter."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = parameter_groups(model, recipe.training.optimizer)
    return {names[id(parameter)]: group[FACTOR] for group in groups for parameter in group["params"]}


def test_there_is_a_recipe_for_every_dataset_trunk_and_stage() -> None:
    kinds = [f"{data}-{trunk}" for data, trunk in EPOCHS]
    caffe = {f"{kind}-caffe" for kind in kinds if "152" not in kind}
    split = "flickr30k-resnet50-authors-split"
    assert {path.stem for path in FULL} == {*kinds, *(f"{kind}-stage1" for kind in kinds), *caffe, split}
    check_recipes(FULL)


@pytest.mark.parametrize("path", FULL, ids=lambda path: path.stem)
def test_full_size_models_train_as_published(path: Path) -> None:
    recipe = recipe_of(path)
    training, optimizer = recipe.training, recipe.training.optimizer
    dataset, trunk = path.stem.split("-")[:2]
    one, two, drop = EPOCHS[dataset, trunk]
    assert (training.batch_size, training.precision, training.select) == (32, "float32", "last")
    assert (optimizer.name, optimizer.lr, optimizer.momentum, optimizer.nesterov) == ("sgd", 0.1, 0.9, True)
    assert (optimizer.weight_decay, optimizer.clip_norm) == (1e-4, None)
    first, *rest = training.stages
    assert (first.epochs, first.loss, first.frozen) == (
        one,
        {"ranking": 0, "image": 1, "text": 1},
        ["trunk.*"],
    )
    assert len(rest) == (0 if path.stem.endswith("stage1") else 1)
    for stage in rest:
        assert (stage.epochs, stage.optimizer) == (two, "reset")
        assert stage.loss == {"ranking": 2, "image": 1, "text": 0.1, "margin": 1}
        assert stage.schedule is not None
        assert stage.schedule.model_dump() == {"name": "milestones", "at": [drop], "gamma": 0.1}
    model, flickr = model_of(recipe), dataset == "flickr30k"
    assert model.config.dropout == (0.75 if flickr else 0.5)
    assert (model.classifier.bias is not None) == (flickr and trunk != "vgg19")
    assert (model.config.exclude, model.config.candidates) == ("batch" if flickr else "anchors", 256)
    plans = plan_stages(model, training, get_method("dualpath").loss)
    assert not any(name.startswith("trunk.") for name in plans[0].trainable)


@pytest.mark.parametrize("path", FULL, ids=lambda path: path.stem)
def test_learning_rates_are_the_published_ones_layer_by_layer(path: Path) -> None:
    """Of the new layers those that the golden files record; of the Caffe trunks those of their places."""
    recipe = recipe_of(path)
    model = model_of(recipe)
    found = factors(recipe, model)
    with np.load(ROOT / "tests/golden/dualpath/stage2_a.npz") as golden:
        recorded = json.loads(str(golden["config"]))["lr_mult"]
    names = official_names(model)
    trunk = len(model.trunk.official_names())
    assert trunk == (213 if "resnet50-caffe" in path.stem else 36 if "vgg" in path.stem else 0)
    for place, (official, ours) in enumerate(names, start=1):
        if ours in found:
            assert found[ours] == (official_factor(place) if place <= trunk else recorded[official]), official


def test_the_recipe_of_the_authors_split_differs_in_its_data_alone() -> None:
    ours, theirs = (recipe_of(FOLDER / f"flickr30k-resnet50{end}.yaml") for end in ("", "-authors-split"))
    assert (ours.data.options, theirs.data.options) == ({}, {"split": "flickr8k"})
    same = {"data": ours.data, "summary": ours.summary, "departures": ours.departures}
    assert theirs.model_copy(update=same) == ours
    assert "UNCERTAIN" in theirs.departures[0]
    assert split_sizes(theirs) == {"train": 29_783, "val": 1_000, "test": 1_000}
    (line,) = {item.split(" ")[0] for item in what_is_fetched(theirs, None).items}
    assert line == "lmms-lab/flickr30k"


def test_the_caffe_trunk_s_moments_move_as_published() -> None:
    assert model_of(recipe_of(FOLDER / "flickr30k-resnet50-caffe.yaml")).config.trunk.moment_rate == 0.001


COUNTS = {  # dualpath.md 3.3, 3.4: text tower, image head, classifier; words and classes of the authors' data
    "flickr30k-resnet50-caffe": (36_324_284, 8_396_800, 61_025_367, 20_074, 29_783),
    "flickr30k-vgg19-caffe": (36_324_284, 25_178_112, 60_995_584, 20_074, 29_783),
    "mscoco-resnet50-caffe": (39_293_684, 8_396_800, 232_011_776, 29_972, 113_287),
    "mscoco-vgg19-caffe": (39_293_684, 25_178_112, 232_011_776, 29_972, 113_287),
}


@pytest.mark.parametrize("name", COUNTS)
def test_full_size_models_have_the_published_parameter_counts(name: str) -> None:
    *counts, words, classes = COUNTS[name]
    config = recipe_of(FOLDER / f"{name}.yaml").method_config()
    with torch.device("meta"):
        model = get_method("dualpath").build(config, DataFacts(vocab_size=words, n_train_images=classes))
    assert isinstance(model, DualPath)
    parts = (model.text, model.image_head, model.classifier)
    assert [sum(array.numel() for array in part.parameters()) for part in parts] == counts


def test_stage_one_on_scenes_is_the_first_stage_of_both() -> None:
    one, both = (recipe_of(FOLDER / f"{name}.yaml") for name in ("scenes-stage1", "scenes"))
    assert (one.data, one.model, one.evaluation) == (both.data, both.model, both.evaluation)
    assert one.training.stages == both.training.stages[:1]
    assert one.training.model_copy(update={"stages": both.training.stages}) == both.training
    assert both.training.stages[1].optimizer == "reset"
    assert [stage.trainable for stage in both.training.stages] == [["*"]] * 2  # the trunk is never frozen
