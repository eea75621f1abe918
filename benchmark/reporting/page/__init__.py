"""The report page: one HTML file that holds all it shows, from the committed files alone, the same byte for byte.

`render_page` works out nothing that another module has worked out, and the page asks for nothing outside the file:
style, script, charts and pictures are inline. Without scripts it is one long page; with them, each run has a page of
its own (#run/<dataset>/<run>/<seed>), the leaderboard can be sorted, and every table copied as CSV and LaTeX.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path

import jinja2
from markupsafe import Markup

from benchmark.reporting.evidence import Evidence
from benchmark.reporting.leaderboard.boards import NAMES
from benchmark.reporting.leaderboard.words import TESTS
from benchmark.reporting.page import board, curves, history, ledger, runs, studies
from benchmark.reporting.page.examples import Gallery
from benchmark.reporting.page.svg import share_grids
from benchmark.reporting.writers.csv import FORMULA
from benchmark.reporting.writers.html import environment as make_environment
from benchmark.reporting.writers.latex import SPECIAL
from benchmark.statistics.verdict import explain_verdict

STORE = '<svg class="store" aria-hidden="true">'
"""The beginning of the element that holds what is drawn from several places."""
TEMPLATES = Path(__file__).with_name("templates")


def render_page(evidence: Evidence) -> bytes:
    """The report as UTF-8; raises UserError where the pictures of a run are not to be made any more."""
    gallery = Gallery()
    courses = curves.all_courses(evidence)
    tables = board.board_tables(evidence)
    pages = runs.run_pages(evidence, courses, gallery)
    script = _text("script.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = _environment().get_template("page.html.j2")
    text, grids = share_grids(
        page.render(
            evidence=evidence,
            style=Markup(_text("style.css")),  # the package's own files, no data
            script=Markup(script),
            script_hash=f"sha256-{digest}",
            tex=SPECIAL,
            formula=FORMULA.pattern,
            basis=board.basis(evidence),
            grid=board.grid(evidence),
            protocols=[found.title for found in board.grid_boards(evidence)],
            boards=tables,
            tests=TESTS,
            methods=sorted({line.method for found in tables for line in found.lines}),
            versus=board.versus(evidence),
            speeds=board.speeds(evidence),
            seed_strips=board.seed_strips(evidence),
            curves=curves.overview(evidence, courses),
            drift=history.compared(evidence),
            claims=[ledger.show_claim(judged) for judged in evidence.claims],
            studies=studies.studies(evidence.studies, evidence.timings),
            pages=pages,
            album=gallery.album,
        )
    )
    return text.replace(STORE, STORE + grids, 1).encode("utf-8")


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
