"""Names of runs as `query`, `diff` and `export` take them: [DATASET/]RUN[/SEED], or the path of a record or recipe."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from benchmark.errors import UserError, nearest
from benchmark.places import RECIPES, RUNS, listing
from benchmark.recipe.files import profile_names, run_name
from benchmark.records.record import read_record
from benchmark.run.runs import Run, read_run

Key = tuple[str, ...]
"""Dataset and run of a recipe, or dataset, run and seed of a record."""


def record_keys(files: Iterable[str]) -> list[Key]:
    """The keys of records from their paths below the folder of runs."""
    return [tuple(file.removesuffix(".json").split("/")) for file in sorted(files)]


def stored_keys(runs: Path) -> list[Key]:
    """The keys of all records below a folder; seeds of one run are of one origin, the folder's own or the package's."""
    paths = listing(runs, "*/*/*.json")
    own = [path for path in paths if path.is_file() or not path.parent.is_dir()]
    return record_keys(path.relative_to(runs).as_posix() for path in own)


def select_run(name: str, keys: Iterable[Key], where: str) -> list[Key]:
    """The keys of the one run that a name or a recipe's path stands for; `where` says what the keys are of.

    Raises UserError where there is none, with the nearest name, and where several runs have the name.
    """
    parts, names = _parts(name), {key: _names(key) for key in keys}
    found = [key for key in names if parts in names[key]]
    if not found:
        known = {"/".join(item) for items in names.values() for item in items}
        hint = nearest("/".join(parts), known)
        raise UserError(f"run '{name}': no such run in {where}{hint}; see `rematch list runs`")
    runs = sorted({"/".join(key[:2]) for key in found})
    if len(runs) > 1:
        raise UserError(f"run '{name}': stands for several runs: {', '.join(runs)}; name one")
    return found


def find_record(name: str, runs: Path = RUNS) -> Path:
    """The one record that a name stands for, which may be its path; raises UserError as `select_run`."""
    if name.endswith(".json"):
        return Path(name)
    found = select_run(name, stored_keys(runs), runs.as_posix())
    if len(found) > 1:
        listed = ", ".join(map("/".join, found))
        raise UserError(f"run '{name}': {len(found)} records have that name; name one: {listed}")
    return runs.joinpath(*found[0][:2], f"{found[0][2]}.json")


def find_run(
    name: str,
    profile: str | None = None,
    data_dir: Path | None = None,
    runs: Path = RUNS,
    recipes: Path = RECIPES,
) -> Run:
    """The run that a name stands for, with the seed in the name, else its recipe's.

    A name that no record has is looked up among the recipes: its run may have no record. data_dir: local data. Raises
    UserError as `select_run` and `read_run`, for a run with an authors' weights, and for one of other features than
    `data_dir` has.
    """
    if _is_recipe(name):
        return read_run(Path(name), profile, data_dir)
    if profile is not None:
        raise UserError(
            f"option --profile: found '{profile}' with the run '{name}'; expected a recipe's path"
        )
    parts, stored, planned = _parts(name), stored_keys(runs), _planned_runs(recipes)
    if name.endswith(".json"):
        path, seeded = Path(name), True
    else:
        recorded = [key for key in stored if parts in _names(key)]
        key = select_run(
            name, recorded or [*stored, *planned], f"{runs.as_posix()} and {recipes.as_posix()}"
        )[0]
        if key in planned:
            return read_run(*planned[key], data_dir)
        path, seeded = runs.joinpath(*key[:2], f"{key[2]}.json"), parts[-1] == key[2]
    record = read_record(path)
    if record.weights == "official":
        raise UserError(
            f"run '{name}': its weights are the authors'; name the recipe, and them with --checkpoint"
        )
    run = read_run(Path(record.recipe_path), record.recipe.get("profile"), data_dir)
    if record.run == replace(run, detected=not run.detected).name:
        told = "name their folder with --data-dir" if run.detected else "leave out --data-dir"
        whose = "SCAN's" if run.detected else "the project's detector's"
        raise UserError(f"run '{name}': it read {whose} region features; {told}")
    return run.with_seed(record.seed) if seeded else run


def _planned_runs(folder: Path) -> dict[Key, tuple[Path, str | None]]:
    """Recipe and profile of every run that the recipes in a folder can make."""
    found: dict[Key, tuple[Path, str | None]] = {}
    for path in listing(folder, "*/*.yaml"):
        dataset = path.stem.split("-")[0]
        for profile in (None, *profile_names(path.parent)):
            found[dataset, run_name(path, dataset, profile)] = path, profile
    return found


def _is_recipe(name: str) -> bool:
    return name.endswith((".yaml", ".yml"))


def _parts(name: str) -> Key:
    """A name in its parts; a recipe's path is the name of its run."""
    if _is_recipe(name):
        run = read_run(Path(name))
        return run.dataset, run_name(run.path, run.dataset)
    return tuple(part for part in name.split("/") if part)


def _names(key: Key) -> set[Key]:
    """All names of a run: the dataset may be left out, and the seed."""
    return {key[start:end] for start in (0, 1) for end in (2, 3)}
