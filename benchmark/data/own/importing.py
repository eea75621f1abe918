"""`rematch data import`: a source is read once, and a card and an index are written."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml
from tqdm import tqdm

from benchmark.data.cards import NAME, Card, LayoutName, Located, SplitCounts, SplitRule, card_path
from benchmark.data.images.decoding import corrupt_rows
from benchmark.data.own.index import SPLITS, index_text
from benchmark.data.own.items import Collection, Item, Reading
from benchmark.data.own.layouts import LAYOUTS, open_images, recognise
from benchmark.data.own.splitting import given_splits, split_items
from benchmark.data.published.catalogue import CATALOG
from benchmark.data.splits import SplitName
from benchmark.errors import UserError
from benchmark.files import check_writable, sha256_bytes, write_text
from benchmark.places import DATASETS

LEAST_PART, PARTS = 256, 50
"""Pictures that are read between two steps of the progress bar, and steps of a large import."""

HEAD = """\
# A dataset of your own, as `rematch data import` read it. Its images, captions and splits are in {index} beside it.
# Change title and licence as you like; for anything else import again (--force).
"""


@dataclass(frozen=True)
class Import:
    """An import as a user asks for it."""

    name: str
    source: str
    reading: Reading
    layout: LayoutName | None = None
    """None: found out by looking."""
    rule: SplitRule = field(default_factory=lambda: SplitRule(given=[]))
    title: str | None = None
    licence: str = "unknown"
    skip_missing: bool = False
    force: bool = False
    """Take the place of a card that is there."""


@dataclass(frozen=True)
class Imported:
    """The files that were written, and what there is to say of it."""

    own: Located
    notes: list[str]


def import_dataset(wanted: Import, folder: Path = DATASETS) -> Imported:
    """Read a source, and write its card and index into `folder`.

    Raises UserError for a name that cannot be had, and one that names everything that is wrong or missing in the
    source, and the system's OSError where nothing can be written; nothing is written then.
    """
    path = card_path(wanted.name, folder)
    check_name(wanted.name, path, force=wanted.force)
    check_writable(folder)
    pictures = wanted.reading.pictures
    if pictures is not None and not pictures.is_dir():
        raise UserError(f"option --pictures: {pictures.as_posix()}: no such folder")
    layout, files = recognise(wanted.source, wanted.layout)
    reading = wanted.reading
    if layout == "hub":
        reading = replace(reading, repository=wanted.source)
    found = LAYOUTS[layout].read(reading, files)
    draft = _draft(wanted, reading, layout, found, folder)
    items = readable(Located(draft, path), found, show_progress=reading.show_progress)
    left_out = found.faults.check(wanted.source, skip_missing=wanted.skip_missing)
    if not items:
        raise UserError(f"{wanted.source}: found no image with a caption")
    _check_ids(items, wanted.source)
    given_splits(items, wanted.source)  # refused before pictures are hashed
    items = with_digests(Located(draft, path), items, show_progress=reading.show_progress)
    items, rule, said = split_items(items, wanted.rule, wanted.source)
    text = index_text(items)
    update = {
        "splits": rule,
        "counts": count_splits(items),
        "left_out": left_out,
        "fingerprint": sha256_bytes(text.encode()),
    }
    own = Located(draft.model_copy(update=update), path)
    write_text(own.index, text)
    write_text(path, card_text(own.card))
    again = sum(len(item.captions) - len({*item.captions}) for item in items)
    twice = [f"captions that their image has twice: {again:,}"] if again else []
    return Imported(own, [*found.notes, *twice, *said, *(f"left out: {line}" for line in left_out)])


def _draft(wanted: Import, reading: Reading, layout: LayoutName, found: Collection, folder: Path) -> Card:
    """Return a card without what is counted."""
    return Card(
        name=wanted.name,
        title=wanted.title or f"{wanted.name}, {LAYOUTS[layout].title}",
        licence=wanted.licence,
        layout=layout,
        source=wanted.source if layout == "hub" else _from_card(wanted.source, folder),
        pictures=None if reading.pictures is None else _from_card(str(reading.pictures), folder),
        files=found.files,
        revision=found.revision,
        config=reading.config,
        columns=found.columns,
        splits=wanted.rule,
        counts={},
        fingerprint="0" * 64,
    )


def check_name(name: str, path: Path, *, force: bool) -> None:
    """Raise UserError for a name that no dataset can have, or that one has already."""
    if not NAME.fullmatch(name):
        raise UserError(
            f"dataset '{name}': expected a name of small letters, digits and _ that begins with a letter, such as "
            "my_pictures"
        )
    if name in CATALOG or name == "own":
        raise UserError(f"dataset '{name}' is there already; take another name")
    if path.exists() and not force:
        raise UserError(f"{path.as_posix()}: there already; --force takes its place, or take another name")


def _check_ids(items: Sequence[Item], source: str) -> None:
    twice = [name for name, count in Counter(item.id for item in items).items() if count > 1]
    if twice:
        raise UserError(
            f"{source}: {len(twice):,} images have an id that another has, the first {twice[0][:80]}"
        )


def _from_card(source: str, folder: Path) -> str:
    """Return a path as a card has it: from the card's folder, or absolute as it was given."""
    path = Path(source).expanduser()
    return path.as_posix() if path.is_absolute() else Path(os.path.relpath(path, folder)).as_posix()


def readable(own: Located, found: Collection, *, show_progress: bool = True) -> list[Item]:
    """Decode every picture; return the images where that succeeds, the others are noted as missing."""
    if own.card.layout == "features" or not found.items:
        return found.items
    broken = corrupt_rows(open_images(own, found.items), show_progress=show_progress)
    for row, reason in broken.items():
        found.faults.lacks("pictures that cannot be decoded", f"{found.items[row].file}: {reason}")
    return [item for row, item in enumerate(found.items) if row not in broken]


def with_digests(own: Located, items: Sequence[Item], *, show_progress: bool = True) -> list[Item]:
    """Return the images with the sha256 of their pictures; those of features have none."""
    if all(item.digest for item in items):
        return list(items)
    images, found = open_images(own, items), list[Item]()
    part = max(LEAST_PART, -(-len(items) // PARTS))
    with tqdm(total=len(items), desc="pictures", disable=None if show_progress else True) as bar:
        for start in range(0, len(items), part):
            rows = range(start, min(start + part, len(items)))
            digests = images.select(rows).digests()
            if digests is None:
                return list(items)
            pairs = zip(rows, digests, strict=True)
            found += [replace(items[row], digest=digest.hex()) for row, digest in pairs]
            bar.update(len(rows))
    return found


def count_splits(items: Sequence[Item]) -> dict[SplitName, SplitCounts]:
    """Count images and captions of each split."""
    counts = {}
    for split in SPLITS:
        each = [len(item.captions) for item in items if item.split == split]
        counts[split] = SplitCounts(images=len(each), captions=sum(each), fewest=min(each), most=max(each))
    return counts


def card_text(card: Card) -> str:
    """Return the file of a card."""
    document = card.model_dump(mode="json")
    empty = [name for name, value in document.items() if value in (None, [], {})]
    for name in empty:
        del document[name]
    document["counts"] = {split: card.counts[split].model_dump(mode="json") for split in SPLITS}
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100)
    return HEAD.format(index=f"{card.name}.jsonl") + text
