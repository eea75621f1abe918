"""One of the writers by the name of its format."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from benchmark.reporting.sheet import Sheet
from benchmark.reporting.writers import markdown
from benchmark.reporting.writers.csv import write_csv
from benchmark.reporting.writers.json import write_json
from benchmark.reporting.writers.terminal import write_text

Format = Literal["text", "json", "csv", "markdown"]
PageFormat = Literal["text", "json", "csv", "markdown", "html", "latex"]
"""Formats of pages of tables; html and latex are of whole pages only."""
WRITERS: Mapping[PageFormat, Callable[[Sequence[Sheet]], str]] = {
    "text": write_text,
    "json": write_json,
    "csv": write_csv,
    "markdown": markdown.sheets,
}


def write_sheets(sheets: Sequence[Sheet], form: PageFormat) -> str:
    """Sheets in one of the formats."""
    return WRITERS[form](sheets)
