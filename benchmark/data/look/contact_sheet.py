"""Contact sheets: some pictures of a split with all their captions, since people look before they read.

`make_sheet` gathers what a sheet shows, and `write_html` makes a web page of it that asks for nothing outside itself.
The same split, rows and marks give the same bytes.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from PIL import Image

from benchmark.data.images.decoding import BrokenPictureError
from benchmark.data.published.catalogue import get_entry
from benchmark.data.splits import Dataset, Split, SplitName
from benchmark.errors import UserError
from benchmark.files import sha256_bytes, write_text

TEMPLATE = Path(__file__).with_name("contact_sheet.html.j2")
DISPLAY = 320
"""Side of the box in which the page shows a picture, in CSS pixels; pictures are stored for twice that density."""
QUALITY = 82


@dataclass(frozen=True, eq=False)
class Tile:
    """One picture of a sheet with its captions."""

    row: int
    """The row in the split, from 0, in the protocol's order."""
    image_id: str
    filename: str
    captions: list[tuple[str, str]]
    """Caption id and caption."""
    size: tuple[int, int]
    """Width and height of the picture as the dataset has it, in pixels."""
    jpeg: bytes
    """The picture as RGB, at most twice DISPLAY on each side; b"": it cannot be decoded."""
    fault: str = ""
    """The reason why there is no picture."""

    @property
    def alt(self) -> str:
        """The text that stands for a picture that cannot be seen: its first caption."""
        return self.captions[0][1] if self.captions else self.filename

    @property
    def small(self) -> bool:
        """True for a picture that is shown much enlarged, and therefore pixel by pixel."""
        return is_small(self.size)

    @property
    def address(self) -> str:
        """The picture as a data address."""
        return f"data:image/jpeg;base64,{base64.b64encode(self.jpeg).decode()}"


@dataclass(frozen=True, eq=False)
class ContactSheet:
    """The text and pictures of a contact sheet."""

    dataset: str
    title: str
    split: SplitName
    shown: str
    """The number of images shown, the number in the split, and the way they were chosen."""
    facts: list[tuple[str, str]]
    """Name and value, in order."""
    departures: list[str]
    """The reasons why these are not the published data; [] where nothing is known against it."""
    notes: list[str]
    tiles: list[Tile]


def choose_rows(images: int, count: int, seed: int | None) -> list[int]:
    """`count` of `images` rows in ascending order: drawn with `seed`, or the first ones where it is None.

    A larger sheet with the same seed holds the smaller one. Raises UserError for a count below 1.
    """
    if count < 1:
        raise UserError(f"option --count: found {count}, expected 1 or more")
    if seed is None:
        return list(range(min(count, images)))
    drawn = sorted(range(images), key=lambda row: sha256_bytes(f"{seed}/{row}".encode()))
    return sorted(drawn[:count])


def make_sheet(dataset: Dataset, name: SplitName, count: int, seed: int | None) -> ContactSheet:
    """Return the sheet of `count` images of a split that was loaded; `seed` None takes the first ones."""
    split = dataset.splits[name]
    rows = choose_rows(len(split), count, seed)
    how = "the first" if seed is None else f"drawn with seed {seed}"
    all_of_them = len(rows) == len(split)
    facts = [
        ("images", f"{len(split):,}"),
        ("captions", f"{len(split.captions):,}"),
        ("revision", dataset.revision),
        ("source", dataset.source),
        ("fingerprint", split.fingerprint),
        ("licence", dataset.license),
    ]
    return ContactSheet(
        dataset=dataset.name,
        title=get_entry(dataset.name).title,
        split=name,
        shown=f"all {len(rows):,} images"
        if all_of_them
        else f"{len(rows):,} of {len(split):,} images, {how}",
        facts=facts,
        departures=[line.removeprefix("not verified: ") for line in dataset.departures],
        notes=dataset.notes,
        tiles=make_tiles(split, rows),
    )


def make_tiles(split: Split, rows: Sequence[int]) -> list[Tile]:
    """Return tiles of some rows, in the order that they are named."""
    caption_rows = split.rows_of_images()
    tiles = []
    for row in rows:
        captions = [(split.caption_ids[item], split.captions[item]) for item in caption_rows[row]]
        try:
            picture = split.images[row]
            size, jpeg, fault = picture.size, thumbnail(picture), ""
        except BrokenPictureError as error:  # a sheet shows broken pictures as such
            size, jpeg, fault = (0, 0), b"", error.reason
        tiles.append(Tile(row, split.image_ids[row], split.filenames[row], captions, size, jpeg, fault))
    return tiles


def is_small(size: tuple[int, int]) -> bool:
    """Return True for a picture less than half as large as the box it is shown in."""
    return max(size) < DISPLAY // 2


def thumbnail(picture: Image.Image) -> bytes:
    """Return a picture for the page as JPEG; small ones, which are shown enlarged, nearly without loss."""
    quality, subsampling = (95, 0) if is_small(picture.size) else (QUALITY, 2)
    small = picture.convert("RGB")
    small.thumbnail((2 * DISPLAY, 2 * DISPLAY), Image.Resampling.LANCZOS)  # never enlarges
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=quality, subsampling=subsampling)
    return buffer.getvalue()


def write_html(sheet: ContactSheet, path: Path) -> None:
    """Write the sheet as one self-contained page."""
    write_text(path, render(TEMPLATE, sheet=sheet))


def render(template: Path, **values: Any) -> str:
    """Return a page from a template, which may include those of contact sheets."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([template.parent, TEMPLATE.parent]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template.name).render(**values, display=DISPLAY)
