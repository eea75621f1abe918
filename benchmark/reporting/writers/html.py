"""Sheets as one self-contained HTML page: plain tables, light and dark, narrow screens, no scripts."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

import jinja2

from benchmark.reporting.sheet import Page, capital

TEMPLATES = Path(__file__).with_name("templates")


def page(page: Page, mark: str) -> str:
    """A page as one file that asks for nothing else; `mark` says what generated it."""
    return environment(TEMPLATES).get_template("page.html.j2").render(page=page, mark=mark)


@cache  # to compile a page's templates takes longer than to fill them
def environment(templates: Path) -> jinja2.Environment:
    """The environment of a folder of templates: all that they print is escaped, and a missing name is an error."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(templates),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        auto_reload=False,
    )
    made.filters["capital"] = capital
    made.filters["runs"] = _runs
    return made


def _runs(items: Iterable[Any], attribute: str) -> list[tuple[Any, list[Any]]]:
    """Neighbours that share an attribute, with it; jinja2's own filter would sort them."""
    found = groupby(items, key=lambda item: getattr(item, attribute))
    return [(shared, list(members)) for shared, members in found]
