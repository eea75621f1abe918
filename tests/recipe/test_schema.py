"""Recipes: the committed ones hold the papers' numbers, and the schema names what is wrong in others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from pydantic import ValidationError

from benchmark.errors import UserError
from benchmark.method import DataFacts
from benchmark.recipe.faults import about
from benchmark.recipe.files import load_recipe, run_name
from benchmark.recipe.schema import EnsembleRecipe, Evaluation, Recipe
from benchmark.recipe.training import StepSchedule, Training
from benchmark.records.paper import find_row, resolve
from benchmark.registry import get_method
from benchmark.run.resolve import check_recipes, dataset_of, member_paths
from benchmark.training.schedules import learning_rate
from benchmark.training.stages import plan_stages, stage_of
from tests.paths import ROOT
from tests.tiny import tiny_recipe, write_recipe

PATHS = sorted((ROOT / "recipes").glob("*/*.yaml"))
SINGLE = [path for path in PATHS if "ensemble" not in path.stem]
FULL_SIZE = [path for path in SINGLE if path.parent.name == "hat" and not path.stem.startswith("scenes")]
SCENES = [path for path in SINGLE if path.stem.startswith("scenes")]


def name_of(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def single(path: Path) -> Recipe:
    recipe = load_recipe(path)
    assert isinstance(recipe, Recipe)
    return recipe


# --------------------------------------------------------------------------------- committed ones


def test_hat_has_a_recipe_for_every_dataset_and_variant() -> None:
    datasets = ("scenes", "flickr30k", "mscoco", "flickr8k")
    expected = {f"{data}-{kind}" for data in datasets for kind in ("i2t", "t2i", "ensemble")}
    assert {path.stem for path in PATHS if path.parent.name == "hat"} == expected


@pytest.mark.parametrize("path", PATHS, ids=name_of)
def test_every_recipe_is_sound(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    recipe = load_recipe(path)
    check_recipes([path])
    assert path.stem.split("-")[0] == dataset_of(path)  # `rematch reproduce hat DATASET` finds it by name
    assert recipe.summary
    paper = resolve(recipe.paper_row)
    assert paper is not None
    assert paper.method == path.parent.name
    if isinstance(recipe, EnsembleRecipe):
        members = [single(member) for member in member_paths(path, recipe)]
        assert {member.data.name for member in members} == {dataset_of(path)}
    else:
        assert recipe.method == path.parent.name
        assert get_method(recipe.method).name == recipe.method


@pytest.mark.parametrize("path", SINGLE, ids=name_of)
def test_every_stage_trains_what_it_names(path: Path) -> None:
    recipe = single(path)
    method = get_method(recipe.method)
    with torch.device("meta"):  # shapes without numbers
        model = method.build(recipe.method_config(), DataFacts(vocab_size=100, n_train_images=10))
    plans = plan_stages(model, recipe.training, method.loss)
    assert sum(plan.epochs for plan in plans) == recipe.training.epochs
    assert all(plan.trainable for plan in plans)


@pytest.mark.parametrize("path", PATHS, ids=name_of)
def test_every_key_of_a_recipe_is_in_the_schema_once(path: Path) -> None:
    class Unique(yaml.SafeLoader):
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            keys = [self.construct_object(key, deep) for key, _ in node.value]
            assert len(keys) == len(set(keys)), f"{path}: a key stands twice in {keys}"
            return dict(super().construct_mapping(node, deep))

    yaml.load(path.read_text(encoding="utf-8"), Unique)


# -------------------------------------------------------------------------- HAT's numbers (hat.md 5)


@pytest.mark.parametrize("path", FULL_SIZE, ids=name_of)
def test_full_size_hat_has_the_published_numbers(path: Path) -> None:
    recipe = single(path)
    training = recipe.training
    assert bool(recipe.departures) == (recipe.data.name == "flickr8k")  # the paper reports nothing on it
    assert recipe.pretrained
    assert (training.seed, training.batch_size, training.precision) == (0, 58, "float16")
    optimizer = training.optimizer
    assert (optimizer.name, optimizer.lr, optimizer.betas, optimizer.eps) == (
        "adam",
        1e-4,
        (0.9, 0.999),
        1e-8,
    )
    assert (optimizer.weight_decay, optimizer.clip_norm) == (0.0, None)
    assert training.schedule == StepSchedule(name="step", every=10, gamma=0.1)
    assert [stage.epochs for stage in training.stages] == [11, 89]
    assert [stage.loss for stage in training.stages] == [{"margin": 0.2, "hardest": True}] * 2
    assert [stage.optimizer for stage in training.stages] == ["keep", "keep"]
    assert [stage.start_from for stage in training.stages] == ["previous", "previous"]
    assert (training.validate_from_epoch, training.validate_every, training.select) == (1, 1, "r1_sum")
    assert training.pair_budget_mb is None
    assert recipe.evaluation.tie_rule == "lower_index"


@pytest.mark.parametrize("path", FULL_SIZE, ids=name_of)
def test_full_size_hat_is_the_published_model(path: Path) -> None:
    recipe = single(path)
    direction = path.stem.split("-")[1]
    config = recipe.method_config().model_dump()
    assert config == get_method(recipe.method).config.model_validate({"direction": direction}).model_dump()
    assert config["temperature"] == 9
    assert (config["hidden"], config["image_size"], config["resize_to"]) == (768, 224, 256)
    assert config["max_text_length"] == 32
    assert config["train_transform"] == "random_resized_crop_flip"
    assert (config["image_levels"], config["text_layers"]) == ((1, 2, 3), (4, 10, 12))
    assert recipe.paper_row.variant == f"HAT ({direction})"


@pytest.mark.parametrize("path", FULL_SIZE[:1], ids=name_of)
def test_full_size_hat_unfreezes_as_published(path: Path) -> None:
    recipe = single(path)
    method, training = get_method(recipe.method), recipe.training
    with torch.device("meta"):
        model = method.build(recipe.method_config(), DataFacts(vocab_size=30522))
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    plans = plan_stages(model, training, method.loss)
    trained = [sum(sizes[name] for name in stage_of(plans, epoch).trainable) for epoch in range(100)]
    pooler = sum(size for name, size in sizes.items() if ".pooler." in name)
    assert pooler == 768 * 768 + 768
    assert trained == [3_150_336] * 11 + [199_377_592 - pooler] * 89  # hat.md 5.1
    rates = [
        learning_rate(training.schedule, training.optimizer.lr, epoch=epoch, step=0, total_steps=1)
        for epoch in range(100)
    ]
    assert rates == pytest.approx([1e-4 * 0.1 ** (epoch // 10) for epoch in range(100)])


def test_full_size_hat_uses_the_data_as_the_code_does() -> None:
    for path in FULL_SIZE:
        data = single(path).data
        assert data.captions_per_image == 5
        if data.name == "mscoco":
            assert data.options == {"restval": False}
            assert data.first_images.counts() == {"val": 1000}
        else:
            assert (data.options, data.first_images.counts()) == ({}, {})
    assert {single(path).data.name for path in FULL_SIZE} == {"flickr30k", "mscoco", "flickr8k"}


def test_full_size_ensembles_answer_to_the_papers_ensembles() -> None:
    for data, protocol in (("flickr30k", "flickr30k"), ("mscoco", "mscoco-5k")):
        recipe = load_recipe(ROOT / f"recipes/hat/{data}-ensemble.yaml")
        assert isinstance(recipe, EnsembleRecipe)
        assert recipe.ensemble == [f"{data}-i2t", f"{data}-t2i"]
        assert recipe.departures == []
        row = find_row(recipe.paper_row.method, recipe.paper_row.variant, protocol, ROOT / "results/paper")
        assert row is None or row.ensemble


@pytest.mark.parametrize("path", SCENES, ids=name_of)
def test_scenes_recipes_say_that_they_are_no_papers_set_up(path: Path) -> None:
    recipe = single(path)
    assert recipe.departures
    assert not recipe.pretrained  # nothing is downloaded
    assert any("scenes" in reason or "embedded" in reason for reason in recipe.departures)


# ------------------------------------------------------------------------------------- the schema


def problem(document: object, tmp_path: Path) -> str:
    """The error of a document, without the file's name in front."""
    path = tmp_path / "recipes/hat/scenes-x.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    with pytest.raises(UserError) as caught:
        load_recipe(path)
    message = str(caught.value)
    assert message.startswith(f"{path.as_posix()}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path.as_posix()}: ")


