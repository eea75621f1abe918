"""Runs: recipes with their seeds, read and validated once a command, and handed down to whatever works on them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from benchmark.errors import UserError
from benchmark.recipe.files import load_recipe, read_document, run_name
from benchmark.recipe.schema import EnsembleRecipe, Recipe


@dataclass(frozen=True)
class Run:
    """A recipe with a seed, as a command means it; an ensemble comes with the runs of its members."""

    path: Path
    recipe: Recipe | EnsembleRecipe
    """The recipe with the changes of the profile."""
    seed: int
    profile: str | None = None
    members: tuple[Run, ...] = ()
    """The runs of an ensemble's members; a single model has none."""

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
    def singles(self) -> tuple[Run, ...]:
        """The runs of single models: those of an ensemble's members, else this one."""
        return self.members or (self,)

    @property
    def dataset(self) -> str:
        """The dataset's name; an ensemble has its first member's."""
        return self.singles[0].single.data.name

    @property
    def name(self) -> str:
        """Method, variant and profile; the folder of its record has this name."""
        return run_name(self.path, self.dataset, self.profile)

    def with_seed(self, seed: int) -> Run:
        """The same recipe with another seed, which its members have too."""
        return replace(self, seed=seed, members=tuple(member.with_seed(seed) for member in self.members))

    def named_profile(self) -> dict[str, str]:
        """The field of a recorded recipe that names the profile; empty without one."""
        return {} if self.profile is None else {"profile": self.profile}


class RunReader:
    """Makes the runs of one command: each file is read once, and each recipe is validated once."""

    def __init__(self, profile: str | None = None) -> None:
        self.profile = profile
        self.document = cache(read_document)
        """The document of a file, not to be changed."""
        self._load = cache(lambda path: load_recipe(path, profile, self.document))

    def run(self, path: Path) -> Run:
        """The run of a recipe with the seed that it names; an ensemble has its first member's.

        Raises UserError for whatever a recipe file can have wrong, and for an ensemble of ensembles.
        """
        recipe = self._load(path)
        if isinstance(recipe, Recipe):
            return Run(path, recipe, recipe.training.seed, self.profile)
        files = [path.parent / f"{name}.yaml" for name in recipe.ensemble]
        for file in files:
            if isinstance(self._load(file), EnsembleRecipe):
                raise UserError(f"{path.as_posix()}: field 'ensemble': '{file.stem}' is an ensemble itself")
        members = tuple(map(self.run, files))
        return Run(path, recipe, members[0].seed, self.profile, members)


def read_run(path: Path, profile: str | None = None) -> Run:
    """The run of one recipe file, as `RunReader.run` makes it."""
    return RunReader(profile).run(path)
