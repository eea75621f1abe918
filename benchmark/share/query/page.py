"""The answer to a query as a table for a terminal, and as a contact sheet: one page that asks for nothing outside."""

from __future__ import annotations

import base64
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from benchmark.data.look.contact_sheet import Tile, make_tiles, render, thumbnail
from benchmark.errors import UserError
from benchmark.files import write_text
from benchmark.share.query.answer import Answer, Hit

TEMPLATE = Path(__file__).with_name("query.html.j2")


def answer_table(answer: Answer) -> Table:
    """Rank, score, id and caption, best first."""
    what = "captions" if answer.picture is not None else "images"
    count = len(answer.split.captions) if answer.picture is not None else len(answer.split)
    table = Table(title=escape(f"{answer.run}: {answer.asked}"), title_justify="left")
    table.caption = f"{len(answer.hits)} of {count:,} {what} of {answer.dataset} {answer.split.name}"
    names = ("rank", "score", "caption", "text", "image") if answer.picture is not None else ()
    for name in names or ("rank", "score", "image", "its first caption"):
        table.add_column(name, justify="right" if name in ("rank", "score") else "left")
    for hit in answer.hits:
        caption_id, text = answer.caption_of(hit)
        image = answer.split.image_ids[answer.image_of(hit)]
        cells = (caption_id, text, image) if answer.picture is not None else (image, text)
        table.add_row(str(hit.rank), f"{hit.score:.4f}", *map(escape, cells))
    return table


def write_page(answer: Answer, path: Path) -> None:
    """Write the answer as one self-contained page with pictures."""
    tiles = [(hit, _tile(answer, hit)) for hit in answer.hits]
    picture = ""
    if answer.picture is not None:
        picture = f"data:image/jpeg;base64,{base64.b64encode(thumbnail(answer.picture)).decode()}"
    write_text(path, render(TEMPLATE, answer=answer, tiles=tiles, picture=picture))


def _tile(answer: Answer, hit: Hit) -> Tile:
    """The image of a hit; data without pictures say so where it would be."""
    row = answer.image_of(hit)
    try:
        return make_tiles(answer.split, [row])[0]
    except UserError as error:
        split = answer.split
        captions = [(split.caption_ids[item], split.captions[item]) for item in split.rows_of_images()[row]]
        return Tile(row, split.image_ids[row], split.filenames[row], captions, (0, 0), b"", str(error))
