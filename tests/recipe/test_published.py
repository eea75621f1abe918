"""The recipes against published.yaml: every value as published, every value cited, every recipe in the table."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict
from fnmatch import fnmatchcase
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from benchmark.method import Baseline, DataFacts
from benchmark.recipe.files import load_recipe, read_document
from benchmark.recipe.schema import EnsembleRecipe, Recipe
from benchmark.records.paper import find_row
from benchmark.registry import get_method
from benchmark.training.optimizers import FACTOR, parameter_groups
from benchmark.training.stages import plan_stages
from tests.paths import ROOT
from tests.recipe.networks import network, single
from tests.recipe.unique_keys import read_yaml

RECIPES = {f"{path.parent.name}/{path.stem}": path for path in sorted((ROOT / "recipes").glob("*/*.yaml"))}
FULL = [name for name in RECIPES if "/scenes" not in name]
SINGLE = [name for name in FULL if "ensemble" not in name]
OURS = "this benchmark"
FACTS = "built_for."
PROTOCOLS = {"flickr30k": ("flickr30k",), "mscoco": ("mscoco-1k", "mscoco-5k")}
UNCITED = {
    *("summary", "departures", "method", "data.name", "paper_row.method"),
    *("training.workers", "evaluation.batch_size", "evaluation.memory_mb"),
    "training.optimizer.groups",  # whose effect is `slowed`, and layer by layer in test_dualpath.py
}
"""Fields that recipes write and no publication fixes, or that are held elsewhere."""
CHOSEN = {
    "hat": {"direction"},
    "rcar": {"direction", "regulator", "temperature", "steps"},
    "sgraf": {"module"},
    "temde": {"module"},
    "user": {"enhancement", "queue"},
    "vse_infty": {"text", "replicas"},
}
"""Fields of a model in which full-size recipes differ from the method's defaults."""

Table = dict[str, Any]


# ----------------------------------------------------------------------------------- the table


def expanded(pattern: str) -> list[str]:
    """`a{b,c{d,e}}` -> ab, acd, ace."""
    inner = re.search(r"\{([^{}]*)\}", pattern)
    if inner is None:
        return [pattern]
    head, tail = pattern[: inner.start()], pattern[inner.end() :]
    return list(dict.fromkeys(name for part in inner[1].split(",") for name in expanded(head + part + tail)))