def without(name: str) -> dict[str, Any]:
    document = tiny_recipe()
    del document[name]
    return document


def test_faults_are_named(tmp_path: Path) -> None:
    good = tiny_recipe()
    assert problem(without("pretrained"), tmp_path) == "field 'pretrained' is missing"
    assert problem({**without("pretrained"), "pretraind": 1}, tmp_path) == (
        "field 'pretraind' is not known; did you mean 'pretrained'?"
    )
    training = {**good["training"], "batch_size": 1}
    assert problem({**good, "training": training}, tmp_path) == (
        "field 'training.batch_size': found 1, input should be greater than or equal to 2"
    )
    assert problem({**good, "training": {**good["training"], "stages": []}}, tmp_path).startswith(
        "field 'training.stages': found [], list should have at least 1 item"
    )
    schedule = {**good["training"], "schedule": {"name": "linear"}}
    assert "field 'training.schedule'" in problem({**good, "training": schedule}, tmp_path)
    for first, message in (
        ({"val": 0}, "val': found 0"),
        ({"vla": 1}, "vla' is not known; did you mean 'val'?"),
    ):
        document = {**good, "data": {"name": "scenes", "first_images": first}}
        assert problem(document, tmp_path).startswith(f"field 'data.first_images.{message}")


def test_two_wrong_values_are_counted(tmp_path: Path) -> None:
    training = {**tiny_recipe()["training"], "batch_size": "many", "seed": "x"}
    assert problem({**tiny_recipe(), "training": training}, tmp_path).endswith("(and 1 more)")


