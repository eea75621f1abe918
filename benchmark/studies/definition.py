"""Definitions of studies: recipes/<method>/studies/<name>.yaml, sets of short trainings on scenes.

A study names variants: a recipe with changes, made as a profile makes them; seeds; and the pairs of variants whose
difference is the point. `study_run.py` makes the runs. Whatever a file can have wrong is one line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, StringConstraints, model_validator

from benchmark.data.published.catalogue import get_entry
from benchmark.errors import UserError, nearest
from benchmark.places import RECIPES, listing, locate
from benchmark.recipe.faults import check_fields, validated
from benchmark.recipe.files import merged, read_document
from benchmark.recipe.schema import Recipe
from benchmark.records.record import recipe_digest
from benchmark.records.study import Comparison
from benchmark.run.runs import RunReader
from benchmark.strict import Seed, Strict

FOLDER = "studies"
"""The name of the folder beside a method's recipes, and in the work folder."""
ANALOGUE = "scenes"
"""The one dataset of studies."""
LONGEST = 60.0
"""Seconds that a run may be given."""

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9.+-]*$")]
Seeds = Annotated[list[Seed], Field(min_length=1)]


class Changes(Strict):
    """Changes to a recipe, merged into it as a profile's are."""

    data: dict[str, Any] = {}
    model: dict[str, Any] = {}
    pretrained: bool | None = None
    training: dict[str, Any] = {}
    evaluation: dict[str, Any] = {}

    def document(self) -> dict[str, Any]:
        """Return the fields it contributes to a recipe's document."""
        return self.model_dump(exclude_unset=True)


class Variant(Strict):
    """One of the things compared."""

    summary: str
    recipe: str | None = None
    """`scenes-x` beside the study's folder, or `method/scenes-x`. None: the study's."""
    seeds: Seeds | None = None
    """The variant's own seeds; None: the study's."""
    changes: Changes = Changes()
    """Changes on top of the study's."""


class Study(Strict):
    """The file of a study."""

    summary: str
    recipe: str | None = None
    """The recipe of the variants that name none."""
    seeds: Seeds
    seconds: float = Field(default=LONGEST, gt=0, le=LONGEST)
    """The time a run may take, training and evaluation; a longer run is not cut, but marked."""
    changes: Changes = Changes()
    """Changes to the recipe of every variant."""
    variants: dict[Name, Variant] = Field(min_length=1)
    comparisons: list[Comparison] = []

    @model_validator(mode="after")
    def _names(self) -> Self:
        for name, variant in self.variants.items():
            if variant.recipe is None and self.recipe is None:
                raise UserError(f"field 'variants.{name}.recipe' is missing, and the study names none")
            seeds = self.seeds_of(name)
            if len(set(seeds)) < len(seeds):
                raise UserError(f"variant '{name}': found seeds {seeds}, expected each once")
        for number, pair in enumerate(self.comparisons):
            for side in ("of", "against"):
                name = getattr(pair, side)
                if name not in self.variants:
                    hint = nearest(name, self.variants)
                    raise UserError(f"field 'comparisons.{number}.{side}': no variant '{name}'{hint}")
            if not set(self.seeds_of(pair.of)) & set(self.seeds_of(pair.against)):
                raise UserError(
                    f"field 'comparisons.{number}': {pair.of} and {pair.against} have no seed in common"
                )
        return self

    def seeds_of(self, variant: str) -> list[int]:
        """The seeds of a variant as the file has them."""
        return self.variants[variant].seeds or self.seeds


def study_paths(folder: Path = RECIPES) -> dict[str, Path]:
    """The files of all studies by name; raises UserError where two have the same."""
    paths: dict[str, Path] = {}
    for path in listing(folder, f"*/{FOLDER}/*.yaml"):
        if path.stem in paths:
            raise UserError(f"{path.as_posix()}: {paths[path.stem].as_posix()} has the same name; rename one")
        paths[path.stem] = path
    return paths


