"""SCAN folders as users have them: `<part>_ims.npy`, `_caps.txt` and `_ids.txt` make whole splits (data.md 2.2).

Images are stored once, or repeated for each of their five captions; only the counts tell which. The published code
validates on the first 5,000 captions of `dev`, for Flickr30K and MSCOCO. The whole test split of MSCOCO is the part
`testall`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path, PurePosixPath

import numpy as np

from benchmark.data.published.catalogue import SCAN_DEV, Entry, Facts
from benchmark.data.published.karpathy import flickr30k_names, lines_sha256
from benchmark.data.regions.arrays import ArrayRegions, Integers, NpyFile, open_npy
from benchmark.data.splits import NoPictures, Split, SplitName, flatten_captions
from benchmark.errors import UserError, shown
from benchmark.guarded import read_json
from benchmark.recipe.schema import AutoRegions, DetectorRegions, StoredRegions

PARTS: dict[SplitName, tuple[str, ...]] = {"train": ("train",), "val": ("dev",), "test": ("testall", "test")}
"""The first parts of the file names of a split; the first that is there counts."""

CAPTIONS = 5
"""The number of consecutive lines of an image."""

VALIDATION_IMAGES = 1_000
"""The published code cuts `dev` of these datasets to its first 5,000 captions."""

CUT = ("flickr30k", "mscoco")

MARK = b"\xef\xbb\xbf"
"""The byte order mark that some editors put before the first character."""

WHERE = "SCAN's features are to be had as the Kaggle data set kuanghueilee/scan-features"


def scan_split(dataset: str, name: SplitName, folder: Path, captions_per_image: int = CAPTIONS) -> Split:
    """Return one split from a SCAN folder: region features, captions and ids, but no pictures.

    Images without an `_ids.txt` are called by part and row. File names come from `id_mapping.json` in the folder or
    the one above; those of Flickr30K are known. Raises UserError, in one line, for files that are missing or damaged
    and for counts that do not fit.
    """
    if captions_per_image > CAPTIONS:
        raise UserError(
            f"field 'data.captions_per_image': found {captions_per_image}, SCAN folders have {CAPTIONS} an image"
        )
    part = part_of(name, folder)
    captions = read_captions(folder / f"{part}_caps.txt")
    file = open_npy(folder / f"{part}_ims.npy")
    rows = rows_of_images(file, captions, part)
    ids = read_ids(folder / f"{part}_ids.txt", part, len(rows), len(captions))
    per_image = [captions[k : k + captions_per_image] for k in range(0, len(captions), CAPTIONS)]
    caption_ids = [[f"{image}#{k}" for k in range(captions_per_image)] for image in ids]
    flat, flat_ids, caption_image = flatten_captions(ids, per_image, caption_ids)
    regions = ArrayRegions((file,), rows, f"SCAN features {part}_ims.npy")
    names = file_names(folder, dataset, ids)
    return Split(
        name, ids, names, flat, flat_ids, caption_image, NoPictures(len(ids)), regions, ids_decide=False
    )


def part_of(name: SplitName, folder: Path) -> str:
    """Return the part of the folder that is a split; raises UserError where none is there."""
    if not folder.is_dir():
        raise UserError(f"data folder {folder.as_posix()}: no such folder")
    for part in PARTS[name]:
        if (folder / f"{part}_ims.npy").is_file():
            return part
    wanted = " or ".join(f"{part}_ims.npy" for part in PARTS[name])
    raise UserError(
        f"data folder {folder.as_posix()}: found no {wanted}, expected a SCAN folder with _ims.npy, _caps.txt and "
        f"_ids.txt of split '{name}'; {WHERE}"
    )


def is_scan_folder(folder: Path) -> bool:
    """Return True where a folder holds the features or the captions of any split as SCAN's do."""
    parts = [part for names in PARTS.values() for part in names]
    return any((folder / f"{part}_{what}").is_file() for part in parts for what in ("ims.npy", "caps.txt"))


