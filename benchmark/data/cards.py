"""Cards of people's own datasets: what `rematch data import` wrote into datasets/, or a package brings along.

A card (`datasets/NAME.yaml`) says where captions and pictures lie, how they were read, and what was counted. The index
beside it (`datasets/NAME.jsonl`) has a line an image: its id, its split, its captions, its place in the source and the
sha256 of its picture. From then on NAME is a dataset like any other. A package names its card in the group
`rematch.datasets` of entry points: NAME = "module:CARD", CARD being the path of the card's file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from benchmark.errors import UserError
from benchmark.places import DATASETS
from benchmark.recipe.faults import validated
from benchmark.recipe.files import read_document
from benchmark.recipe.schema import SplitName
from benchmark.strict import Seed, Strict

GROUP = "rematch.datasets"
"""The group of entry points by which packages bring datasets."""

NAME = re.compile("[a-z][a-z0-9_]*")
"""The names that own datasets may have: a recipe's file is DATASET-VARIANT.yaml, so none has a hyphen."""

LayoutName = Literal["captions", "metadata", "coco", "karpathy", "parquet", "hub", "webdataset", "features"]
"""The ways in which captions and pictures lie in a source (benchmark/data/own/layouts.py)."""


class SplitCounts(Strict):
    """Counts of a split."""

    images: Annotated[int, Field(ge=1)]
    captions: Annotated[int, Field(ge=1)]
    fewest: Annotated[int, Field(ge=1)]
    """The least number of captions of an image."""
    most: Annotated[int, Field(ge=1)]


class SplitRule(Strict):
    """How images came to their splits."""

    given: list[str]
    """The splits that the source names; [] where it names none, and all images were drawn."""
    seed: Seed = 0
    """The seed of the splits that were drawn."""
    val: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """The share of the images that is drawn for validation, where the source names no such split."""
    test: Annotated[float, Field(gt=0, lt=1)] = 0.1


class Card(Strict):
    """An own dataset."""

    name: Annotated[str, Field(pattern=f"^{NAME.pattern}$")]
    title: str
    licence: str = "unknown"
    layout: LayoutName
    source: str
    """A folder or file, relative to the card's folder or absolute; or a repository on the Hub."""
    pictures: str | None = None
    """The folder of the pictures, where it is not that of the source."""
    files: list[str] = []
    """Files in the source that hold captions, tables, shards or features, in the order in which rows are counted."""
    revision: str | None = None
    """The commit of a repository on the Hub."""
    config: str | None = None
    """The configuration of a repository on the Hub that has several."""
    columns: dict[str, str] = {}
    """The columns or fields that were read, by what they hold."""
    splits: SplitRule
    counts: dict[SplitName, SplitCounts]
    left_out: list[str] = []
    """Parts of the source that are not in the dataset, in words."""
    fingerprint: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    """The sha256 of the index: ids, splits, captions, and the sha256 of every picture."""

    @property
    def all_captions(self) -> dict[str, Any]:
        """The fields of a recipe's data that ask for every caption of an image."""
        return {
            "captions_per_image": max(count.most for count in self.counts.values()),
            "every_caption": True,
        }


@dataclass(frozen=True)
class Located:
    """A card and the place that it was read from."""

    card: Card
    path: Path

    @property
    def index(self) -> Path:
        """The file of the index."""
        return self.path.with_suffix(".jsonl")

    def place(self, data_dir: Path | None = None) -> Path:
        """Return the source, or the folder that it moved to."""
        return self._from_card(self.card.source) if data_dir is None else data_dir

    def picture_folder(self, data_dir: Path | None = None) -> Path:
        """Return the folder that the pictures' paths are below."""
        if self.card.pictures is not None:
            return self._from_card(self.card.pictures)
        source = self.place(data_dir)
        return source.parent if source.is_file() else source

    def _from_card(self, place: str) -> Path:
        """Return a path as a card has it, without steps up through a folder of cards that is not made yet."""
        return Path(os.path.normpath(self.path.parent / place))


def card_path(name: str, folder: Path = DATASETS) -> Path:
    """Return the place of a card."""
    return folder / f"{name}.yaml"


def read_card(path: Path, name: str) -> Located:
    """Read a card; raises UserError with file and field for any fault, and for one of another name."""
    card = validated(Card, read_document(path), path)
    if card.name != name:
        raise UserError(
            f"{path.as_posix()}: field 'name': found '{card.name}', expected '{name}', as it is asked for"
        )
    return Located(card, path)


def find_card(name: str) -> Located | None:
    """Return the card of that name: one in the folder of cards, else a package's; None where there is none.

    Raises UserError for a card at fault.
    """
    own = card_path(name)
    if NAME.fullmatch(name) and own.is_file():
        return read_card(own, name)
    point = _entry_points().get(name)
    if point is None:
        return None
    path = point.load()
    if not isinstance(path, str | Path):
        raise UserError(
            f"entry point '{name}' of {GROUP}: found {type(path).__name__}, expected the path of a card"
        )
    return read_card(Path(path), name)


def card_names() -> list[str]:
    """Return the names of all own datasets, sorted."""
    return sorted({*_entry_points(), *(path.stem for path in _files())})


def _files() -> Iterator[Path]:
    return (path for path in DATASETS.glob("*.yaml") if NAME.fullmatch(path.stem))


@cache
def _entry_points() -> dict[str, EntryPoint | Any]:
    return {point.name: point for point in entry_points(group=GROUP)}
