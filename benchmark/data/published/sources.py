"""The sources of each dataset, in the order in which they are tried (data.md sections 0, 1.1 and 1.2).

A source is one layout of repositories on the Hugging Face Hub. A repository that is gone, asks for a login or
holds other columns gives way to the next source; the one that delivered is written into the lock
(revisions.py) and used from then on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import PurePosixPath

from benchmark.data.splits import SplitName

STEMS: dict[SplitName, tuple[str, ...]] = {
    "train": ("train",),
    "val": ("val", "validation", "dev"),
    "test": ("test",),
}
"""Names that repositories give to a split; a file is `<stem>-*.parquet`."""


@dataclass(frozen=True)
class Files:
    """The files of a split in a source."""

    repo: str
    bytes: int
    """The size of the download in bytes, roughly."""
    pattern: str | None = None
    """The pattern of the file paths, where they are not `<split>-*.parquet` at any depth."""
    with_restval: tuple[str, ...] = ()
    """The stems of further files, read with the training split where the restval images are asked for."""


@dataclass(frozen=True)
class Source:
    """One place that has a dataset."""

    files: Mapping[SplitName, Files]
    commits: Mapping[str, str] = field(default_factory=dict)
    """First digits of the commit of each repository whose layout was described; absent: the newest."""
    branch: str = "main"
    needs_pictures: bool = False
    """Captions and ids only; the pictures are in a folder of the user's."""


def wanted(path: str, split: SplitName, files: Files, *, restval: bool) -> bool:
    """Return True if a repository's file belongs to a split."""
    if files.pattern is not None:
        return fnmatch(path, files.pattern)
    stems = (*STEMS[split], *(files.with_restval if restval else ()))
    return any(fnmatch(PurePosixPath(path).name, f"{stem}-*.parquet") for stem in stems)


def _everywhere(
    repo: str, train: int, val: int, test: int, pattern: str | None = None
) -> dict[SplitName, Files]:
    """One repository for all splits."""
    sizes: dict[SplitName, int] = {"train": train, "val": val, "test": test}
    return {split: Files(repo, size, pattern) for split, size in sizes.items()}


_CORPUS = 4_306_000_000  # the parquet branch of nlphuji/flickr30k: all splits in one set of files
_FATIMA = "Multimodal-Fatima/COCO_captions_"
_YEREVANN = "yerevann/coco-karpathy"

FLICKR30K = (
    Source(
        _everywhere("umaru97/flickr30k_train_val_test", 4_026_000_000, 141_000_000, 139_000_000),
        {"umaru97/flickr30k_train_val_test": "d775c63"},
    ),
    Source(
        _everywhere("AnyModal/flickr30k", 4_028_000_000, 141_000_000, 139_000_000),
        {"AnyModal/flickr30k": "4e67daf"},
    ),
    Source(
        _everywhere("nlphuji/flickr30k", _CORPUS, _CORPUS, _CORPUS, "TEST/test/*.parquet"),
        {"nlphuji/flickr30k": "f5fbeaae027ee156ec0e2c6c5317dccc3e758b83"},
        branch="refs/convert/parquet",
    ),
)
"""Bytes of the first two: their totals, shared out by images."""

MSCOCO = (
    Source(
        {
            "train": Files(f"{_FATIMA}train", 18_500_000_000),
            "val": Files(f"{_FATIMA}validation", 820_000_000),
            "test": Files(f"{_FATIMA}test", 820_000_000),
        },
        {f"{_FATIMA}train": "6e270e9"},
    ),
    Source(
        _everywhere("jp1924/KoreanImageCaptioningDataset", 18_530_000_000, 818_000_000, 818_000_000),
        {"jp1924/KoreanImageCaptioningDataset": "d4fad56"},
    ),
    Source(
        {
            "train": Files(_YEREVANN, 23_320_000, with_restval=("restval",)),
            "val": Files(_YEREVANN, 1_070_000),
            "test": Files(_YEREVANN, 1_070_000),
        },
        {_YEREVANN: "03528ca"},
        needs_pictures=True,
    ),
)

FLICKR30K_CORPUS = (
    Source(
        _everywhere("lmms-lab/flickr30k", 4_410_000_000, 4_410_000_000, 4_410_000_000, "data/test-*.parquet"),
        {"lmms-lab/flickr30k": "0d6d9049be2e08261be315e731e0d8054c1d1c03"},
    ),
)
"""All 31,783 images in one set of files, which know no split."""

FLICKR8K = (
    Source(_everywhere("jxie/flickr8k", 828_000_000, 138_000_000, 137_000_000), {"jxie/flickr8k": "56f58c9"}),
)
