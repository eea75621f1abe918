"""Which recipes a command means, and what the lists say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from benchmark.errors import UserError
from benchmark.records.record import read_record
from benchmark.run import resolve as select
from tests.tiny import BOTH, ENSEMBLE, I2T, T2I, change_recipe, tiny_recipe, write_recipe


def test_the_device_decides_about_the_dataset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert select.pick_device(None) == torch.device("cpu")
    assert select.choose_dataset(select.pick_device(None)) == "scenes"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert select.pick_device(None) == torch.device("cuda")
    assert select.choose_dataset(select.pick_device(None)) == "flickr30k"
    assert select.pick_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "meta", "", "cuda:x", "cpu:one", "cuda:"])
def test_an_unknown_device_is_one_line(name: str) -> None:
    with pytest.raises(UserError) as caught:
        select.pick_device(name)
    assert "\n" not in str(caught.value)
    assert f"device '{name}'" in str(caught.value)


@pytest.mark.usefixtures("fresh")
def test_a_methods_recipes_come_with_ensembles_last() -> None:
    assert select.recipe_paths("hat", "scenes") == [I2T, T2I, BOTH]
    assert select.recipe_paths("all", "scenes") == [I2T, T2I, BOTH]
    write_recipe(Path("recipes/hat/scenes.yaml"), tiny_recipe())
    write_recipe(Path("recipes/hat/scenesque-i2t.yaml"), tiny_recipe())
    assert select.recipe_paths("hat", "scenes") == [I2T, T2I, Path("recipes/hat/scenes.yaml"), BOTH]
    assert select.single_models("scenes") == [I2T, T2I, Path("recipes/hat/scenes.yaml")]
    assert [path.stem for path in select.recipe_paths("hat", "mscoco")] == [
        "mscoco-i2t",
        "mscoco-t2i",
        "mscoco-ensemble",
    ]


@pytest.mark.usefixtures("fresh")
def test_a_path_is_taken_as_it_is() -> None:
    assert select.recipe_paths("some/where.yml", None) == [Path("some/where.yml")]
    with pytest.raises(
        UserError, match=r"some/where.yml: a recipe names its own dataset; leave 'scenes' out"
    ):
        select.recipe_paths("some/where.yml", "scenes")


def test_a_method_without_recipes_for_a_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        UserError, match="hat has no recipe for 'scenes' in recipes/; see `rematch list recipes`"
    ):
        select.recipe_paths("hat", "scenes")


@pytest.mark.usefixtures("fresh")
def test_seeds_and_datasets_of_ensembles_are_their_members() -> None:
    change_recipe(I2T, lambda document: document["training"].update(seed=7))
    assert (select.default_seed(I2T), select.default_seed(T2I), select.default_seed(BOTH)) == (7, 0, 7)
    assert select.dataset_of(BOTH) == "scenes"
    assert select.dataset_of(Path("recipes/hat/mscoco-ensemble.yaml")) == "mscoco"


@pytest.mark.usefixtures("fresh")
def test_sound_recipes_pass_the_check() -> None:
    item: dict[str, Any] = {"metric": "rsum", "value": 1, "tolerance": 1, "source": "none"}
    change_recipe(BOTH, lambda document: document.update(expected=[{"protocol": "scenes", **item}]))
    select.check_recipes([I2T, T2I, BOTH])
    mscoco = Path("recipes/hat/mscoco-i2t.yaml")
    change_recipe(mscoco, lambda document: document.update(expected=[{"protocol": "mscoco-1k", **item}]))
    select.check_recipes([mscoco])
    change_recipe(mscoco, lambda document: document.update(expected=[{"protocol": "scenes", **item}]))
    with pytest.raises(UserError, match=r"'expected.0.protocol': found 'scenes', no protocol of its dataset"):
        select.check_recipes([mscoco])


@pytest.mark.usefixtures("fresh")
def test_an_ensembles_members_are_checked_with_it() -> None:
    change_recipe(T2I, lambda document: document["data"].update(name="scens"))
    with pytest.raises(UserError, match=rf"^{T2I.as_posix()}: unknown dataset 'scens'"):
        select.check_recipes([BOTH])
    write_recipe(
        Path("recipes/hat/scenes-self.yaml"), {**ENSEMBLE, "ensemble": ["scenes-self", "scenes-i2t"]}
    )
    with pytest.raises(UserError, match="'scenes-self' is an ensemble itself"):
        select.default_seed(Path("recipes/hat/scenes-self.yaml"))


@pytest.mark.usefixtures("home")
def test_headlines() -> None:
    record = read_record(Path("results/runs/scenes/hat-t2i/0.json"))
    metrics = record.results["scenes"].metrics
    assert select.headline(record) == (
        f"hat-t2i on scenes: i2t R@1 {metrics.i2t.r1:.1f}, t2i R@1 {metrics.t2i.r1:.1f}, "
        f"rsum {metrics.rsum:.1f}; canonical hash {record.canonical_hash[:12]}"
    )
    assert select.expectation_lines(T2I, record) == []
