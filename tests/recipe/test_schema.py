"""Recipes: the committed ones are sound, and the schema names what is wrong in others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pytest
import yaml
from pydantic import ValidationError

from benchmark.errors import UserError
from benchmark.recipe.faults import about
from benchmark.recipe.files import load_recipe, run_name
from benchmark.recipe.schema import DataSettings, Evaluation, GridRegions, Recipe
from benchmark.recipe.training import Training
from benchmark.records.paper import resolve
from benchmark.records.record import recipe_digest
from benchmark.registry import get_method
from benchmark.run.resolve import check_runs, find_runs
from benchmark.run.runs import read_run
from benchmark.strict import LATER
from tests.paths import ROOT
from tests.recipe.networks import single
from tests.recipe.unique_keys import read_yaml
from tests.reporting import factory
from tests.tiny import tiny_recipe, write_recipe

PATHS = sorted((ROOT / "recipes").glob("*/*.yaml"))
SINGLE = [path for path in PATHS if "ensemble" not in path.stem]
PAPERS = {"dual_encoder": None}
"""Methods whose recipes answer to no paper's row."""
SCENES = [path for path in SINGLE if path.stem.startswith("scenes")]


def name_of(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


# --------------------------------------------------------------------------------- committed ones


@pytest.mark.parametrize("path", PATHS, ids=name_of)
def test_every_recipe_is_sound(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    run = read_run(path)
    check_runs([run])
    assert path.stem.split("-")[0] == run.dataset  # `rematch reproduce hat DATASET` finds it by name
    assert run.recipe.summary
    paper = resolve(run.recipe.paper_row)
    assert (paper.method if paper is not None else None) == PAPERS.get(path.parent.name, path.parent.name)
    if run.members:
        assert {member.dataset for member in run.members} == {run.dataset}
    else:
        assert run.single.method == path.parent.name
        assert get_method(run.single.method).name == run.single.method


@pytest.mark.parametrize("path", PATHS, ids=name_of)
def test_no_key_of_a_recipe_stands_twice(path: Path) -> None:
    assert read_yaml(path)


@pytest.mark.parametrize("path", SCENES, ids=name_of)
def test_scenes_recipes_are_small_and_say_that_they_are_no_papers_set_up(path: Path) -> None:
    recipe = single(path)
    assert recipe.departures
    assert not recipe.pretrained  # nothing is downloaded
    assert any("scenes" in reason or "embedded" in reason for reason in recipe.departures)
    config = recipe.method_config().model_dump()
    assert config.get("dim", 0) <= 128
    assert config.get("sim_dim", 0) <= 32
    if recipe.data.regions is not None:
        assert isinstance(
            recipe.data.regions, GridRegions
        )  # proxy features, which the data say of themselves
        if recipe.method not in ("sgraf", "temde"):
            assert any("proxy" in reason for reason in recipe.departures)


@pytest.mark.parametrize(
    ("method", "dataset"), sorted({(path.parent.name, path.stem.split("-")[0]) for path in PATHS})
)
def test_a_dataset_names_all_its_variants_and_the_ensemble_last(
    method: str, dataset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    runs = find_runs(method, dataset)
    check_runs(runs)
    paths = [run.path for run in runs]
    assert sorted(ROOT / path for path in paths) == [
        path for path in PATHS if (path.parent.name, path.stem.split("-")[0]) == (method, dataset)
    ]
    assert [path.stem for path in paths[:-1] if "ensemble" in path.stem] == []


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
    recipe = single(ROOT / "recipes/hat/flickr30k-i2t.yaml")
    again = write_recipe(tmp_path / "recipes/hat/again.yaml", recipe.model_dump(mode="json"))
    assert single(again) == recipe


def test_a_training_says_that_it_compiles_only_where_it_does() -> None:
    plain, compiled = (
        Training.model_validate({**tiny_recipe()["training"], "compile": on}) for on in (False, True)
    )
    assert "compile" not in plain.model_dump(mode="json")
    assert plain == Training.model_validate(tiny_recipe()["training"])
    assert compiled.model_dump(mode="json") == {**plain.model_dump(mode="json"), "compile": True}


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


# ------------------------------------------------------------------------------ keys that came later


class MoreData(DataSettings):
    """A recipe's data with a key that came after the records."""

    shuffle: Annotated[str, LATER] = "never"


class MoreRecipe(Recipe):
    """A recipe with that key."""

    data: MoreData


def test_a_key_that_came_later_stays_out_of_digest_and_hash_at_its_default() -> None:
    document = tiny_recipe()
    before = Recipe.model_validate(document).model_dump(mode="json")
    now = MoreRecipe.model_validate(document).model_dump(mode="json")
    document["data"]["shuffle"] = "always"
    set_to = MoreRecipe.model_validate(document).model_dump(mode="json")
    assert now == before
    digests = [recipe_digest(dump) for dump in (before, now, set_to)]
    assert digests[0] == digests[1] != digests[2]
    hashes = [factory.record(recipe=dump).canonical_hash for dump in (before, now, set_to)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_recipe_at_its_defaults_says_nothing_about_keys_that_came_later() -> None:
    dump = Recipe.model_validate(tiny_recipe()).model_dump(mode="json")
    assert not {"regions", "guides"} & dump["data"].keys()
    assert not {"momentum", "nesterov", "groups"} & dump["training"]["optimizer"].keys()
    assert "schedule" not in dump["training"]["stages"][0]
    document = tiny_recipe()
    document["training"]["optimizer"] = {"name": "sgd", "lr": 0.1, "momentum": 0.9}
    document["data"]["regions"] = {"source": "grid"}
    dump = Recipe.model_validate(document).model_dump(mode="json")
    assert dump["data"]["regions"] == {"source": "grid", "backbone": "random"}
    assert dump["training"]["optimizer"] == {
        "name": "sgd",
        "lr": 0.1,
        "momentum": 0.9,
        "weight_decay": 0.0,
        "clip_norm": None,
    }


def test_fields_for_own_data_stay_out_of_dumps_at_their_defaults() -> None:
    """Digests of recipes and hashes of records are what they were before own data came."""
    assert "every_caption" not in DataSettings(name="scenes").model_dump()
    assert DataSettings(name="mine", every_caption=True).model_dump()["every_caption"] is True
    record = factory.record()
    document = record.model_dump(mode="json")
    assert "every_caption" not in document["dataset"]
    assert not any("chance" in result for result in document["results"].values())
