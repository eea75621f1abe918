"""Runs: recipes with their seeds, read and validated once a command, and handed down to whatever works on them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TypeVar

from benchmark.errors import UserError
from benchmark.recipe.files import load_recipe, read_document, run_name
from benchmark.recipe.schema import (
    DETECTED,
    AutoRegions,
    DetectorRegions,
    EnsembleRecipe,
    Recipe,
    StoredRegions,
)

DETECTOR = "detector"
"""The last part of a run's name where the project's detector made the features that the published run had of SCAN: such
a run takes the place of none on the published features."""

AnyRecipe = TypeVar("AnyRecipe", Recipe, EnsembleRecipe)


@dataclass(frozen=True)
class Run:
    """A recipe with a seed, as a command means it; an ensemble comes with the runs of its members."""

    path: Path
    recipe: Recipe | EnsembleRecipe
    """The recipe with the changes of the profile, and with the source that its region features have."""
    seed: int
    profile: str | None = None
    members: tuple[Run, ...] = ()
    """The runs of an ensemble's members; a single model has none."""
    detected: bool = False
    """True where region features that the recipe wants of SCAN, if any are at hand, are the project's detector's."""

    @property
    def single(self) -> Recipe:
        """The recipe of a single model; raises UserError for an ensemble, which has no weights of its own."""
        if isinstance(self.recipe, EnsembleRecipe):
            names = ", ".join(self.recipe.ensemble)
            raise UserError(
                f"{self.path.as_posix()}: an ensemble has no weights of its own; name a member: {names}"
            )
        return self.recipe

    @property
    def trains(self) -> bool:
        """True of a single model that is trained, and not taken as it is; an ensemble has members that are."""
        return not self.members and bool(self.single.training.stages)

    @property
    def singles(self) -> tuple[Run, ...]:
        """The runs of single models: those of an ensemble's members, else this one."""
        return self.members or (self,)

    @property
    def dataset(self) -> str:
        """The dataset's name; an ensemble has its first member's."""
        return self.singles[0].single.data.name

    @property
    def name(self) -> str:
        """Method, variant, profile and DETECTOR; the folder of its record has this name."""
        name = run_name(self.path, self.dataset, self.profile)
        return f"{name}-{DETECTOR}" if self.detected else name

    def with_seed(self, seed: int) -> Run:
        """The same recipe with another seed, which its members have too."""
        return replace(self, seed=seed, members=tuple(member.with_seed(seed) for member in self.members))

    def named_profile(self) -> dict[str, str]:
        """The field of a recorded recipe that names the profile; empty without one."""
        return {} if self.profile is None else {"profile": self.profile}


class RunReader:
    """Makes the runs of one command: each file is read once, and each recipe is validated once."""

    def __init__(self, profile: str | None = None, data_dir: Path | None = None) -> None:
        """Read recipes with the changes of a profile; `data_dir`: local data, which may be SCAN's features."""
        self.profile, self.data_dir = profile, data_dir
        self.document = cache(read_document)
        """The document of a file, not to be changed."""
        self._load = cache(lambda path: load_recipe(path, profile, self.document))

    def run(self, path: Path) -> Run:
        """The run of a recipe with the seed that it names; an ensemble has its first member's.

        Raises UserError for whatever a recipe file can have wrong, and for an ensemble of ensembles.
        """
        recipe = self._load(path)
        if isinstance(recipe, Recipe):
            return self._single(path, recipe)
        files = [path.parent / f"{name}.yaml" for name in recipe.ensemble]
        for file in files:
            if isinstance(self._load(file), EnsembleRecipe):
                raise UserError(f"{path.as_posix()}: field 'ensemble': '{file.stem}' is an ensemble itself")
        members = tuple(map(self.run, files))
        detected = any(member.detected for member in members)
        recipe = _told(recipe) if detected else recipe
        return Run(path, recipe, members[0].seed, self.profile, members, detected)

    def _single(self, path: Path, recipe: Recipe) -> Run:
        """The run of a single model, with the source of its region features."""
        regions = recipe.data.regions
        detected = False
        if isinstance(regions, AutoRegions | StoredRegions):
            from benchmark.data.cards import find_card  # names alone are read without these
            from benchmark.data.own.loading import features_folder
            from benchmark.data.regions.exported import read_mark
            from benchmark.data.regions.scan import resolve_regions

            folder = features_folder(find_card(recipe.data.name), self.data_dir)
            regions = resolve_regions(regions, folder) if isinstance(regions, AutoRegions) else regions
            detected = isinstance(regions, DetectorRegions) or read_mark(folder) is not None
            data = recipe.data.model_copy(update={"regions": regions})
            recipe = (_told(recipe) if detected else recipe).model_copy(update={"data": data})
        return Run(path, recipe, recipe.training.seed, self.profile, detected=detected)


def _told(recipe: AnyRecipe) -> AnyRecipe:
    """The recipe with a summary that says whose features these are, and not that all is as published."""
    summary = re.sub(r" as (published|released)\b", "", recipe.summary)
    summary = summary.replace("36 bottom-up-attention regions", DETECTED)
    return recipe.model_copy(update={"summary": summary if DETECTED in summary else f"{summary}; {DETECTED}"})


def read_run(path: Path, profile: str | None = None, data_dir: Path | None = None) -> Run:
    """The run of one recipe file, as `RunReader.run` makes it."""
    return RunReader(profile, data_dir).run(path)