def resolve_regions(settings: AutoRegions, folder: Path | None) -> StoredRegions | DetectorRegions:
    """Return the source that `auto` means with the local data in `folder`; None: with the Hub's."""
    if folder is not None and is_scan_folder(folder):
        return StoredRegions(source="scan")
    return settings.detector()


# ---------------------------------------------------------------------------------------- counts


def rows_of_images(file: NpyFile, captions: Sequence[str], part: str) -> Integers:
    """Return the row of each image (n_images,) in the array of features, which may hold every image five times.

    Raises UserError where the counts do not fit, and where rows that should repeat each other do not.
    """
    stored, wanted = file.shape[0], len(captions)
    if wanted % CAPTIONS:
        raise UserError(f"{part}_caps.txt: found {wanted:,} captions, expected {CAPTIONS} an image")
    images = wanted // CAPTIONS
    if stored == images:
        return np.arange(images)
    if stored != wanted:
        raise UserError(
            f"{part}_ims.npy and {part}_caps.txt: found features of {stored:,} images and {wanted:,} captions, "
            f"expected {images:,} images, or {wanted:,} where each is repeated for its {CAPTIONS} captions"
        )
    _check_repeats(file, images)
    return CAPTIONS * np.arange(images)


def _check_repeats(file: NpyFile, images: int) -> None:
    """A look at twenty images: features of one caption each would pass for repeated ones."""
    everything = ArrayRegions((file,), np.arange(file.shape[0]), file.path.name)
    for image in sorted({int(k) for k in np.linspace(0, images - 1, 20)}):
        first = CAPTIONS * image
        copies = everything.regions(range(first, first + CAPTIONS))  # (5, R, D)
        if not (copies == copies[:1]).all():
            raise UserError(
                f"{file.path.name}: found as many rows as captions ({file.shape[0]:,}) but rows {first:,} to "
                f"{first + CAPTIONS - 1:,} differ, expected every image {CAPTIONS} times in a row"
            )


# ----------------------------------------------------------------------------------------- files


def read_captions(path: Path) -> list[str]:
    """Return lines of a `_caps.txt`, without blanks at their ends; raises UserError that names an empty line."""
    captions = []
    for number, line in enumerate(_lines(path), start=1):
        try:
            text = " ".join(line.decode("utf-8").strip().splitlines())
        except UnicodeDecodeError as error:
            raise UserError(
                f"{path.name}: line {number:,} is not UTF-8 ({error.reason}); convert the file"
            ) from None
        if not text:
            raise UserError(f"{path.name}: line {number:,} is empty, expected a caption")
        captions.append(text)
    return captions


def read_ids(path: Path, part: str, images: int, captions: int) -> list[str]:
    """Return the id of each image: the lines of an `_ids.txt`, one an image or one a caption; else `<part>-<row>`.

    Raises UserError for a line that is no integer, for another number of lines, and for captions of an image that do
    not follow each other.
    """
    if not path.is_file():
        return [f"{part}-{row}" for row in range(images)]
    lines = [line.strip() for line in _lines(path)]
    odd = next((number for number, line in enumerate(lines, start=1) if not line.isdigit()), None)
    if odd is not None:
        found = lines[odd - 1].decode("utf-8", "replace")
        raise UserError(f"{path.name}: line {odd:,}: found {shown(found)}, expected the number of an image")
    if len(lines) == captions:
        _check_fives(lines, path.name)
        lines = lines[::CAPTIONS]
    if len(lines) != images:
        raise UserError(
            f"{path.name}: found {len(lines):,} ids, expected {images:,}, one an image, or {captions:,}, one a caption"
        )
    return [str(int(line)) for line in lines]


def _check_fives(lines: Sequence[bytes], name: str) -> None:
    """Raise UserError that names the first id that is not that of the image whose five captions it is among."""
    for row, line in enumerate(lines):
        first = lines[row - row % CAPTIONS]
        if int(line) != int(first):
            raise UserError(
                f"{name}: line {row + 1:,}: found {int(line)}, expected {int(first)}: the captions are not in image "
                f"order, {CAPTIONS} lines an image"
            )


