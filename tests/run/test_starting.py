"""A recipe for own data starts from any method, is sized to the data, and lists what departs."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.errors import UserError
from benchmark.recipe.files import load_recipe
from benchmark.recipe.schema import Recipe, StoredRegions
from benchmark.registry import get_method, method_names
from benchmark.run.job import Settings, caption_counts, check_last_batch, prepare, split_sizes
from benchmark.run.plan import vocabulary_size
from benchmark.run.resolve import check_runs
from benchmark.run.runs import read_run
from benchmark.run.starting import Wanted, write_recipe
from tests.data.own.sources import COUNT, bring_in, captions_folder, captions_of, features_folder

pytestmark = pytest.mark.usefixtures("work")


def single(path: Path) -> Recipe:
    recipe = load_recipe(path)
    assert isinstance(recipe, Recipe)
    return recipe


@pytest.mark.parametrize("size", ["small", "full"])
@pytest.mark.parametrize("method", method_names())
def test_every_method_has_a_sound_recipe_of_either_size(tmp_path: Path, method: str, size: str) -> None:
    bring_in(captions_folder(tmp_path / "source", split=True))
    path, said = write_recipe(Wanted(method, "mine", size=size))
    recipe = single(path)
    assert path.parent == Path("recipes") / method
    assert path.stem.split("-")[0] == "mine"
    assert (recipe.paper_row, recipe.expected, recipe.data.every_caption) == (None, [], True)
    assert recipe.departures[0] == "the dataset mine, which is its owner's"
    assert [f"departure: {line}" for line in recipe.departures] == said[1:]
    assert not [line for line in recipe.departures if "scenes" in line]
    spec = get_method(method).inputs(recipe.method_config())
    if spec.image.regions is not None:
        assert spec.image.regions == (36, 128)
    units = caption_counts(recipe)["train"] if spec.unit == "caption" else split_sizes(recipe)["train"]
    assert recipe.training.batch_size <= max(2, units // 4)
    check_last_batch(recipe)
    check_runs([read_run(path)])


def test_counts_are_those_of_the_index(tmp_path: Path) -> None:
    bring_in(captions_folder(tmp_path / "source", split=True))
    recipe = single(write_recipe(Wanted("sgraf", "mine"))[0])
    total = sum(len(captions_of(number)) for number in range(COUNT))
    assert sum(caption_counts(recipe).values()) == total
    data = recipe.data.model_copy(update={"every_caption": False, "captions_per_image": 2})
    counts = caption_counts(recipe.model_copy(update={"data": data}))
    assert counts["train"] == sum(min(2, len(captions_of(number))) for number in range(8))


@pytest.mark.parametrize(
    ("features", "source", "width"),
    [
        ("grid", {"source": "grid", "backbone": "random"}, 128),
        ("efficientnet_lite0", None, 1280),
        ("detector", None, 2048),
    ],
)
def test_features_decide_the_width(
    tmp_path: Path, features: str, source: dict[str, str] | None, width: int
) -> None:
    bring_in(captions_folder(tmp_path / "source", split=True))
    recipe = single(write_recipe(Wanted("vse_infty", "mine", features))[0])
    assert recipe.model["region_dim"] == width
    assert recipe.data.regions is not None
    if source is not None:
        assert recipe.data.regions.model_dump() == source


def test_stored_features_decide_number_and_width(tmp_path: Path) -> None:
    bring_in(features_folder(tmp_path / "source"))
    recipe = single(write_recipe(Wanted("rcar", "mine"))[0])
    assert (recipe.model["regions"], recipe.model["region_dim"]) == (4, 6)
    assert recipe.data.regions == StoredRegions(source="scan")


@pytest.mark.parametrize("method", ["vse_infty", "dualpath"])
def test_an_estimate_counts_the_words_of_the_captions(tmp_path: Path, method: str) -> None:
    bring_in(captions_folder(tmp_path / "source", split=True))
    path, _ = write_recipe(Wanted(method, "mine", epochs=1))
    assert vocabulary_size(single(path)) == prepare(read_run(path), Settings()).codec.vocab_size < 100


def test_an_ensemble_comes_with_its_members(tmp_path: Path) -> None:
    bring_in(captions_folder(tmp_path / "source", split=True))
    folder = Path("recipes/hat")
    write_recipe(Wanted("hat", "mine", variant="t2i"))
    with pytest.raises(UserError, match=r"^recipes/hat/mine-t2i.yaml: there already"):
        write_recipe(Wanted("hat", "mine", variant="ensemble"))
    assert [path.name for path in folder.iterdir()] == ["mine-t2i.yaml"]
    path, said = write_recipe(Wanted("hat", "mine", variant="ensemble", epochs=2, force=True))
    run = read_run(path)
    assert path == folder / "mine-ensemble.yaml"
    assert [member.path.name for member in run.members] == ["mine-i2t.yaml", "mine-t2i.yaml"]
    assert [member.single.training.epochs for member in run.members] == [2, 2]
    assert (run.recipe.paper_row, run.recipe.expected) == (None, [])
    assert said[0].startswith("recipes/hat/mine-i2t.yaml: 2 epochs of ")
    assert len(said) == len(set(said))
    check_runs([run])


def test_departures_name_the_batches_that_are_taken(tmp_path: Path) -> None:
    bring_in(captions_folder(tmp_path / "source", split=True))
    recipe = single(write_recipe(Wanted("vse_infty", "mine"))[0])
    batch = recipe.training.batch_size
    told = [line for line in recipe.departures if "batches of" in line]
    assert batch < 64
    assert len(told) == 2
    assert all(f"batches of {batch}" in line for line in told), told


def test_epochs_are_as_many_as_asked_for(tmp_path: Path) -> None:
    bring_in(captions_folder(tmp_path / "source", split=True))
    for epochs in (1, 2, 7):
        recipe = single(write_recipe(Wanted("sgraf", "mine", epochs=epochs, force=True))[0])
        assert recipe.training.epochs == epochs
    assert [stage.epochs for stage in recipe.training.stages] == [5, 2]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (Wanted("sgraff", "mine"), "unknown method 'sgraff'; did you mean 'sgraf'"),
        (Wanted("sgraf", "mime"), "unknown dataset 'mime'; did you mean 'mine'"),
        (Wanted("sgraf", "scenes"), "option --dataset: found 'scenes', whose recipes are there already"),
        (Wanted("sgraf", "mine", variant="sag"), "has no variant 'sag' for scenes; did you mean 'sgr'"),
        (Wanted("sgraf", "mine", size="tiny"), "option --size: found 'tiny'"),
        (Wanted("sgraf", "mine", "scan"), "mine has pictures and no features"),
        (Wanted("sgraf", "mine", "efficientnet_lite"), "option --features: unknown source"),
        (Wanted("hat", "mine", "grid"), "option --features: found 'grid', hat reads pixels"),
    ],
)
def test_what_cannot_be_started(tmp_path: Path, wanted: Wanted, message: str) -> None:
    bring_in(captions_folder(tmp_path / "source", split=True))
    with pytest.raises(UserError, match=message):
        write_recipe(wanted)
    assert not Path("recipes").exists()


def test_a_recipe_is_replaced_only_when_asked(tmp_path: Path) -> None:
    bring_in(captions_folder(tmp_path / "source", split=True))
    path, _ = write_recipe(Wanted("sgraf", "mine"))
    with pytest.raises(UserError, match=f"^{path.as_posix()}: there already; --force"):
        write_recipe(Wanted("sgraf", "mine"))
    write_recipe(Wanted("sgraf", "mine", force=True))
