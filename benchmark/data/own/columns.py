"""Which columns of a table hold pictures, captions and splits: those named by the user, else guessed by their names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from benchmark.data.own.items import Faults, Reading
from benchmark.errors import nearest

IMAGE = (
    "file_name",
    "filename",
    "image",
    "image_name",
    "image_path",
    "filepath",
    "path",
    "file",
    "img",
    "picture",
)
"""Names that image columns have, the likeliest first."""
CAPTION = (
    "caption",
    "captions",
    "text",
    "texts",
    "sentence",
    "sentences",
    "description",
    "comment",
    "raw",
    "alt_text",
    "title",
)
SPLIT = ("split", "partition", "subset")
NUMBERED = re.compile(r"(caption|text|sentence|comment)s?[ _-]?\d+")
"""Names of columns that hold one caption each."""


@dataclass(frozen=True)
class Columns:
    """The columns that are read."""

    image: str
    captions: tuple[str, ...]
    split: str | None

    def told(self) -> dict[str, str]:
        """The columns for the card, by what they hold."""
        found = {"image": self.image, "caption": ", ".join(self.captions)}
        return found if self.split is None else found | {"split": self.split}


def choose_columns(
    found: Sequence[str], reading: Reading, faults: Faults, where: str, images: Sequence[str] = ()
) -> Columns | None:
    """Return the columns to read; None where one is missing, which `faults` then says with what was found.

    images: columns that are known to hold pictures, which go before those of likely names.
    """
    image = _named(reading.image_column, found, "--image-column", faults, where)
    if reading.image_column is None:
        image = next(iter(images), None) or _likely(IMAGE, found)
    captions = tuple(
        name
        for given in reading.caption_columns
        if (name := _named(given, found, "--caption-column", faults, where)) is not None
    )
    if not reading.caption_columns:
        likely = _likely(CAPTION, [name for name in found if name != image])
        numbered = tuple(name for name in found if NUMBERED.fullmatch(name.lower()))
        captions = numbered if likely is None else (likely,)
    split = _named(reading.split_column, found, "--split-column", faults, where)
    if reading.split_column is None:
        split = _likely(SPLIT, found)
    has = f"found {', '.join(found[:12]) or 'none'}"
    if image is None and reading.image_column is None:
        faults.wrong.append(
            f"{where}: no column of images ({has}; expected one such as {', '.join(IMAGE[:3])}, or --image-column)"
        )
    if not captions and not reading.caption_columns:
        faults.wrong.append(
            f"{where}: no column of captions ({has}; expected one such as {', '.join(CAPTION[:3])}, or "
            "--caption-column)"
        )
    return None if image is None or not captions else Columns(image, captions, split)


def _named(given: str | None, found: Sequence[str], option: str, faults: Faults, where: str) -> str | None:
    if given is None:
        return None
    if given not in found:
        faults.wrong.append(f"{where}: option {option}: no column '{given}'{nearest(given, found)}")
        return None
    return given


def _likely(names: Sequence[str], found: Sequence[str]) -> str | None:
    by_name = {name.strip().lower(): name for name in reversed(found)}
    return next((by_name[name] for name in names if name in by_name), None)