def test_a_recipe_does_not_change_after_reading(tmp_path: Path) -> None:
    recipe = single(write_recipe(tmp_path / "recipes/hat/scenes-x.yaml", tiny_recipe()))
    assert recipe.evaluation == Evaluation()
    assert recipe.method_config().model_dump()["direction"] == "i2t"
    with pytest.raises(ValidationError):
        recipe.summary = "other"


def test_every_number_survives_writing_and_reading(tmp_path: Path) -> None:
    recipe = single(FULL_SIZE[0])
    again = write_recipe(tmp_path / "recipes/hat/again.yaml", recipe.model_dump(mode="json"))
    assert single(again) == recipe


def test_epochs_are_those_of_all_stages() -> None:
    training = {**tiny_recipe()["training"], "stages": [{"epochs": 3}, {"epochs": 4}]}
    assert Training.model_validate(training).epochs == 7


@pytest.mark.parametrize(
    ("path", "dataset", "expected"),
    [
        ("recipes/hat/scenes-i2t.yaml", "scenes", "hat-i2t"),
        ("recipes/hat/flickr30k-ensemble.yaml", "flickr30k", "hat-ensemble"),
        ("recipes/hat/scenes.yaml", "scenes", "hat"),
        ("mine/rcar/my-own.yaml", "scenes", "rcar-my-own"),
    ],
)
def test_run_names(path: str, dataset: str, expected: str) -> None:
    assert run_name(Path(path), dataset) == expected


def test_about_names_the_recipe_once() -> None:
    path = Path("recipes/hat/x.yaml")
    for text in ("field 'a' is not known", "unknown dataset 'x'"):
        with pytest.raises(UserError, match=rf"^{path.as_posix()}: {text}$"), about(path):
            raise UserError(text)
    with pytest.raises(UserError, match=r"^the Hub is away$"), about(path):
        raise UserError("the Hub is away")
