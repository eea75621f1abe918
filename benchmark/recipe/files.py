"""Recipe files and the profiles over them, read and checked.

A profile, recipes/<method>/profiles/<name>.yaml, changes all recipes of its method, for example to a size that trains
in seconds. A misspelt key, a wrong type and a missing file are one-line errors (faults.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from benchmark.errors import UserError, nearest, shown
from benchmark.guarded import DocumentError, read_yaml
from benchmark.places import RECIPES, listing, locate
from benchmark.recipe.faults import validated
from benchmark.recipe.schema import EnsembleRecipe, Recipe
from benchmark.strict import Strict

PROFILES = "profiles"
"""Folder beside a method's recipes."""


class Profile(Strict):
    """Changes to every recipe of a method: the same method on the same data, in another size.

    Mappings are merged into the recipe's field by field; lists, and mappings that have a `name`, take the place
    of the recipe's; a mapping that has a `source` changes recipes of that source alone. The scores that the recipe
    expects are dropped.
    """

    summary: str
    departures: list[str] = Field(min_length=1)
    """The differences of the runs from the recipes'; such a run is never comparable with the paper."""
    data: dict[str, Any] = {}
    model: dict[str, Any] = {}
    pretrained: bool | None = None
    training: dict[str, Any] = {}
    evaluation: dict[str, Any] = {}

    @model_validator(mode="after")
    def _same_dataset(self) -> Self:
        if "name" in self.data:
            raise UserError(
                f"field 'data.name': found {shown(self.data['name'])}; a profile leaves the dataset as it is"
            )
        return self

    def changes(self) -> dict[str, Any]:
        """Return the part of a recipe's document that it gives."""
        return self.model_dump(exclude={"summary", "departures"}, exclude_unset=True)


def load_recipe(
    path: Path, profile: str | None = None, read: Callable[[Path], dict[str, Any]] | None = None
) -> Recipe | EnsembleRecipe:
    """Read and check a recipe file, with the changes of a profile where one is named.

    An ensemble stays as it is but for its expectations: a profile is about its members. read: gives the document of a
    file, None: `read_document`. Raises UserError (file, field, found, expected, nearest valid name) for anything a
    user can get wrong.
    """
    read = read or read_document
    if not locate(path).is_file():
        known = [item.as_posix() for item in listing(RECIPES, "*/*.yaml")]
        raise UserError(f"{path.as_posix()}: no such recipe{nearest(path.as_posix(), known)}")
    document = read(path)
    recipe = _checked(path, document)
    if isinstance(recipe, EnsembleRecipe):
        for member in recipe.ensemble:
            if not locate(path.parent / f"{member}.yaml").is_file():
                known = [item.stem for item in listing(path.parent, "*.yaml")]
                raise UserError(
                    f"{path.as_posix()}: field 'ensemble': no recipe '{member}'{nearest(member, known)}"
                )
    if profile is None:
        return recipe
    return _with_profile(path, document, profile, load_profile(path.parent, profile, read))


def profile_names(folder: Path) -> list[str]:
    """Return names of the profiles of the recipes in `folder`."""
    return [path.stem for path in listing(folder / PROFILES, "*.yaml")]


def load_profile(folder: Path, name: str, read: Callable[[Path], dict[str, Any]] | None = None) -> Profile:
    """Read and check the profile `name` of the recipes in `folder`; `read` and UserError as in `load_recipe`."""
    known = profile_names(folder)
    if name not in known:
        there = nearest(name, known) or "; it has none"
        raise UserError(f"unknown profile '{name}' in {(folder / PROFILES).as_posix()}/{there}")
    path = folder / PROFILES / f"{name}.yaml"
    return validated(Profile, (read or read_document)(path), path)


def merged(document: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return `document` with `changes`, as Profile says."""
    result = dict(document)
    for key, value in changes.items():
        former = result.get(key)
        if isinstance(value, Mapping) and isinstance(former, Mapping) and "name" not in value:
            if value.get("source", former.get("source")) != former.get("source"):
                continue
            value = merged(former, value)
        result[key] = value
    return result


def _with_profile(
    path: Path, document: dict[str, Any], name: str, profile: Profile
) -> Recipe | EnsembleRecipe:
    namesake = path.with_name(f"{path.stem}-{name}.yaml")
    if locate(namesake).is_file():  # both would write the same run record
        raise UserError(
            f"{path.as_posix()}: profile '{name}' gives runs the name of {namesake.name}'s; rename it"
        )
    document = {**document, "expected": [], "summary": f"{document['summary']}; {profile.summary}"}
    if "ensemble" not in document:
        document = merged(document, profile.changes())
        reasons = [f"profile {name}: {reason}" for reason in profile.departures]
        document["departures"] = [*reasons, *document["departures"]]
    return _checked(path.parent / PROFILES / f"{name}.yaml", document)  # the recipe itself is sound


def read_document(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping; raises UserError for any other."""
    try:
        document = read_yaml(locate(path))
    except DocumentError as error:
        raise UserError(f"{path.as_posix()}: not valid YAML: {error}") from None
    if not isinstance(document, dict):
        raise UserError(
            f"{path.as_posix()}: found {type(document).__name__}, expected a mapping of recipe fields"
        )
    return document


def _checked(path: Path, document: dict[str, Any]) -> Recipe | EnsembleRecipe:
    single = "ensemble" not in document and document.keys() & {"method", "model", "data", "training"}
    return validated(Recipe, document, path) if single else validated(EnsembleRecipe, document, path)


def run_name(path: Path, recipe_dataset: str, profile: str | None = None) -> str:
    """Make `hat-i2t` of `recipes/hat/scenes-i2t.yaml`: method, variant, profile; the run's folder has the dataset."""
    variant = path.stem.removeprefix(recipe_dataset).strip("-")
    return "-".join(part for part in (path.parent.name, variant, profile) if part)
