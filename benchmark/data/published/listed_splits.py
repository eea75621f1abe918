"""Splits by lists of file names, made from a dataset's whole corpus as a method declares it (`ListedSplit`).

The pictures of the lists are val and test, found by the number that a file name begins with; train is the rest. Order:
train in string order of the file names, val and test as their lists have them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from benchmark.data.published.karpathy import flickr30k_names
from benchmark.data.splits import UNVERIFIED, Split, SplitName
from benchmark.errors import UserError
from benchmark.inputs import ListedSplit
from benchmark.places import WORK


def number_of(filename: str) -> str:
    """Return the number that Flickr8k's 1141718391_24164bf1b1.jpg and Flickr30K's 1141718391.jpg share."""
    return PurePosixPath(filename).name.partition(".")[0].partition("_")[0]


# ------------------------------------------------------------------------------------- the lists


def read_lists(declared: ListedSplit, data_dir: Path | None) -> dict[SplitName, list[str]]:
    """Read the file names of val and test, each list from the data folder, else from .rematch/NAME.

    Raises UserError where a list is missing or does not name so many different pictures, or where the two share one.
    """
    lists: dict[SplitName, list[str]] = {
        split: _read_list(declared, _find(declared, split, data_dir)) for split in declared.lists
    }
    tested = {number_of(name) for name in lists["test"]}
    shared = [name for name in lists["val"] if number_of(name) in tested]
    if shared:
        raise UserError(
            f"{' and '.join(declared.lists.values())}: {len(shared):,} pictures are in both, the first is {shared[0]}; "
            f"expected {declared.origin}'s val and test images, which share none"
        )
    return lists


def _find(declared: ListedSplit, split: SplitName, data_dir: Path | None) -> Path:
    folders = (data_dir, WORK / declared.name)
    places = [folder / declared.lists[split] for folder in folders if folder is not None]  # type: ignore[index]
    for path in places:
        if path.is_file():
            return path
    where = " or ".join(path.as_posix() for path in places)
    raise UserError(
        f"field 'data.options.split': found {declared.name}, which needs {where}: {declared.origin}'s list of its "
        f"{declared.list_images:,} {split} images, one file name a line, from its text archive; put it there"
    )


def _read_list(declared: ListedSplit, path: Path) -> list[str]:
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path.as_posix()}: cannot be read ({error})") from None
    for line, name in enumerate(names, start=1):
        if not number_of(name).isdecimal():
            raise UserError(
                f"{path.as_posix()}: name {line}: found '{name}', expected one such as 1141718391_24164bf1b1.jpg"
            )
    if len(names) != declared.list_images:
        expected = f"{declared.origin}'s {declared.list_images:,}"
        raise UserError(f"{path.as_posix()}: found {len(names):,} names, expected {expected}")
    counts = Counter(map(number_of, names))
    twice = [name for name in names if counts[number_of(name)] > 1]
    if twice:
        raise UserError(f"{path.as_posix()}: {twice[0]} is there more than once, expected every picture once")
    return names


# ------------------------------------------------------------------------------------ the corpus


def karpathy_parts(corpus: Split) -> dict[SplitName, Split]:
    """Karpathy's three splits as the corpus has them, so that what is known of those can be held against it."""
    names = [PurePosixPath(name).name for name in corpus.filenames]
    parts: dict[SplitName, Split] = {}
    splits: tuple[SplitName, ...] = ("train", "val", "test")
    for split in splits:
        wanted = set(flickr30k_names(split))
        rows = [row for row, name in enumerate(names) if name in wanted]
        parts[split] = replace(corpus.select_images(rows), name=split)
    return parts


def corpus_departures(declared: ListedSplit, corpus: Split, *, unverified: bool) -> list[str]:
    """Say what a corpus of another size means for the split; raises UserError for it unless `unverified`."""
    found, expected = len(corpus), declared.corpus_images
    if found == expected:
        return []
    if not unverified:
        raise UserError(
            f"{declared.dataset}, split {declared.name}: found {found:,} images, expected the whole corpus of "
            f"{expected:,}, as in lmms-lab/flickr30k (Karpathy's splits lack some of val and test); give no "
            "--data-dir, or a copy of that; --unverified uses the data as they are, and every table says so"
        )
    left = found - 2 * declared.list_images
    return [
        f"{UNVERIFIED}: found {found:,} images, expected the whole corpus of {expected:,}; {left:,} are left to train "
        f"on, the authors have {declared.train_images:,}"
    ]


def split_by_lists(
    declared: ListedSplit, corpus: Split, lists: Mapping[SplitName, Sequence[str]]
) -> dict[SplitName, Split]:
    """Split the corpus into train, val and test; `lists` as `read_lists` returns them.

    Raises UserError where the corpus has a picture twice, or lacks one of a list.
    """
    rows = {number_of(name): row for row, name in enumerate(corpus.filenames)}
    if len(rows) != len(corpus):
        raise UserError(
            f"{declared.dataset}: {len(corpus) - len(rows):,} images are there more than once, expected once"
        )
    chosen: dict[SplitName, list[int]] = {}
    for split, names in lists.items():
        absent = [name for name in names if number_of(name) not in rows]
        if absent:
            raise UserError(
                f"{declared.lists[split]}: {len(absent):,} of its {len(names):,} names are not in the loaded "  # type: ignore[index]
                f"{declared.dataset}, the first is {absent[0]}; expected all, as in the corpus of "
                f"{declared.corpus_images:,} images"
            )
        chosen[split] = [rows[number_of(name)] for name in names]
    held_out = {row for part in chosen.values() for row in part}
    rest = sorted(set(range(len(corpus))) - held_out, key=lambda row: corpus.filenames[row])
    return {"train": _taken(corpus, rest, "train"), **{s: _taken(corpus, r, s) for s, r in chosen.items()}}


def _taken(corpus: Split, rows: Sequence[int], name: SplitName) -> Split:
    """Return images of the corpus in this order, with their captions."""
    own = corpus.rows_of_images()
    captions = [caption for row in rows for caption in own[row]]
    return replace(
        corpus,
        name=name,
        image_ids=[corpus.image_ids[row] for row in rows],
        filenames=[corpus.filenames[row] for row in rows],
        captions=[corpus.captions[caption] for caption in captions],
        caption_ids=[corpus.caption_ids[caption] for caption in captions],
        caption_image=np.repeat(np.arange(len(rows), dtype=np.int64), [len(own[row]) for row in rows]),
        images=corpus.images.select(rows),
    )
