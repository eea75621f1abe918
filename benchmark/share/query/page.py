"""The answer to a query as a sheet, and as a page with pictures that asks for nothing outside."""

from __future__ import annotations

import base64
from pathlib import Path

from benchmark.data.look.contact_sheet import Tile, make_tiles, render, thumbnail
from benchmark.errors import UserError
from benchmark.files import write_text
from benchmark.reporting.sheet import Column, Sheet, make_sheet
from benchmark.share.query.answer import Answer, Hit

TEMPLATE = Path(__file__).with_name("query.html.j2")


def answer_sheet(answer: Answer) -> Sheet:
    """Rank, score, file name (or id, where there is none) and caption, best first."""
    pictured = answer.picture is not None
    count = len(answer.split.captions) if pictured else len(answer.split)
    kind = "captions" if pictured else "images"
    columns = (
        *(Column("rank", "rank"), Column("score", "score", spec=".4f")),
        *(
            Column("caption_id", "caption", "text"),
            Column("text", "text", "text"),
            Column("image", "image", "text"),
        ),
    )
    rows = []
    for hit in answer.hits:
        image = answer.split.filenames[answer.image_of(hit)]
        rows.append((hit.rank, float(hit.score), *answer.caption_of(hit), image))
    note = f"{len(answer.hits)} of {count:,} {kind} of {answer.dataset} {answer.split.name}"
    sheet = make_sheet(f"{answer.run}: {answer.asked}", columns, rows, notes=[note])
    return sheet if pictured else sheet.only(["rank", "score", "image", "text"])


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