def leaves(document: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The fields of nested mappings, by dotted path; an empty mapping is a value."""
    if isinstance(document, dict) and document:
        for key, value in document.items():
            yield from leaves(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, document


def entries(table: Table) -> Iterator[tuple[str, str, str, Any]]:
    """Recipe, citation, field, value; a star stands for the recipes that are there."""
    for pattern, citations in table.items():
        for item in expanded(pattern):
            names = [name for name in RECIPES if fnmatchcase(name, item)] if "*" in item else [item]
            for name in names or [item]:
                for citation, values in citations.items():
                    for field, value in leaves(values):
                        yield name, citation, field, value


@cache
def headings() -> set[str]:
    """What can be cited: `hat.md 5`, `user.md A`."""
    found = set()
    for path in (ROOT / "docs/papers").glob("*.md"):
        numbers = re.findall(
            r"^#+ (\d[\d.]*|[A-Z])[. ]", path.read_text(encoding="utf-8"), flags=re.MULTILINE
        )
        found |= {f"{path.name} {number.rstrip('.')}" for number in numbers}
    return found


# ---------------------------------------------------------------------------- what a recipe holds


def runs(values: list[Any]) -> list[list[Any]]:
    """[1, 1, 2] -> [[1, 2], [2, 1]]: each value, and how often it comes in a row."""
    return [[value, len(list(group))] for value, group in groupby(values)]


class Held:
    """A recipe's values by field, and what follows from them."""

    def __init__(self, name: str, built_for: dict[str, Any]) -> None:
        self.recipe = load_recipe(RECIPES[name])
        self.dataset = name.partition("/")[2].split("-")[0]
        self.built_for = built_for

    def value(self, path: str) -> Any:
        """The value of a field; raises LookupError or AttributeError where there is none."""
        keys = path.split(".")
        place: Any = self if hasattr(type(self), keys[0]) else self.recipe
        for key in keys:
            place = self.config if place is self.recipe and key == "model" else step(place, key)
        return to_jsonable_python(place)

    @property
    def single(self) -> Recipe:
        assert isinstance(self.recipe, Recipe)
        return self.recipe

    @property
    def config(self) -> BaseModel:
        return self.single.method_config()

    @property
    def network(self) -> Baseline:
        return network(self.single, DataFacts(**self.built_for))

    @property
    def faithful(self) -> bool:
        return not self.recipe.departures

    @property
    def parameters(self) -> dict[str, int]:
        counts = {"all": 0}
        for name, parameter in self.network.named_parameters():
            part = name.split(".")[0]
            counts[part] = counts.get(part, 0) + parameter.numel()
            counts["all"] += parameter.numel()
        return counts

    @property
    def stages(self) -> list[tuple[int, set[str]]]:
        """Epochs of each stage, and the parameters that it trains."""
        plans = plan_stages(self.network, self.single.training, get_method(self.single.method).loss)
        return [(plan.epochs, set(plan.trainable)) for plan in plans]

    @property
    def trained(self) -> list[list[int]]:
        sizes = {name: parameter.numel() for name, parameter in self.network.named_parameters()}
        return [[sum(sizes[name] for name in trainable), epochs] for epochs, trainable in self.stages]

    @property
    def untrained(self) -> list[list[str]]:
        parts = list(dict.fromkeys(name.split(".")[0] for name, _ in self.network.named_parameters()))
        return [
            [part for part in parts if part not in {name.split(".")[0] for name in trainable}]
            for _, trainable in self.stages
        ]

    @property
    def rates(self) -> list[list[Any]]:
        training = self.single.training
        rates = [
            training.optimizer.lr * training.schedule.factor(epoch, 0, 1) for epoch in range(training.epochs)
        ]
        return runs([float(f"{rate:.12g}") for rate in rates])

    @property
    def groups(self) -> list[dict[str, Any]]:
        return parameter_groups(self.network, self.single.training.optimizer)

    @property
    def slowed(self) -> list[list[Any]]:
        sizes = [
            [group[FACTOR], sum(p.numel() for p in group["params"] if p.requires_grad)]
            for group in self.groups
        ]
        return [item for item in sizes if item[0] != 1]

    @property
    def decays(self) -> list[float]:
        return sorted({group["weight_decay"] for group in self.groups})

    @property
    def reads(self) -> dict[str, Any]:
        spec = get_method(self.single.method).inputs(self.config)
        read = asdict(spec)
        read["text"]["codec"] = spec.text.codec  # the tag of the union, which is no field of the instance
        return read

    @property
    def members(self) -> list[str]:
        assert isinstance(self.recipe, EnsembleRecipe)
        return [name.removeprefix(f"{self.dataset}-") for name in self.recipe.ensemble]

    @property
    def reported(self) -> Any:
        row, found = self.recipe.paper_row, []
        assert row is not None
        for protocol in PROTOCOLS[self.dataset]:
            numbers = find_row(row.method, row.variant, protocol, ROOT / "results/paper")
            found.append(None if numbers is None else numbers.kind + ", ensemble" * numbers.ensemble)
        return found[0] if len(set(found)) == 1 else found


def step(place: Any, key: str) -> Any:
    """A field of a model, an entry of a mapping, or that of every item of a list."""
    if isinstance(place, list | tuple):
        return [step(item, key) for item in place]
    return place[key] if isinstance(place, dict) else getattr(place, key)


# ------------------------------------------------------------------------------------- the checks


def in_full(table: Table) -> set[str]:
    """Recipes that are named without a star."""
    return {name for pattern in table for name in expanded(pattern) if "*" not in name}


def faults_of_table(table: Table) -> list[str]:
    """Recipes and sections that are not there, and values that stand twice."""
    found, seen = [], set()
    for name, citation, field, _ in entries(table):
        if name not in RECIPES:
            found.append(f"{name}: no such recipe")
        if citation != OURS and citation not in headings():
            found.append(f"{name}: {field}: nothing can be read at {citation}")
        if (name, field) in seen:
            found.append(f"{name}: {field} stands in the table twice")
        seen.add((name, field))
    return found


def faults_of_recipe(table: Table, name: str) -> list[str]:
    """What of a recipe is not as in the table, or not in it."""
    if name not in in_full(table):
        return [f"{name}: not in the table"]
    expected = {field: value for recipe, _, field, value in entries(table) if recipe == name}
    return [f"{name}: {fault}" for fault in differences(name, expected)]


def built_for(expected: dict[str, Any]) -> dict[str, Any]:
    """What a recipe's model is told of the data; a few words and images where the table says nothing."""
    told = {field.removeprefix(FACTS): value for field, value in expected.items() if field.startswith(FACTS)}
    return {"vocab_size": 100, "n_train_images": 10, **told}


def differences(name: str, expected: dict[str, Any]) -> Iterator[str]:
    """Fields of a recipe that are not as in the table, and those of a full-size recipe that are not in it."""
    held = Held(name, built_for(expected))
    for field, value in expected.items():
        if field.startswith(FACTS):
            continue
        try:
            found = held.value(field)
        except (LookupError, AttributeError, TypeError) as error:
            yield f"{field}: no such field ({error})"
            continue
        if found != value:
            yield f"{field}: found {found!r}, published {value!r}"
    if name not in FULL:
        return
    for field, _ in leaves(written(read_document(RECIPES[name]))):
        parts = field.split(".")
        above = {".".join(parts[:length]) for length in range(1, len(parts) + 1)}
        if not above & (expected.keys() | UNCITED):
            yield f"{field}: not in the table"


def written(document: dict[str, Any]) -> dict[str, Any]:
    """A recipe's document as the table has it: an ensemble's members, the stages as a mapping of what any sets."""
    if "ensemble" in document:
        return {**{key: value for key, value in document.items() if key != "ensemble"}, "members": None}
    keys = {key: None for stage in document["training"]["stages"] for key in stage}
    return {**document, "training": {**document["training"], "stages": keys}}


@cache
def published() -> Table:
    table: Table = read_yaml(Path(__file__).with_name("published.yaml"))
    return table


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_holds_what_is_published(name: str) -> None:
    assert faults_of_recipe(published(), name) == []


def test_the_table_is_about_recipes_and_sections_that_are_there() -> None:
    assert faults_of_table(published()) == []


@pytest.mark.parametrize("name", [name for name in RECIPES if "ensemble" not in name])
def test_every_stage_trains_what_it_names(name: str) -> None:
    values = {field: value for recipe, _, field, value in entries(published()) if recipe == name}
    held = Held(name, built_for(values))
    assert sum(epochs for epochs, _ in held.stages) == held.single.training.epochs
    assert all(trained for _, trained in held.stages)


@pytest.mark.parametrize("name", [name for name in SINGLE if name.split("/")[0] in CHOSEN])
def test_the_defaults_of_a_method_are_its_published_sizes(name: str) -> None:
    recipe = single(RECIPES[name])
    chosen = {key: value for key, value in recipe.model.items() if key in CHOSEN[recipe.method]}
    assert recipe.method_config() == get_method(recipe.method).config.model_validate(chosen)


@pytest.mark.parametrize("name", [name for name in RECIPES if "ensemble" in name])
def test_an_ensemble_is_of_recipes_that_the_table_names(name: str) -> None:
    recipe = load_recipe(RECIPES[name])
    assert isinstance(recipe, EnsembleRecipe)
    assert {f"{name.split('/')[0]}/{member}" for member in recipe.ensemble} < RECIPES.keys()


DANGLING = ".".join(["sgraf", "md 5", "9"])
"""A section that is not there; put together here, so that it is no citation itself."""


PLANTED = [
    ("hat/flickr30k-i2t", {"hat.md 5": {"training": {"batch_size": 64}}}, "batch_size: found 58, published 64"),
    ("hat/flickr30k-i2t", {"hat.md 5.1": {"trained": [[3150336, 100]]}}, "trained: found [[3150336, 11], "),
    ("rcar/mscoco-t2i", {"rcar.md 3.9": {"parameters": {"all": 1}}}, "parameters.all: found "),
    ("rcar/mscoco-t2i", {"rcar.md 5": {"rates": [[5e-4, 25]]}}, "rates: found [[0.0005, 15], [5e-05, 10]], "),
    ("sgraf/mscoco-saf", {"sgraf.md 10": {"reported": None}}, "reported: found 'reported', "),
    ("user/mscoco-sge", {"user.md 5": {"slowed": []}}, "slowed: found [[0.1, "),
    ("dualpath/mscoco-vgg19", {"dualpath.md 5.3": {"untrained": [[], []]}}, "untrained: found [['trunk'], []], "),
    ("sgraf/mscoco-saf", {"sgraf.md 5": {"training": {"optimizer": {"clip_nrom": None}}}}, "clip_nrom: no such field"),
    ("sgraf/mscoco-saf", {DANGLING: {"training": {"seed": 0}}}, f"nothing can be read at {DANGLING}"),
    ("sgraf/mscoco-saf", {"sgraf.md 5": {"training": {"seed": 0}}}, "training.batch_size: not in the table"),
    ("sgraf/mscoco-caf", {"sgraf.md 5": {"training": {"seed": 0}}}, "sgraf/mscoco-caf: no such recipe"),
    ("sgraf/msc*caf", {"sgraf.md 5": {"training": {"seed": 0}}}, "sgraf/msc*caf: no such recipe"),
    ("sgraf/mscoco-s*", {"sgraf.md 5": {"training": {"seed": 0}}}, "sgraf/mscoco-saf: not in the table"),
]  # fmt: skip


@pytest.mark.parametrize(("pattern", "values", "message"), PLANTED)
def test_a_planted_fault_is_found(pattern: str, values: Table, message: str) -> None:
    name = pattern if pattern in RECIPES else "sgraf/mscoco-saf"
    table = {pattern: values}
    found = [*faults_of_table(table), *faults_of_recipe(table, name)]
    assert [line for line in found if message in line], found


def test_a_value_that_stands_twice_is_found() -> None:
    one = {"sgraf.md 5": {"training": {"seed": 0}}}
    found = faults_of_table({"sgraf/mscoco-saf": one, "sgraf/mscoco-{saf,sgr}": one})
    assert found == ["sgraf/mscoco-saf: training.seed stands in the table twice"]


def test_a_recipe_without_an_entry_is_found() -> None:
    rest = {key: value for key, value in published().items() if "mscoco" not in key}
    assert faults_of_recipe(rest, "sgraf/mscoco-saf") == ["sgraf/mscoco-saf: not in the table"]


def test_a_pattern_that_stands_twice_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "twice.yaml"
    path.write_text("a: {b: 1}\nc: 2\na: 3\n", encoding="utf-8")
    with pytest.raises(AssertionError, match="twice"):
        read_yaml(path)
    path.write_text(yaml.safe_dump({"a": {"b": 1}, "c": 2}), encoding="utf-8")
    assert read_yaml(path) == {"a": {"b": 1}, "c": 2}