def _lines(path: Path) -> list[bytes]:
    """Split at line feeds only: some captions hold other characters that count as line ends.

    A byte order mark and blank lines at the very end are left out.
    """
    try:
        return path.read_bytes().removeprefix(MARK).rstrip().split(b"\n")
    except OSError as error:
        raise UserError(
            f"{path.as_posix()} cannot be read ({error.strerror}), expected it beside the features"
        ) from None


def file_names(folder: Path, dataset: str, ids: Sequence[str]) -> list[str]:
    """Return the file name of each image as far as it is known, else its id.

    The names of Flickr30K are known: a mapping with other names beside it is another dataset's, and passed over.
    """
    known = flickr30k_by_id() if dataset == "flickr30k" else {}
    for path in (folder / "id_mapping.json", folder.parent / "id_mapping.json"):
        if path.is_file():
            mapping = read_mapping(path)
            if known and not {PurePosixPath(mapping.get(item, "")).name for item in ids} <= set(
                known.values()
            ):
                continue
            absent = [item for item in ids if item not in mapping]
            if absent and absent[0].isdigit():
                raise UserError(
                    f"{path.as_posix()}: {len(absent):,} of {len(ids):,} ids are missing, the first is {absent[0]}; is "
                    "it another dataset's?"
                )
            return [mapping.get(item, item) for item in ids]
    return [known.get(item, item) for item in ids]


def read_mapping(path: Path) -> Mapping[str, str]:
    """`id_mapping.json`: id -> file name; raises UserError for anything else."""
    try:
        found = read_json(path)
        if not isinstance(found, dict) or not all(isinstance(name, str) for name in found.values()):
            raise ValueError("not a mapping of names")
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{path.as_posix()}: not a mapping from ids to file names ({reason}); fetch it again"
        ) from None
    return found


@cache
def flickr30k_by_id() -> dict[str, str]:
    """Ids of Flickr30K are positions in Karpathy's file, whose file names are in string order (data.md 2.2)."""
    splits: tuple[SplitName, ...] = ("train", "val", "test")
    names = sorted(name for split in splits for name in flickr30k_names(split))
    return {str(number): name for number, name in enumerate(names)}


# ---------------------------------------------------------------------------------- verification


def scan_entry(entry: Entry, splits: Mapping[SplitName, Split]) -> Entry:
    """Keep the facts that these splits can show: no caption ids, no ids named by row, perhaps 1,000 of `dev`."""
    facts = {name: replace(known, caption_ids_sha256=None) for name, known in entry.facts.items()}
    for name, split in splits.items():
        known = facts.get(name)
        if known is None:
            continue
        if entry.name in CUT and name == "val" and len(split) == VALIDATION_IMAGES < known.images:
            known = _first_of_dev(entry, known)
        if not split.image_ids[0].isdigit():
            known = replace(known, ids_sha256=None, ordered_sha256=None)
        facts[name] = known
    return replace(entry, facts=facts)


def _first_of_dev(entry: Entry, whole: Facts) -> Facts:
    """Return the facts about the first 1,000 images of `dev`: the names of Flickr30K, the captions of MSCOCO."""
    names = lines_sha256(flickr30k_names("val")[:VALIDATION_IMAGES]) if entry.name == "flickr30k" else None
    captions = entry.other_captions.get(SCAN_DEV)
    return replace(whole, images=VALIDATION_IMAGES, ids_sha256=names, ordered_sha256=names, captions=captions)


def unnamed(splits: Mapping[SplitName, Split]) -> list[str]:
    """A departure for each split without ids: nothing says which images it holds."""
    return [
        f"split '{name}': no _ids.txt, so nothing says which images these are"
        for name, split in splits.items()
        if not split.image_ids[0].isdigit()
    ]
