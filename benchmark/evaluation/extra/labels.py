"""Labels for `evaluate_relevance` from the names that a user gives: tables, and ids of a matrix's rows and columns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmark.errors import UserError, nearest, shown
from benchmark.evaluation.extra.cxc import read_cxc
from benchmark.evaluation.extra.eccv import karpathy_captions, labels_folder, read_shipped
from benchmark.evaluation.extra.relevance import Relevance, number_of
from benchmark.guarded import read_json

TABLES = ("cxc", "eccv")
DATASET = "mscoco"
"""The dataset whose test split the tables describe."""


def load_relevance(name: str, file: Path | None = None) -> Relevance:
    """The table of that name. file: CxC's sits_test.csv, or a folder of ECCV Caption's label files.

    Without a file both come from the package eccv_caption. Raises UserError for an unknown name and for files that
    are missing or damaged.
    """
    if name not in TABLES:
        raise UserError(f"unknown relevance '{name}'{nearest(name, TABLES)}")
    if name == "cxc" and file is not None and not file.is_dir():
        return read_cxc(file)
    return read_shipped(name, labels_folder(file))


def read_ids(path: Path) -> list[int]:
    """Ids of rows or columns: a .npy array of integers, a JSON list, or a text file with one a line.

    Texts that end with a number stand for it, as file names do. Raises UserError that names the first line that is not
    an id.
    """
    name = path.as_posix()
    if not path.is_file():
        raise UserError(f"{name}: no such file of ids")
    try:
        if path.suffix == ".npy":
            items = np.load(path, allow_pickle=False).ravel().tolist()
        elif path.suffix == ".json":
            items = read_json(path)
        else:
            items = path.read_text(encoding="utf-8").split()
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{name}: not a readable list of ids ({' '.join(str(error).split())})") from None
    if not isinstance(items, list):
        raise UserError(f"{name}: found {type(items).__name__}, expected a list of ids")
    return [_id_of(item, f"{name}: item {place}") for place, item in enumerate(items)]


def _id_of(item: object, where: str) -> int:
    number = number_of(item) if isinstance(item, str) and not item.startswith("-") else item
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise UserError(f"{where}: found {shown(item)}, expected an id")
    return number


def ids_of_run(
    image_ids: Sequence[str], caption_ids: Sequence[str], caption_image: Sequence[int], folder: Path | None
) -> tuple[list[int], list[int]]:
    """Cocoids and sentids of a test split of MSCOCO as it was loaded.

    SCAN's feature folders number an image's captions (`391895#0`); theirs are looked up in the label files (`folder`),
    where images and counts must agree. Raises UserError where ids are missing.
    """
    images = [_id_of(item, f"image {row} of the test split") for row, item in enumerate(image_ids)]
    if not any("#" in item for item in caption_ids):
        return images, [
            _id_of(item, f"caption {row} of the test split") for row, item in enumerate(caption_ids)
        ]
    captions, own = karpathy_captions(labels_folder(folder))
    owners = [images[row] for row in caption_image]
    theirs = [own.get(int(caption), (-1,))[0] for caption in captions]
    if owners != theirs:
        raise UserError(
            "the captions of these features have no ids, and their images are not those of Karpathy's test split in "
            "order: save the scores (--save-sims) and use `rematch score` with --image-ids and --caption-ids"
        )
    return images, captions.tolist()
