"""The result of every reader of a source: images with their captions and places, and all that is missing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmark.data.published.adapters import one_line
from benchmark.data.published.sources import STEMS
from benchmark.data.splits import SplitName
from benchmark.errors import UserError, shown

Place = tuple[str | int, ...]
"""The place of an image in its source: a path; a row; a shard, an offset and a size; a part and a row."""

PARTS: dict[str, SplitName] = {stem: split for split, stems in STEMS.items() for stem in stems}
PARTS |= {"training": "train", "restval": "train", "eval": "val", "testing": "test"}
"""The split for each name that sources give to one."""

LISTED = 8
"""Faults that a message lists."""
NAMED = 3
"""Names that a message has of what is missing."""


@dataclass(frozen=True)
class Item:
    """An image with its captions."""

    id: str
    file: str
    """Its name for people."""
    place: Place
    captions: tuple[str, ...]
    split: SplitName | None = None
    """The split that the source names; None: it names none."""
    digest: str = ""
    """The sha256 of its picture's file; empty: not looked at, or there is no picture."""


@dataclass
class Faults:
    """Everything that is wrong with a source, so that one message can name it all."""

    wrong: list[str] = field(default_factory=list)
    """Faults that must be put right."""
    missing: dict[str, list[str]] = field(default_factory=dict)
    """Images that could be left out, by what they lack."""

    def lacks(self, what: str, name: str) -> None:
        """Note an image that lacks something."""
        self.missing.setdefault(what, []).append(name)

    def lines(self) -> list[str]:
        """All that is missing, a line each."""
        return [f"{what}: {len(names):,} ({named(names)})" for what, names in self.missing.items()]

    def check(self, source: str, *, skip_missing: bool) -> list[str]:
        """Raise UserError that names everything; returns what is left out, where that is wanted."""
        wrong = self.wrong[:LISTED]
        if len(self.wrong) > LISTED:
            wrong.append(f"and {len(self.wrong) - LISTED:,} more such faults")
        told = [*wrong, *([] if skip_missing else self.lines())]
        if told:
            advice = "" if self.wrong or skip_missing else "; --skip-missing leaves these images out"
            raise UserError(f"{source}: {'; '.join(told)}{advice}")
        return self.lines()


def named(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return ", ".join(name[:80] for name in names[:NAMED]) + more


@dataclass(frozen=True)
class Collection:
    """A source as it was read."""

    items: list[Item]
    faults: Faults
    columns: dict[str, str] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    """Files below the source that rows and parts are counted in."""
    revision: str | None = None
    notes: list[str] = field(default_factory=list)
    """Guesses, and what was passed over, in words."""


@dataclass(frozen=True)
class Reading:
    """The user's words about a source; None: to be found out."""

    source: Path
    pictures: Path | None = None
    """The folder of the pictures; None: the source's own."""
    image_column: str | None = None
    caption_columns: tuple[str, ...] = ()
    split_column: str | None = None
    repository: str = ""
    """A repository on the Hub, which is then the source."""
    revision: str | None = None
    config: str | None = None
    show_progress: bool = True

    @property
    def picture_folder(self) -> Path:
        """The folder below which pictures are looked for."""
        if self.pictures is not None:
            return self.pictures
        return self.source.parent if self.source.is_file() else self.source


@dataclass
class Gatherer:
    """Puts captions together by image, in the order in which images come."""

    faults: Faults
    found: dict[str, list[str]] = field(default_factory=dict)
    splits: dict[str, SplitName | None] = field(default_factory=dict)

    def add(self, image: str, captions: Iterable[object], split: object = None, where: str = "") -> None:
        """Take captions of an image; blank ones are left out. split: the source's word for it."""
        texts = self.found.setdefault(image, [])
        for caption in captions:
            if not isinstance(caption, str):
                self.faults.wrong.append(f"{where}: found {shown(caption)} for a caption, expected text")
                continue
            text = one_line(caption)
            if text and sound(text):
                texts.append(text)
            elif text:
                self.faults.wrong.append(f"{where}: a caption holds half of a character, expected Unicode")
        part = self._part(split, where)
        if self.splits.setdefault(image, part) != part:
            self.faults.wrong.append(f"{where}: image {image[:80]} is in two splits")

    def _part(self, split: object, where: str) -> SplitName | None:
        if split is None or split == "":
            return None
        part = PARTS.get(str(split).strip().lower())
        if part is None:
            self.faults.wrong.append(f"{where}: split {shown(split)}, expected train, val or test")
        return part

    def items(self, places: dict[str, Place]) -> list[Item]:
        """The images that have a place and a caption; the others are noted as missing.

        Several names of one picture are one image, with the captions of all.
        """
        items: dict[Place, Item] = {}
        for image, captions in self.found.items():
            if image not in places:
                self.faults.lacks("pictures that are not there", image)
            elif not captions:
                self.faults.lacks("images without a caption", image)
            else:
                self._take(Item(image, image, places[image], tuple(captions), self.splits[image]), items)
        return list(items.values())

    def _take(self, item: Item, items: dict[Place, Item]) -> None:
        """Add an image, or its captions to those that its picture has by another name."""
        same = items.setdefault(item.place, item)
        if same.split != item.split:
            self.faults.wrong.append(
                f"pictures {same.file[:80]} and {item.file[:80]} are one file in two splits"
            )
        elif same is not item:
            items[item.place] = replace(same, captions=(*same.captions, *item.captions))


def sound(text: str) -> bool:
    """Return True for text that a file can hold: no half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def with_split(item: Item, split: SplitName) -> Item:
    """Return the image in a split."""
    return replace(item, split=split)
