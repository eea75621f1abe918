"""What a command means: the device, the recipes, their datasets and seeds, and what is said of a finished run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from benchmark.data.published.catalogue import get_entry
from benchmark.errors import UserError, nearest
from benchmark.evaluation.protocol import check_test_size, protocols_of
from benchmark.recipe.faults import check_fields
from benchmark.recipe.files import RECIPES, load_recipe
from benchmark.recipe.schema import DataSettings, EnsembleRecipe, Recipe, StoredRegions
from benchmark.records.paper import resolve
from benchmark.records.record import RunRecord
from benchmark.registry import method_names
from benchmark.run.job import RECONSTRUCTION

ALL = "all"
DEVICES = ("cpu", "cuda", "mps")


def pick_device(name: str | None) -> torch.device:
    """The named device, else a GPU where there is one; raises UserError for a device that is not there."""
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.split(":")[0] not in DEVICES:
        raise UserError(f"unknown device '{name}'{nearest(name, DEVICES)}")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"device '{name}' is not to be had: {reason}; see `rematch doctor`") from None
    return device


def choose_dataset(device: torch.device) -> str:
    """The dataset where none is named: the papers' own needs a GPU, the embedded one does not."""
    return "flickr30k" if device.type == "cuda" else "scenes"


def recipe_paths(target: str, dataset: str | None, folder: Path = RECIPES) -> list[Path]:
    """The recipes of a method (or of all) on a dataset, ensembles last; or the one file that `target` names.

    Raises UserError for an unknown method or dataset, and where a method has no recipe for the dataset.
    """
    if target.endswith((".yaml", ".yml")):
        if dataset is not None:
            raise UserError(f"{target}: a recipe names its own dataset; leave '{dataset}' out")
        return [Path(target)]
    if target != ALL and target not in method_names():
        raise UserError(f"unknown method or recipe '{target}'{nearest(target, [*method_names(), ALL])}")
    assert dataset is not None, "a method's recipes are chosen by dataset"
    get_entry(dataset)
    methods = method_names() if target == ALL else [target]
    found = [path for method in methods for path in _ordered(folder / method, dataset)]
    if not found:
        raise UserError(
            f"{target} has no recipe for '{dataset}' in {folder.as_posix()}/; see `rematch list recipes`"
        )
    return found


def check_recipes(paths: Sequence[Path], profile: str | None = None) -> None:
    """Raise UserError now for what would else show after hours: names that other files and tables must know."""
    for path in paths:
        recipe = load_recipe(path, profile)
        if isinstance(recipe, EnsembleRecipe):
            check_recipes(member_paths(path, recipe), profile)
        try:
            if isinstance(recipe, Recipe):
                _check_data(recipe.data)
            resolve(recipe.paper_row)
            known = [protocol.name for protocol in protocols_of(dataset_of(path))]
            for number, item in enumerate(recipe.expected):
                if item.protocol not in known:
                    field = f"field 'expected.{number}.protocol'"
                    hint = nearest(item.protocol, known)
                    raise UserError(f"{field}: found '{item.protocol}', no protocol of its dataset{hint}")
        except UserError as error:
            raise UserError(f"{path.as_posix()}: {error}") from None


def check_folders(paths: Sequence[Path], data_dir: Path | None, profile: str | None = None) -> None:
    """Raise UserError where recipes read features from a folder and none is named, before the first is trained."""
    if data_dir is not None:
        return
    recipes = {path: load_recipe(path, profile) for path in _singles(paths)}
    lacking = [
        path.as_posix()
        for path, recipe in recipes.items()
        if isinstance(recipe, Recipe) and isinstance(recipe.data.regions, StoredRegions)
    ]
    if lacking:
        kinds = (recipe.data.regions for recipe in recipes.values() if isinstance(recipe, Recipe))
        sources = ", ".join(dict.fromkeys(kind.source for kind in kinds if isinstance(kind, StoredRegions)))
        raise UserError(
            f"{', '.join(lacking)}: field 'data.regions.source': found '{sources}', which reads a folder: "
            "name it with --data-dir"
        )


def _singles(paths: Sequence[Path]) -> list[Path]:
    """Single models and members of ensembles, each once."""
    found = []
    for path in paths:
        recipe = load_recipe(path)
        found += member_paths(path, recipe) if isinstance(recipe, EnsembleRecipe) else [path]
    return list(dict.fromkeys(found))


def _check_data(data: DataSettings) -> None:
    entry = get_entry(data.name)
    check_fields("data.options", data.options, entry.options)
    test = data.first_images.test
    if test is not None:
        check_test_size(data.name, min(test, entry.counts["test"]))


def member_paths(path: Path, recipe: EnsembleRecipe) -> list[Path]:
    """The recipes of an ensemble's members; raises UserError where one is an ensemble itself."""
    members = [path.parent / f"{name}.yaml" for name in recipe.ensemble]
    for member in members:
        if isinstance(load_recipe(member), EnsembleRecipe):
            raise UserError(f"{path.as_posix()}: field 'ensemble': '{member.stem}' is an ensemble itself")
    return members


def dataset_of(path: Path) -> str:
    """The dataset of a recipe; an ensemble has its first member's."""
    recipe = load_recipe(path)
    return recipe.data.name if isinstance(recipe, Recipe) else dataset_of(member_paths(path, recipe)[0])


def single_models(dataset: str, folder: Path = RECIPES) -> list[Path]:
    """The recipes of all methods on a dataset, ensembles left out."""
    paths = recipe_paths(ALL, dataset, folder)
    return [path for path in paths if isinstance(load_recipe(path), Recipe)]


def _ordered(folder: Path, dataset: str) -> list[Path]:
    """A folder's recipes for a dataset: single models first, since ensembles are made of them."""
    paths = [path for path in sorted(folder.glob("*.yaml")) if path.stem.split("-")[0] == dataset]
    return sorted(paths, key=lambda path: isinstance(load_recipe(path), EnsembleRecipe))


def default_seed(path: Path, profile: str | None = None) -> int:
    """The seed a recipe (with its profile) names; an ensemble has its first member's."""
    recipe = load_recipe(path, profile)
    if isinstance(recipe, Recipe):
        return recipe.training.seed
    return default_seed(member_paths(path, recipe)[0], profile)


def headline(record: RunRecord) -> str:
    """The scores of a run in a line a protocol, with its hash; a reconstruction is called one."""
    run = f"{record.run} (reconstruction)" if RECONSTRUCTION in record.departures else record.run
    lines = []
    for name, result in record.results.items():
        metrics = result.metrics
        lines.append(
            f"{run} on {name}: i2t R@1 {metrics.i2t.r1:.1f}, t2i R@1 {metrics.t2i.r1:.1f}, "
            f"rsum {metrics.rsum:.1f}; canonical hash {record.canonical_hash[:12]}"
        )
    return "\n".join(lines)


def expectation_lines(path: Path, record: RunRecord, profile: str | None = None) -> list[str]:
    """What the recipe expects beside what came out; nothing is expected under a profile."""
    lines = []
    for item in load_recipe(path, profile).expected:
        found = record.results[item.protocol].metrics.value(item.metric)
        word = "as expected" if abs(found - item.value) <= item.tolerance else "NOT as expected"
        lines.append(
            f"  {item.metric} {found:.1f}, {word}: {item.value:g} +- {item.tolerance:g} ({item.source})"
        )
    return lines
