"""Contact sheets: what they hold, that they ask for nothing, that they are the same twice, that they can be read."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark.data.images.decoding import decode
from benchmark.data.load import load_dataset
from benchmark.data.look.contact_sheet import DISPLAY, ContactSheet, choose_rows, make_sheet, write_html
from benchmark.data.splits import Dataset, Images, Split
from benchmark.errors import UserError

NASTY = 'a <script>alert("x")</script> & a café — naïve "quotes"'


@dataclass(frozen=True)
class Encoded(Images):
    """Pictures as the files that a dataset holds."""

    content: list[bytes]

    def __len__(self) -> int:
        return len(self.content)

    def __getitem__(self, row: int) -> Image.Image:
        return decode(self.content[row], f"image {row}")

    def select(self, rows: Sequence[int]) -> Encoded:
        return Encoded([self.content[row] for row in rows])

    def identity(self) -> bytes:
        return b"tests"


def jpeg(width: int, height: int, colour: str = "red") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(buffer, "JPEG")
    return buffer.getvalue()


def dataset(files: list[bytes], caption: str = "a picture") -> Dataset:
    """A stand-in for Flickr30K with two captions an image."""
    n = len(files)
    split = Split(
        "val",
        [f"id{row}" for row in range(n)],
        [f"{row}.jpg" for row in range(n)],
        [f"{caption} {row}" for row in range(2 * n)],
        [f"c{row}" for row in range(2 * n)],
        np.repeat(np.arange(n), 2),
        Encoded(files),
    )
    return Dataset("flickr30k", "owner/name@abc", "Hugging Face Hub", "terms <apply>", {"val": split})


class Page(HTMLParser):
    """Tags with their attributes, the text that is shown, and the pictures of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    @property
    def pictures(self) -> list[Image.Image]:
        found: list[Image.Image] = []
        for tag, attributes in self.tags:
            if tag == "img":
                head, _, content = (attributes["src"] or "").partition(",")
                assert head == "data:image/jpeg;base64"
                found.append(Image.open(io.BytesIO(base64.b64decode(content))))
        return found


def page_of(sheet: ContactSheet, folder: Path) -> Page:
    write_html(sheet, folder / "sheet.html")
    return Page(folder / "sheet.html")


# --------------------------------------------------------------------------------------- choosing


def test_rows_are_drawn_by_seed_in_ascending_order() -> None:
    rows = choose_rows(1000, 24, 0)
    assert rows == sorted(set(rows))
    assert len(rows) == 24
    assert rows == choose_rows(1000, 24, 0)
    assert rows != choose_rows(1000, 24, 1)
    assert set(rows) < set(choose_rows(1000, 60, 0))
    assert rows != list(range(24))


def test_the_first_rows_and_no_more_than_there_are() -> None:
    assert choose_rows(1000, 3, None) == [0, 1, 2]
    assert choose_rows(5, 24, 0) == choose_rows(5, 24, None) == [0, 1, 2, 3, 4]


def test_every_row_is_drawn_about_as_often() -> None:
    counts = np.zeros(20)
    for seed in range(400):
        counts[choose_rows(20, 5, seed)] += 1
    assert counts.min() > 60  # 100 expected, deviation 9
    assert counts.max() < 140


def test_a_count_below_one_is_refused() -> None:
    with pytest.raises(UserError, match=r"--count: found 0, expected 1 or more"):
        choose_rows(5, 0, 0)


# ------------------------------------------------------------------------------------------- page


def test_a_page_of_scenes_holds_what_the_split_holds(tmp_path: Path) -> None:
    data = load_dataset("scenes", {"n_test": 6}, splits=["test"])
    split = data.splits["test"]
    page = page_of(make_sheet(data, "test", 3, None), tmp_path)
    for row in range(3):
        assert split.filenames[row] in page.text
        assert f"image {split.image_ids[row]}" in page.text
        for item in split.rows_of_images()[row]:
            assert f"{split.captions[item]} {split.caption_ids[item]}" in page.text
    assert split.filenames[3] not in page.text
    for said in ("scenes", "test", "3 of 6 images, the first", "scenes-1", split.fingerprint, "Apache-2.0"):
        assert said in page.text
    assert "Not verified" not in page.text
    for row, picture in enumerate(page.pictures):
        pixels = np.asarray(picture, dtype=int) - np.asarray(split.images[row], dtype=int)
        assert np.abs(pixels).mean() < 4  # the same picture, but for JPEG


