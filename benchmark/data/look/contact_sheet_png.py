"""A contact sheet as one PNG, drawn with Pillow and the font that comes with it: the same on every machine."""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from benchmark.data.look.contact_sheet import ContactSheet, Tile
from benchmark.errors import UserError
from benchmark.files import replacing

COLUMNS = 4
PICTURE = (400, 300)
"""Width and height of the box that a picture is fitted into, in pixels."""
GAP = 32
WIDTH = COLUMNS * PICTURE[0] + (COLUMNS - 1) * GAP
PAGE, CARD, MAT, INK, SOFT = "#f4f4f1", "#ffffff", "#e9e9e4", "#1b1c1e", "#5b5f66"
MARK, MARK_INK = "#fff1cf", "#5f3d00"
PADDING = 14
MAX_HEIGHT = 40_000
"""Pixels; a higher sheet opens in few programs. The page has no such limit."""


@dataclass(frozen=True)
class TextLine:
    """One line of text."""

    text: str
    size: int
    colour: str
    space: int = 0
    """Pixels left free above it."""

    @property
    def height(self) -> int:
        return self.space + round(self.size * 1.35)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow was built without FreeType"
    return font


@cache
def _glyph(character: str) -> str:
    """What stands for a character that the font doesn't have: its plain letter, else a question mark."""
    if character.isascii():
        return character if character.isprintable() else " "
    font = _font(20)
    known = bytes(font.getmask(character)) != bytes(font.getmask("\ufffe"))
    plain = {"×": "x", "–": "-", "—": "-"}.get(character) or "".join(
        letter for letter in unicodedata.normalize("NFKD", character) if letter.isascii()
    )
    return character if known else plain or "?"


def wrap(text: str, size: int, width: int) -> list[str]:
    """Break a text into lines of at most `width` pixels, between words; a longer word is cut."""
    font = _font(size)
    lines = [""]
    for word in "".join(map(_glyph, text)).split():
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if font.getlength(longer) <= width:
            lines[-1] = longer
            continue
        if lines[-1]:
            lines.append("")
        for letter in word:
            if lines[-1] and font.getlength(lines[-1] + letter) > width:
                lines.append("")
            lines[-1] += letter
    return lines


def _wrapped(text: str, size: int, colour: str, width: int, space: int = 0) -> Iterator[TextLine]:
    for number, line in enumerate(wrap(text, size, width)):
        yield TextLine(line, size, colour, space if number == 0 else 0)


def _heading(sheet: ContactSheet, width: int) -> list[TextLine]:
    lines = list(_wrapped(f"{sheet.dataset} {sheet.split}", 44, INK, width))
    lines += _wrapped(
        f"{sheet.title[:1].upper()}{sheet.title[1:]}. Contact sheet: {sheet.shown}.", 22, SOFT, width, 6
    )
    for number, (name, value) in enumerate(sheet.facts):
        lines += _wrapped(f"{name}: {value}", 20, INK, width, 14 if number == 0 else 3)
    for note in sheet.notes:
        lines += _wrapped(f"note: {note}", 18, SOFT, width, 6)
    return lines


def _mark(sheet: ContactSheet, width: int) -> list[TextLine]:
    if not sheet.departures:
        return []
    text = "Not verified: these are not, or not known to be, the published data."
    lines = list(_wrapped(text, 22, MARK_INK, width))
    for departure in sheet.departures:
        lines += _wrapped(f"- {departure}", 18, MARK_INK, width, 4)
    return lines


def _words(tile: Tile) -> list[TextLine]:
    width = PICTURE[0] - 2 * PADDING
    lines = list(_wrapped(tile.filename, 20, INK, width))
    pixels = f", {tile.size[0]} x {tile.size[1]} px" if tile.jpeg else ""
    lines += _wrapped(f"image {tile.image_id}, row {tile.row}{pixels}", 15, SOFT, width)
    for name, caption in tile.captions:
        lines += _wrapped(caption, 18, INK, width, 12)
        lines += _wrapped(name, 13, SOFT, width)
    return lines


