"""Models of the Hub by name, without training: a recipe is written for each dataset, and run as any other."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmark.data.published.catalogue import get_entry
from benchmark.data.published.models import model_commit
from benchmark.errors import UserError, shown
from benchmark.files import write_text
from benchmark.method import Method
from benchmark.places import RECIPES, locate
from benchmark.recipe.faults import about, check_fields, validated
from benchmark.recipe.files import read_document
from benchmark.recipe.schema import Recipe
from benchmark.recipe.training import UNTRAINED
from benchmark.records.paper import paper_row_of

HEADER = """\
# {name} on {dataset}, zero-shot: the weights of the Hub as they are. Written by `rematch evaluate-model`.
"""
PROSE = ("summary", "departures", "paper_row")


@dataclass(frozen=True)
class Asked:
    """A model as a command asks for it."""

    name: str
    """The repository on the Hub."""
    settings: Mapping[str, Any]
    """Fields of the method's configuration beside the name: `revision`, and those that are not at their default."""
    batch_size: int
    label: str | None = None
    """The name of the runs; None: the last part of the repository's, with the settings that are not the default."""

    @property
    def run_label(self) -> str:
        """The part of the recipe's file name after the dataset."""
        told = [str(value) for field, value in self.settings.items() if field in ("library", "precision")]
        prompted = ["prompt"] if "prompt" in self.settings else []
        label = self.label or "-".join([self.name.split("/")[-1], *told, *prompted])
        return re.sub(r"[^a-z0-9.]+", "-", label.lower()).strip("-.").replace(".", "_")


def settle_model(asked: Asked, method: Method) -> Any:
    """Return the method's configuration of a model, at the asked or the locked commit, with its sizes.

    Raises UserError where the repository cannot be read, and for a setting that the method does not have.
    """
    document = {"name": asked.name, **asked.settings}
    return method.settle(check_fields("model", document, method.config), model_commit)


def write_recipe(asked: Asked, method: Method, config: Any, dataset: str, folder: Path = RECIPES) -> Path:
    """Write the recipe of a model on a dataset, or find it written; returns its path.

    Raises UserError where a file of that name says something else, which is left as it is.
    """
    path = folder / method.name / f"{dataset}-{asked.run_label}.yaml"
    document = make_document(asked, method, config, dataset)
    with about(path):
        validated(Recipe, document, path)
    if locate(path).is_file():
        _check_same(path, document)
        return path
    body = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=110)
    write_text(path, HEADER.format(name=asked.name, dataset=dataset) + body)
    return path


def make_document(asked: Asked, method: Method, config: Any, dataset: str) -> dict[str, Any]:
    """Return the recipe as it is written: the model's settings that are not at their default, and no training."""
    row = paper_row_of(asked.name, method.name)
    return {
        "summary": f"{asked.name} on {dataset}, zero-shot",
        "method": method.name,
        "departures": [f"zero-shot: {asked.name} as it is on the Hub, not trained on {dataset} here"],
        "paper_row": row.model_dump(mode="json"),
        "data": {"name": dataset, **caption_fields(dataset)},
        "model": config.model_dump(mode="json", exclude_defaults=True),
        "pretrained": True,
        "training": UNTRAINED,
        "evaluation": {"batch_size": asked.batch_size},
    }


def caption_fields(dataset: str) -> dict[str, Any]:
    """The captions of an image that are read: five, as papers have it, and all of somebody's own dataset."""
    own = get_entry(dataset).own
    return {"captions_per_image": 5} if own is None else own.card.all_captions


def _check_same(path: Path, document: Mapping[str, Any]) -> None:
    """Raise UserError where a recipe is another than the one that is asked for, prose apart."""
    found = read_document(path)
    for part, wanted in document.items():
        if part in PROSE or found.get(part) == wanted:
            continue
        there = found.get(part)
        field = part
        if isinstance(wanted, dict) and isinstance(there, dict):
            name = next(key for key in [*wanted, *there] if wanted.get(key) != there.get(key))
            field, wanted, there = f"{part}.{name}", wanted.get(name), there.get(name)
        raise UserError(
            f"{path.as_posix()}: field '{field}': found {shown(there)}, asked for {shown(wanted)}; give the runs "
            f"another name (--name), or run it as it is: rematch reproduce {path.as_posix()}"
        )