def test_alternative_text_is_the_first_caption(tmp_path: Path) -> None:
    page = page_of(make_sheet(dataset([jpeg(40, 30)], NASTY), "val", 1, 0), tmp_path)
    (image,) = [attributes for tag, attributes in page.tags if tag == "img"]
    assert image["alt"] == f"{NASTY} 0"


def test_nothing_in_the_data_becomes_markup(tmp_path: Path) -> None:
    data = replace(dataset([jpeg(40, 30)], NASTY), departures=["<b>counts</b>"], notes=["<i>note</i>"])
    page = page_of(make_sheet(data, "val", 1, 0), tmp_path)
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "b", "i", "apply"})
    for said in (NASTY, "<b>counts</b>", "<i>note</i>", "terms <apply>"):
        assert said in page.text


def test_a_page_asks_for_nothing_outside_itself(tmp_path: Path) -> None:
    page = page_of(make_sheet(dataset([jpeg(900, 700)] * 3), "val", 3, 0), tmp_path)
    for _, attributes in page.tags:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            assert (attributes.get(name) or "data:image/jpeg").startswith("data:image/jpeg")
    text = (tmp_path / "sheet.html").read_text(encoding="utf-8")
    assert not re.search(r"https?://|@import|url\(|<script|<link|<iframe", text)
    policy = next(item["content"] for _, item in page.tags if item.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_the_page_fits_narrow_screens_and_both_colour_schemes(tmp_path: Path) -> None:
    page = page_of(make_sheet(dataset([jpeg(40, 30)]), "val", 1, 0), tmp_path)
    viewport = next(item["content"] for _, item in page.tags if item.get("name") == "viewport")
    assert viewport == "width=device-width, initial-scale=1"
    text = (tmp_path / "sheet.html").read_text(encoding="utf-8")
    light, dark = (
        dict(re.findall(r"(--[\w-]+): (#[0-9a-f]{6})", block))
        for block in re.findall(r":root \{(.*?)\}", text, re.S)
    )
    assert light.keys() == dark.keys()
    for scheme in (light, dark):
        for ink, ground in (("ink", "card"), ("soft", "card"), ("soft", "page"), ("mark-ink", "mark")):
            assert contrast(scheme[f"--{ink}"], scheme[f"--{ground}"]) > 4.5, (ink, ground)


def contrast(one: str, other: str) -> float:
    """Of two colours, as the accessibility guidelines define it."""

    def luminance(colour: str) -> float:
        parts = (int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5))
        red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_pictures_are_stored_for_twice_the_density_and_never_enlarged(tmp_path: Path) -> None:
    page = page_of(
        make_sheet(dataset([jpeg(2000, 1000), jpeg(64, 64), jpeg(500, 375)]), "val", 3, 0), tmp_path
    )
    assert [picture.size for picture in page.pictures] == [(2 * DISPLAY, DISPLAY), (64, 64), (500, 375)]
    assert "2000 × 1000 px" in page.text
    classes = [attributes.get("class") for tag, attributes in page.tags if tag == "img"]
    assert classes == [None, "small", None]


def test_a_broken_picture_is_shown_as_such(tmp_path: Path) -> None:
    data = dataset([jpeg(40, 30), jpeg(400, 300)[:300], b"no picture"])
    sheet = make_sheet(data, "val", 3, 0)
    page = page_of(sheet, tmp_path)
    assert len(page.pictures) == 1
    assert page.text.count("This picture cannot be decoded") == 2
    assert "a picture 5 c5" in page.text  # its captions stand there all the same


def test_data_that_are_not_verified_are_marked(tmp_path: Path) -> None:
    data = replace(dataset([jpeg(40, 30)]), departures=["split 'val': found 1 images, expected 1,014"])
    sheet = make_sheet(data, "val", 1, 0)
    assert "Not verified" in page_of(sheet, tmp_path).text
    assert "found 1 images, expected 1,014" in page_of(sheet, tmp_path).text
    assert "Not verified" not in page_of(replace(sheet, departures=[]), tmp_path).text


def test_the_same_sheet_is_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one.html", "two.html"):
        data = load_dataset("scenes", {"n_test": 6}, splits=["test"])
        write_html(make_sheet(data, "test", 4, 0), tmp_path / name)
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()
