"""The dual-path CNN's recipes: rates layer by layer, the split of the authors' code, and stage I on scenes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from baselines.dualpath.checkpoint import official_names
from baselines.dualpath.model import DualPath
from baselines.dualpath.trunks import official_factor
from benchmark.method import DataFacts
from benchmark.run.job import split_sizes
from benchmark.run.plan import what_is_fetched
from benchmark.training.optimizers import FACTOR, parameter_groups
from tests.paths import ROOT
from tests.recipe.networks import network, single

FOLDER = ROOT / "recipes/dualpath"
FULL = sorted(path for path in FOLDER.glob("*.yaml") if not path.stem.startswith("scenes"))


@pytest.mark.parametrize("path", FULL, ids=lambda path: path.stem)
def test_learning_rates_are_the_published_ones_layer_by_layer(path: Path) -> None:
    """Of the new layers those that the golden files record; of the Caffe trunks those of their places."""
    recipe = single(path)
    model = network(recipe, DataFacts(vocab_size=20_074, n_train_images=29_783))
    assert isinstance(model, DualPath)
    places = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = parameter_groups(model, recipe.training.optimizer)
    found = {places[id(parameter)]: group[FACTOR] for group in groups for parameter in group["params"]}
    with np.load(ROOT / "tests/golden/dualpath/stage2_a.npz") as golden:
        recorded = json.loads(str(golden["config"]))["lr_mult"]
    names = official_names(model)
    trunk = len(model.trunk.official_names())
    assert trunk == (213 if "resnet50-caffe" in path.stem else 36 if "vgg" in path.stem else 0)
    for place, (official, ours) in enumerate(names, start=1):
        if ours in found:
            assert found[ours] == (official_factor(place) if place <= trunk else recorded[official]), official


def test_the_recipe_of_the_authors_split_differs_in_its_data_alone() -> None:
    ours, theirs = (single(FOLDER / f"flickr30k-resnet50{end}.yaml") for end in ("", "-authors-split"))
    same = {"data": ours.data, "summary": ours.summary, "departures": ours.departures}
    assert theirs.model_copy(update=same) == ours
    assert "UNCERTAIN" in theirs.departures[0]
    assert split_sizes(theirs) == {"train": 29_783, "val": 1_000, "test": 1_000}
    (line,) = {item.split(" ")[0] for item in what_is_fetched(theirs, None).items}
    assert line == "lmms-lab/flickr30k"


def test_stage_one_on_scenes_is_the_first_stage_of_both() -> None:
    one, both = (single(FOLDER / f"{name}.yaml") for name in ("scenes-stage1", "scenes"))
    assert (one.data, one.model, one.evaluation) == (both.data, both.model, both.evaluation)
    assert one.training.stages == both.training.stages[:1]
    assert one.training.model_copy(update={"stages": both.training.stages}) == both.training
    assert both.training.stages[1].optimizer == "reset"
    assert [stage.trainable for stage in both.training.stages] == [["*"]] * 2  # the trunk is never frozen
