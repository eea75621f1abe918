"""Sheets, and what reports are made of, as JSON; numbers that are not finite are null."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from benchmark.files import plain
from benchmark.reporting.sheet import Sheet


def write_json(sheets: Sequence[Sheet]) -> str:
    """A list of sheets; rows by the keys of the columns."""
    return write_document([_document(sheet) for sheet in sheets])


def write_document(document: Any) -> str:
    """Any document of dictionaries, lists, numbers and texts."""
    return json.dumps(_finite(plain(document)), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _document(sheet: Sheet) -> dict[str, Any]:
    found: dict[str, Any] = {"title": sheet.title}
    units = {column.key: column.unit for column in sheet.columns if column.unit}
    found |= {"units": units} if units else {}
    found |= {} if sheet.passed is None else {"passed": sheet.passed}
    keys = [column.key for column in sheet.columns]
    found["rows"] = [
        dict(zip(keys, (cell.value for cell in row.cells), strict=True))
        | ({"marks": list(row.marks)} if row.marks else {})
        for row in sheet.rows
    ]
    rest = {"notes": list(sheet.notes), "items": dict(sheet.items), "signature": sheet.signature}
    return found | {name: value for name, value in rest.items() if value}


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