def _height(lines: Sequence[TextLine]) -> int:
    return sum(line.height for line in lines)


def _write(canvas: ImageDraw.ImageDraw, lines: Sequence[TextLine], left: int, top: int) -> None:
    for line in lines:
        canvas.text((left, top + line.space), line.text, fill=line.colour, font=_font(line.size))
        top += line.height


def _fitted(tile: Tile) -> Image.Image:
    """A tile's picture, whole, as large as the box allows."""
    picture = Image.open(io.BytesIO(tile.jpeg))
    scale = min(PICTURE[0] / picture.width, PICTURE[1] / picture.height)
    width, height = (max(1, round(side * scale)) for side in picture.size)
    how = Image.Resampling.NEAREST if tile.small else Image.Resampling.LANCZOS
    return picture.resize((width, height), how)


def _draw_tile(
    page: Image.Image, tile: Tile, words: Sequence[TextLine], box: tuple[int, int, int, int]
) -> None:
    """One card: the picture, whole, on a mat; below it what is known of it."""
    left, top, _, _ = box
    width, height = PICTURE
    canvas = ImageDraw.Draw(page)
    canvas.rectangle(box, fill=CARD)
    canvas.rectangle((left, top, left + width - 1, top + height - 1), fill=MAT if tile.jpeg else MARK)
    if not tile.jpeg:
        said = list(
            _wrapped(f"This picture cannot be decoded: {tile.fault}", 18, MARK_INK, width - 2 * PADDING)
        )
        _write(canvas, said, left + PADDING, top + PADDING)
    else:
        picture = _fitted(tile)
        page.paste(picture, (left + (width - picture.width) // 2, top + (height - picture.height) // 2))
    _write(canvas, words, left + PADDING, top + height + PADDING)


def draw_sheet(sheet: ContactSheet) -> Image.Image:
    """The sheet as an RGB picture, COLUMNS tiles wide. Raises UserError for one that nothing could open."""
    heading, mark = _heading(sheet, WIDTH), _mark(sheet, WIDTH - 2 * PADDING)
    banner = _height(mark) + 2 * PADDING if mark else -GAP
    words = [_words(tile) for tile in sheet.tiles]
    starts = range(0, len(words), COLUMNS)
    heights = [PICTURE[1] + 2 * PADDING + max(map(_height, words[at : at + COLUMNS])) for at in starts]
    total = GAP + _height(heading) + GAP + banner + GAP + sum(height + GAP for height in heights)
    if total > MAX_HEIGHT:
        raise UserError(
            f"option --count: a PNG of {len(words):,} images would be {total:,} pixels high, over {MAX_HEIGHT:,}; "
            "name fewer, or write a .html file"
        )
    page = Image.new("RGB", (WIDTH + 2 * GAP, total), PAGE)
    _write(ImageDraw.Draw(page), heading, GAP, GAP)
    top = GAP + _height(heading) + GAP
    if mark:
        ImageDraw.Draw(page).rectangle((GAP, top, GAP + WIDTH - 1, top + banner - 1), fill=MARK)
        _write(ImageDraw.Draw(page), mark, GAP + PADDING, top + PADDING)
    top += banner + GAP
    for at, height in zip(starts, heights, strict=True):
        for column, tile in enumerate(sheet.tiles[at : at + COLUMNS]):
            left = GAP + column * (PICTURE[0] + GAP)
            box = (left, top, left + PICTURE[0] - 1, top + height - 1)
            _draw_tile(page, tile, words[at + column], box)
        top += height + GAP
    return page


def write_png(sheet: ContactSheet, path: Path) -> None:
    """Write the sheet as a PNG."""
    with replacing(path) as handle:
        draw_sheet(sheet).save(handle, "PNG", optimize=True)
