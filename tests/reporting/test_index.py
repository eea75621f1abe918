"""The index of results/tables/: a link to every file there is, and to no other."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from benchmark.reporting.index import index

FILES = [
    *(f"tables/{name}.{kind}" for name in ("flickr30k", "scenes") for kind in ("md", "html", "tex", "csv")),
    *("tables/claims.md", "tables/claims.csv", "report.html"),
    *("studies/rcar.md", "studies/rcar.csv", "studies/speed.md", "studies/speed.csv", "studies/speed.svg"),
]


def links(files: list[str]) -> set[str]:
    """Targets below results/."""
    found = re.findall(r"\]\(([^)]+)\)", index([PurePosixPath(name) for name in files]))
    assert len(set(found)) == len(found)
    return {target[3:] if target.startswith("../") else f"tables/{target}" for target in found}


def test_it_links_to_every_file() -> None:
    assert links(FILES) == set(FILES)


def test_what_is_not_there_is_not_named() -> None:
    fewer = [name for name in FILES if "claims" not in name and "report" not in name and "rcar" not in name]
    assert links(fewer) == set(fewer)
    only = [name for name in FILES if "scenes" in name]
    assert links(only) == set(only)
    assert "claims" not in index([PurePosixPath(name) for name in only])
