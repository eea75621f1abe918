"""`rematch list`: methods, recipes, datasets and runs as tables.

Nothing here imports a method or torch: a list is there at once. Recipes are shown as their files say; whether they are
sound is checked where they are used.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from benchmark.data.published.catalogue import CATALOG
from benchmark.errors import UserError
from benchmark.evaluation.protocol import protocols_of
from benchmark.recipe.files import RECIPES, profile_names, read_document
from benchmark.records.record import RUNS, read_all
from benchmark.registry import method_names, method_title

LISTS = ("methods", "recipes", "datasets", "runs")


def inventory(what: Sequence[str], recipes: Path = RECIPES, runs: Path = RUNS) -> list[Table]:
    """One table for each of `what`, of LISTS."""
    makers = {"methods": _methods, "datasets": _datasets}
    tables = []
    for name in what:
        if name == "recipes":
            tables.append(_recipes(recipes))
        elif name == "runs":
            tables.append(_runs(runs))
        else:
            tables.append(makers[name]())
    return tables


def _methods() -> Table:
    table = Table("method", "title", title="methods", title_justify="left")
    for name in method_names():
        table.add_row(name, method_title(name))
    return table


def _datasets() -> Table:
    table = Table(
        "dataset", "title", "train / val / test", "protocols", title="datasets", title_justify="left"
    )
    for name, entry in CATALOG.items():
        sizes = " / ".join(f"{entry.counts[split]:,}" for split in ("train", "val", "test"))
        table.add_row(name, entry.title, sizes, ", ".join(item.name for item in protocols_of(name)))
    return table


def _recipes(folder: Path) -> Table:
    head = ("recipe", "summary", "departures", "profiles")
    table = Table(*head, title="recipes", title_justify="left")
    for path in sorted(folder.glob("*/*.yaml")):
        document = read_document(path)
        for field, kind in (("summary", str), ("departures", list)):
            if not isinstance(document.get(field), kind):
                found = document.get(field, "nothing")
                raise UserError(
                    f"{path.as_posix()}: field '{field}': found {found!r}, expected a {kind.__name__}"
                )
        departures = str(len(document["departures"]) or "none")
        table.add_row(path.as_posix(), document["summary"], departures, ", ".join(profile_names(path.parent)))
    return table


def _runs(folder: Path) -> Table:
    head = ("run", "seed", "protocol", "i2t R@1", "t2i R@1", "rsum", "comparable with the paper")
    table = Table(*head, title="runs", title_justify="left")
    for record in read_all(folder):
        for name, result in record.results.items():
            metrics = result.metrics
            scores = (metrics.i2t.r1, metrics.t2i.r1, metrics.rsum)
            comparable = f"no: {escape(record.departures[0])}" if record.departures else "yes"
            cells = (record.run, str(record.seed), name, *(f"{value:.1f}" for value in scores))
            table.add_row(*cells, comparable)
    return table