def find_study(name: str, folder: Path = RECIPES) -> Path:
    """The file of a study; raises UserError for an unknown one."""
    paths = study_paths(folder)
    if name not in paths:
        hint = nearest(name, paths) or f"; there is none in {folder.as_posix()}/*/{FOLDER}/"
        raise UserError(f"unknown study '{name}'{hint}")
    return paths[name]


def load_study(path: Path) -> Defined:
    """Read a study and check all that can be checked without its data.

    Raises UserError for whatever its file can have wrong.
    """
    study = validated(Study, read_document(path), path)
    reader = RunReader()
    variants = {key: _ready(path, study, key, reader) for key in study.variants}
    first, *rest = variants.values()
    for item in rest:
        if item.test_data() != first.test_data():
            raise UserError(
                f"{path.as_posix()}: variants '{first.name}' and '{item.name}' are tested on different data: "
                f"found {item.test_data()}, expected {first.test_data()}"
            )
    return Defined(path.stem, study, variants)


@dataclass(frozen=True)
class Ready:
    """A variant with its recipe as it will be run."""

    name: str
    path: Path
    """The path of the recipe that it begins with."""
    recipe: Recipe
    changes: dict[str, Any]

    def test_data(self) -> dict[str, Any]:
        """Return the settings that decide the test split; numbers of other splits cannot be set side by side."""
        data = self.recipe.data
        found = check_fields("data.options", data.options, get_entry(data.name).options).model_dump()
        others = ("n_train", "n_val")
        kept = {name: value for name, value in found.items() if name not in others}
        return kept | {"captions_per_image": data.captions_per_image, "test": data.first_images.test}

    @cached_property
    def digest(self) -> str:
        """The digest in the runs' records: of the recipe with every default spelled out, the seed left out."""
        document = self.recipe.model_dump(mode="json")
        options = get_entry(self.recipe.data.name).options
        document["model"] = self.recipe.method_config().model_dump(mode="json")
        chosen = check_fields("data.options", self.recipe.data.options, options)
        document["data"]["options"] = chosen.model_dump(mode="json")
        return recipe_digest(document)


@dataclass(frozen=True)
class Defined:
    """A study with the recipes of its variants."""

    name: str
    study: Study
    variants: Mapping[str, Ready]


def _ready(path: Path, study: Study, name: str, reader: RunReader) -> Ready:
    """A variant's recipe with the changes of the study and its own; errors name study and variant."""
    variant = study.variants[name]
    base = _base_path(path, name, variant.recipe or study.recipe or "")
    if reader.run(base).members:
        raise UserError(f"{path.as_posix()}: variant '{name}': {base.as_posix()} is an ensemble")
    changes = merged(study.changes.document(), variant.changes.document())
    document = merged(reader.document(base), changes)
    reasons = [f"study {path.stem}: {variant.summary}", *document["departures"]]
    document |= {"departures": reasons, "expected": [], "summary": variant.summary}
    try:
        recipe = check_fields("", document, Recipe)
        assert isinstance(recipe, Recipe)
        check_fields("data.options", recipe.data.options, get_entry(recipe.data.name).options)
    except UserError as error:
        raise UserError(f"{path.as_posix()}: variant '{name}': {error}") from None
    if recipe.data.name != ANALOGUE:
        raise UserError(
            f"{path.as_posix()}: variant '{name}': {base.as_posix()} is about {recipe.data.name}; "
            f"studies are made on {ANALOGUE}"
        )
    return Ready(name, base, recipe, changes)


def _base_path(path: Path, variant: str, recipe: str) -> Path:
    """The recipe's file: of the study's own method, or of the method named before the slash."""
    own = path.parent.parent
    base = own.parent / f"{recipe}.yaml" if "/" in recipe else own / f"{recipe}.yaml"
    if locate(base).is_file():
        return base
    known = [item.stem for item in listing(own, "*.yaml")]
    if "/" in recipe:
        known = [f"{item.parent.name}/{item.stem}" for item in listing(own.parent, "*/*.yaml")]
    raise UserError(f"{path.as_posix()}: variant '{variant}': no recipe '{recipe}'{nearest(recipe, known)}")
