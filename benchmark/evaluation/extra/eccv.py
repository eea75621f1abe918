"""ECCV Caption (arXiv 2204.03359): more positives of MSCOCO's 5K test, found by models and checked by people.

The labels come with the package `eccv_caption` (MIT), an optional one; only its JSON files are read, so that an
unpacked copy of them does as well. It also ships CxC's positives, and the caption ids of the test split in Karpathy's
order. PMRP, the package's fourth metric, is left out: its labels are two more files of over 140 MB, to be had by
hand from a file sharing service, with no checksum to verify them by.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from benchmark.errors import UserError
from benchmark.evaluation.extra.relevance import Positives, Relevance
from benchmark.evaluation.ranking import Ints
from benchmark.guarded import read_json

PACKAGE = "eccv_caption"
TITLES = {"eccv": "ECCV Caption", "cxc": "CxC as shipped with ECCV Caption"}


def labels_folder(given: Path | None = None) -> Path:
    """The folder of the label files: `given`, or that of the installed package; it is not imported.

    Raises UserError where it is not there.
    """
    if given is not None:
        if not given.is_dir():
            raise UserError(
                f"{given.as_posix()}: expected the folder of ECCV Caption's label files, eccv_image_to_caption.json ..."
            )
        return given
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            f"the labels come with the package {PACKAGE}, which is not installed: install 'rematch-bench[eccv]', or "
            "name the folder of its label files (--relevance-file)"
        )
    return Path(spec.submodule_search_locations[0], "data")


def read_shipped(name: str, folder: Path) -> Relevance:
    """The table `eccv` or `cxc` from the label files; raises UserError that names the file at fault.

    Two positives of `eccv` are captions beyond an image's fifth, 144675 and 467259: the gallery of 25,000 has not got
    them, and the published metrics count them as missed.
    """
    i2t = _read(folder / f"{name}_image_to_caption.json")
    t2i = _read(folder / f"{name}_caption_to_image.json")
    gallery = _read(folder / "original_caption_to_image.json").keys()
    outside = frozenset(
        caption for captions in i2t.values() for caption in captions if caption not in gallery
    )
    return Relevance(name, TITLES[name], i2t, t2i, outside)


def karpathy_captions(folder: Path) -> tuple[Ints, Positives]:
    """Caption ids (25,000,) of the test split in Karpathy's order, five an image; and each caption's own image."""
    path = folder / "coco_test_ids.npy"
    try:
        ids = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path.name} of {PACKAGE}: not readable ({' '.join(str(error).split())})") from None
    if ids.ndim != 1 or ids.dtype.kind not in "iu":
        raise UserError(
            f"{path.name} of {PACKAGE}: found {ids.dtype} of shape {ids.shape}, expected a list of ids"
        )
    return ids.astype(np.int64), _read(folder / "original_caption_to_image.json")


def _read(path: Path) -> Positives:
    """A JSON object from query id to a list of ids."""
    where = f"{path.name} of {PACKAGE}"
    try:
        document = read_json(path)
    except FileNotFoundError:
        raise UserError(
            f"{path.as_posix()}: no such file; expected the label files of {PACKAGE} 0.1.0"
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f"{where}: not a complete JSON document ({error}); install it again") from None
    try:
        return {int(query): tuple(int(item) for item in items) for query, items in document.items() if items}
    except (AttributeError, TypeError, ValueError):
        raise UserError(f"{where}: expected an object from id to a list of ids") from None
