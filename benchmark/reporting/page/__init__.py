"""The report page: one HTML file that holds all it shows, from the committed files alone, the same byte for byte.

`render_page` reads what lies under results/, works out nothing that another module has worked out, and asks for
nothing outside the file: style, script, charts and pictures are inline. Without scripts it is one long page;
with them, each run has a page of its own (#run/<dataset>/<run>/<seed>) and the leaderboard can be sorted.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path

import jinja2
from markupsafe import Markup

from benchmark.reporting.leaderboard.content import NAMES, TESTS
from benchmark.reporting.page import board, curves, history, ledger, runs, studies
from benchmark.reporting.page.evidence import read_evidence
from benchmark.reporting.page.examples import Gallery
from benchmark.reporting.writers.html import environment as make_environment
from benchmark.statistics.verdict import explain_verdict

TEMPLATES = Path(__file__).with_name("templates")


def render_page(root: Path = Path()) -> bytes:
    """The report of the checkout at `root` as UTF-8.

    Raises UserError where there is no run record, or a file under results/ is at fault.
    """
    evidence = read_evidence(root)
    gallery = Gallery()
    courses = curves.all_courses(evidence)
    tables = board.boards(evidence)
    pages = runs.run_pages(evidence, courses, gallery)
    script = _text("script.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = _environment().get_template("page.html.j2")
    text = page.render(
        evidence=evidence,
        style=Markup(_text("style.css")),  # the package's own files, no data
        script=Markup(script),
        script_hash=f"sha256-{digest}",
        basis=board.basis(evidence),
        grid=board.grid(evidence),
        protocols=[NAMES.get(name, name) for name in board.grid_protocols(evidence)],
        boards=tables,
        tests=TESTS,
        methods=sorted({line.method for found in tables for line in found.lines}),
        versus=board.versus(evidence),
        speeds=board.speeds(evidence),
        seed_strips=board.seed_strips(evidence),
        curves=curves.overview(evidence, courses),
        drift=history.compared(evidence),
        claims=ledger.claims(root),
        studies=studies.studies(evidence.studies, evidence.timings),
        pages=pages,
        album=gallery.album,
    )
    return text.encode("utf-8")


def _text(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8").strip()


@cache
def _environment() -> jinja2.Environment:
    """The environment of the templates, with the filters that they use."""
    environment = make_environment(TEMPLATES)
    environment.filters["fixed"] = board.fixed
    environment.filters["between"] = board.between
    environment.filters["explain"] = explain_verdict
    environment.filters["remark"] = board.remark
    environment.filters["protocol"] = lambda name: NAMES.get(name, name)
    return environment
