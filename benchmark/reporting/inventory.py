"""`rematch list`: methods, recipes, datasets and runs as sheets.

Nothing here imports a method or torch: a list is there at once. Recipes are shown as their files say; whether they are
sound is checked where they are used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.data.published.catalogue import dataset_names, get_entry
from benchmark.errors import UserError, nearest, shown
from benchmark.evaluation.protocol import protocols_of
from benchmark.places import RECIPES, RUNS, listing
from benchmark.recipe.files import profile_names, read_document
from benchmark.recipe.schema import EnsembleRecipe, Recipe
from benchmark.records.frame import COLUMNS, frame_rows
from benchmark.registry import method_names, method_title
from benchmark.reporting.sheet import Cell, Column, Sheet, make_sheet

LISTS = ("methods", "recipes", "datasets", "runs")
NUMBERS = ("seed", "i2t_r1", "t2i_r1", "rsum")
SHOWN = {name: name for name in ("protocol", "run", *NUMBERS, "comparable", "departures")}
SHOWN |= {"i2t_r1": "i2t R@1", "t2i_r1": "t2i R@1"}


@dataclass(frozen=True)
class Wanted:
    """The filter of a list; None: everything."""

    method: str | None = None
    dataset: str | None = None

    def takes(self, method: str, dataset: str) -> bool:
        """Return True if items of this method and dataset are wanted."""
        return self.method in (None, method) and self.dataset in (None, dataset)


def list_inventory(
    what: Sequence[str], wanted: Wanted | None = None, recipes: Path = RECIPES, runs: Path = RUNS
) -> list[Sheet]:
    """One sheet for each of `what`, of LISTS.

    Raises UserError for a recipe or a record at fault.
    """
    wanted = wanted or Wanted()
    makers = {
        "methods": lambda: _list_methods(wanted),
        "recipes": lambda: _list_recipes(recipes, wanted),
        "datasets": lambda: _list_datasets(wanted),
        "runs": lambda: _list_runs(runs, wanted),
    }
    return [makers[name]() for name in what]


def _list_methods(wanted: Wanted) -> Sheet:
    rows = [(name, method_title(name)) for name in method_names() if wanted.method in (None, name)]
    return make_sheet("methods", ("method", "title"), rows, left=2)


def _list_datasets(wanted: Wanted) -> Sheet:
    rows = []
    for name in dataset_names():
        if wanted.dataset in (None, name):
            entry = get_entry(name)
            sizes = (entry.counts["train"], entry.counts["val"], entry.counts["test"])
            rows.append((name, entry.title, *sizes, ", ".join(item.name for item in protocols_of(name))))
    protocols = Column("protocols", "protocols", "text")
    return make_sheet("datasets", ("dataset", "title", "train", "val", "test", protocols), rows, left=2)


def _list_recipes(folder: Path, wanted: Wanted) -> Sheet:
    rows = []
    for path in listing(folder, "*/*.yaml"):
        if not wanted.takes(path.parent.name, path.stem.split("-")[0]):
            continue
        document = read_document(path)
        check_head(path, document)
        profiles = ", ".join(profile_names(path.parent))
        rows.append((path.as_posix(), document["summary"], len(document["departures"]), profiles))
    profiles_column = Column("profiles", "profiles", "text")
    return make_sheet("recipes", ("recipe", "summary", "departures", profiles_column), rows, left=2)


def check_head(path: Path, document: Mapping[str, Any]) -> None:
    """Raise UserError for the faults of a recipe that show without its method: top-level fields, and the method's name.

    The method's own fields are checked where the recipe is used, since that imports the method.
    """
    name, fields = path.as_posix(), {*Recipe.model_fields, *EnsembleRecipe.model_fields}
    for field in document:
        if field not in fields:
            raise UserError(f"{name}: field '{field}' is not known{nearest(field, fields)}")
    method = document.get("method")
    if method is not None and method not in method_names():
        raise UserError(f"{name}: unknown method '{method}'{nearest(str(method), method_names())}")
    for field, kind in (("summary", str), ("departures", list)):
        if not isinstance(document.get(field), kind):
            found = document.get(field, "nothing")
            raise UserError(f"{name}: field '{field}': found {shown(found)}, expected a {kind.__name__}")


def _list_runs(folder: Path, wanted: Wanted) -> Sheet:
    """Some columns of the rows of `records.frame`; CSV and JSON have all of them."""
    found = [row for row in frame_rows(runs=folder) if wanted.takes(row["method"], row["dataset"])]
    columns = [
        Column(
            key,
            SHOWN.get(key, ""),
            "number" if key in NUMBERS else "text",
            spec=".1f",
            hidden=key not in SHOWN,
        )
        for key in COLUMNS
    ]
    rows: list[list[object]] = [[row.get(key) for key in COLUMNS] for row in found]
    place = COLUMNS.index("comparable")
    for row, cells in zip(found, rows, strict=True):
        if row["reasons"]:  # a run that is not the paper's set-up says why, with the first of its reasons
            cells[place] = Cell(f"no: {row['reasons'].split('; ')[0]}", row["comparable"])
    return make_sheet("runs", columns, rows)
