"""The Flickr30K split of the dual-path's code (dualpath.md 2), made from the whole corpus and two lists of Flickr8k.

Its rule: val is Flickr8k's 1,000 dev images and test its 1,000 test images, found by the number in the file name;
train is the rest. Karpathy's 31,014 images lack dozens of these 2,000, so that all 31,783 of the corpus are read
(lmms-lab/flickr30k, data.md 1.1). UNCERTAIN: the authors' README speaks of a random split, and which of the two made
the published numbers isn't known.

Order: train in string order of the file names, val and test as their lists have them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from benchmark.data.published.karpathy import flickr30k_names
from benchmark.data.splits import Split, SplitName
from benchmark.errors import UserError

CORPUS_IMAGES = 31_783
TRAIN_IMAGES = 29_783
LIST_IMAGES = 1_000
"""Images of val, and of test."""

LISTS: dict[SplitName, str] = {"val": "Flickr_8k.devImages.txt", "test": "Flickr_8k.testImages.txt"}
"""Files of Flickr8k's text archive, one file name of a picture a line."""
FOLDER = Path(".rematch/flickr8k")
"""Where a list is looked for that isn't in the data folder."""


def number_of(filename: str) -> str:
    """What Flickr8k's 1141718391_24164bf1b1.jpg and Flickr30K's 1141718391.jpg have in common."""
    return PurePosixPath(filename).name.partition(".")[0].partition("_")[0]


# ------------------------------------------------------------------------------------- the lists


def read_lists(data_dir: Path | None) -> dict[SplitName, list[str]]:
    """File names of val and test, each list from the data folder, else from .rematch/flickr8k.

    Raises UserError where a list is missing or isn't 1,000 different pictures, or where the two share one.
    """
    lists = {split: _read_list(_find(split, data_dir)) for split in LISTS}
    tested = {number_of(name) for name in lists["test"]}
    shared = [name for name in lists["val"] if number_of(name) in tested]
    if shared:
        raise UserError(
            f"{LISTS['val']} and {LISTS['test']}: {len(shared):,} pictures are in both, the first is {shared[0]}; "
            "expected Flickr8k's dev and test images, which share none"
        )
    return lists


def _find(split: SplitName, data_dir: Path | None) -> Path:
    places = [folder / LISTS[split] for folder in (data_dir, FOLDER) if folder is not None]
    for path in places:
        if path.is_file():
            return path
    where = " or ".join(path.as_posix() for path in places)
    raise UserError(
        f"field 'data.options.split': found flickr8k, which needs {where}: Flickr8k's list of its {LIST_IMAGES:,} "
        f"{'dev' if split == 'val' else 'test'} images, one file name a line, from its text archive; put it there"
    )


def _read_list(path: Path) -> list[str]:
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path.as_posix()}: cannot be read ({error})") from None
    for line, name in enumerate(names, start=1):
        if not number_of(name).isdecimal():
            raise UserError(
                f"{path.as_posix()}: name {line}: found '{name}', expected one such as 1141718391_24164bf1b1.jpg"
            )
    if len(names) != LIST_IMAGES:
        raise UserError(f"{path.as_posix()}: found {len(names):,} names, expected Flickr8k's {LIST_IMAGES:,}")
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


def corpus_departures(corpus: Split, *, unverified: bool) -> list[str]:
    """What a corpus of another size means for the split; raises UserError for it unless `unverified`."""
    found = len(corpus)
    if found == CORPUS_IMAGES:
        return []
    if not unverified:
        raise UserError(
            f"flickr30k, split flickr8k: found {found:,} images, expected the whole corpus of {CORPUS_IMAGES:,}, as "
            "in lmms-lab/flickr30k (Karpathy's splits lack some of val and test); give no --data-dir, or a copy of "
            "that; --unverified uses the data as they are, and every table says so"
        )
    left = found - 2 * LIST_IMAGES
    return [
        f"not verified: found {found:,} images, expected the whole corpus of {CORPUS_IMAGES:,}; {left:,} are left to "
        f"train on, the authors have {TRAIN_IMAGES:,}"
    ]


def author_splits(corpus: Split, lists: Mapping[SplitName, Sequence[str]]) -> dict[SplitName, Split]:
    """The corpus as train, val and test by the code's rule; `lists` as `read_lists` returns them.

    Raises UserError where the corpus has a picture twice, or lacks one of a list.
    """
    rows = {number_of(name): row for row, name in enumerate(corpus.filenames)}
    if len(rows) != len(corpus):
        raise UserError(
            f"flickr30k: {len(corpus) - len(rows):,} images are there more than once, expected once"
        )
    chosen: dict[SplitName, list[int]] = {}
    for split, names in lists.items():
        absent = [name for name in names if number_of(name) not in rows]
        if absent:
            raise UserError(
                f"{LISTS[split]}: {len(absent):,} of its {len(names):,} names aren't in the loaded Flickr30K, the "
                f"first is {absent[0]}; expected all, as in the corpus of {CORPUS_IMAGES:,} images"
            )
        chosen[split] = [rows[number_of(name)] for name in names]
    held_out = {row for part in chosen.values() for row in part}
    rest = sorted(set(range(len(corpus))) - held_out, key=lambda row: corpus.filenames[row])
    return {"train": _taken(corpus, rest, "train"), **{s: _taken(corpus, r, s) for s, r in chosen.items()}}


def _taken(corpus: Split, rows: Sequence[int], name: SplitName) -> Split:
    """Images of the corpus in this order, with their captions."""
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
