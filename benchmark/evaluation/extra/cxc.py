"""Crisscrossed Captions (arXiv 2004.15020): people's scores, 0 to 5, of captions and images of MSCOCO's 5K test.

The retrieval task takes the pairs of `sits_test.csv` that score 3.0 or more as right; captions that keep none drop out
as queries (data.md 5). Text to text and image to image, which the paper has too, need the codes of a model and not a
similarity matrix; they are left out.
"""

from __future__ import annotations

import csv
from math import isfinite
from pathlib import Path

from benchmark.errors import UserError, shown
from benchmark.evaluation.extra.relevance import Relevance, from_pairs, number_of

THRESHOLD = 3.0
COLUMNS = ("caption", "image", "agg_score")


def read_cxc(path: Path, threshold: float = THRESHOLD) -> Relevance:
    """The caption-image pairs of `sits_test.csv` with `agg_score` >= threshold.

    Raises UserError, with the line, for a missing file, other columns (those of the caption-caption and image-image
    files), ids without a number and scores that are none from 0 to 5.
    """
    if not path.is_file():
        raise UserError(f"{path.as_posix()}: no such file, expected CxC's sits_test.csv")
    pairs = []
    try:
        with path.open(newline="", encoding="utf-8") as handle:
            reader = csv.DictReader(handle)
            absent = [name for name in COLUMNS if name not in (reader.fieldnames or [])]
            if absent:
                found = ", ".join(reader.fieldnames or []) or "none"
                raise UserError(
                    f"{path.as_posix()}: column '{absent[0]}' is missing: found {found}, expected CxC's sits_test.csv "
                    f"({', '.join(COLUMNS)})"
                )
            for row in reader:
                score, pair = _read(row, f"{path.as_posix()}: line {reader.line_num}")
                if score >= threshold:
                    pairs.append(pair)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path.as_posix()}: not a readable CSV file: {error}") from None
    if not pairs:
        raise UserError(f"{path.as_posix()}: found no pair with agg_score >= {threshold:g}")
    return from_pairs("cxc", f"sits file, agg_score >= {threshold:.1f}", pairs)


def _read(row: dict[str, str | None], where: str) -> tuple[float, tuple[int, int]]:
    """Score and (image id, caption id) of one line."""
    ids = [number_of(row[name] or "") for name in ("image", "caption")]
    for name, number in zip(("image", "caption"), ids, strict=True):
        if number is None:
            raise UserError(
                f"{where}: field '{name}': found {shown(row[name])}, expected an id that ends with a number"
            )
    try:
        score = float(row["agg_score"] or "")
    except ValueError:
        score = float("nan")
    if not isfinite(score) or not 0 <= score <= 5:
        raise UserError(
            f"{where}: field 'agg_score': found {shown(row['agg_score'])}, expected a number from 0 to 5"
        )
    assert ids[0] is not None
    assert ids[1] is not None
    return score, (ids[0], ids[1])
