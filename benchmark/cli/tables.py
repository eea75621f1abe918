"""Commands about the run records: `rematch leaderboard`, `rematch table`, `rematch diff`, `rematch list`.

A thin layer over `benchmark/reporting`; heavy imports stand inside the commands.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark.cli.options import DataDir, Report, bundled, console, next_step
from benchmark.errors import UserError, nearest

if TYPE_CHECKING:
    from benchmark.reporting.diff.compare import RunDiff
    from benchmark.reporting.diff.revision import RevisionDiff
    from benchmark.reporting.sheet import Page, Sheet


@bundled
def leaderboard(
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit 1 where a generated file is out of date.")
    ] = False,
    report: Report,
) -> None:
    """Write what is made from the run records: tables, claims, studies' tables, the report page, checksums.

    Examples:

      rematch leaderboard --check

      rematch leaderboard --format csv --output leaderboard.csv
    """
    if check:
        report.put_checks(check_files())
    write_tables(report)


def write_tables(report: Report) -> None:
    """Write all generated files, and show the leaderboard."""
    from benchmark.reporting.generated import write_generated

    written = write_generated()
    show_leaderboard(report)
    counts = f"{len(written.files)} generated files, {len(written.changed)} changed"
    report.say(f"results/: {counts}; look at results/report.html in a browser, at results/tables/ as text")


def show_leaderboard(report: Report) -> None:
    """Show the leaderboard: in brief as text, whole pages as Markdown, every number as CSV and JSON."""
    from benchmark.records.record import read_all
    from benchmark.reporting.leaderboard.boards import boards_below
    from benchmark.reporting.leaderboard.content import MARK, brief_pages, make_page
    from benchmark.reporting.leaderboard.values import values_sheet
    from benchmark.reporting.writers import markdown
    from benchmark.reporting.writers.terminal import print_sheets, write_text

    boards = boards_below(Path(), read_all())
    if report.for_program:
        report.put(values_sheet(boards))
    elif report.form == "markdown":
        report.put_text("\n".join(markdown.page(make_page(board), MARK) for board in boards))
    elif report.output is not None:
        report.put_text("\n".join(write_text(page.sheets, page.footnotes) for page in brief_pages(boards)))
    else:
        for page in brief_pages(boards):
            print_sheets(page.sheets, console, page.footnotes)


def check_files() -> Sheet:
    """List the generated files that are out of date; of those made of changed records, these records alone.

    A note says what was checked.
    """
    from benchmark.records.checksums import LIST, changed_inputs, checksummed_files
    from benchmark.records.record import read_all
    from benchmark.reporting.generated import check_generated, generated_files
    from benchmark.reporting.sheet import make_sheet

    read_all()  # a record at fault ends here, with the field that is
    rows = [(path.as_posix(), "changed") for path in changed_inputs()]
    inputs = (
        f"checked: {len(checksummed_files())} records, sidecars and studies, as {LIST.as_posix()} has them"
    )
    if not rows:
        files = generated_files()
        rows = [(path.as_posix(), "out of date") for path in check_generated(files=files)]
        inputs += f"; {len(files)} files made of them, byte for byte"
    notes = [
        "changed: a record or a study, since the tables were written; run `rematch leaderboard` if that was meant"
        if rows
        else inputs
    ]
    alarms = range(len(rows))
    return make_sheet(
        "generated files", ("file", "state"), rows, left=2, notes=notes, alarms=alarms, passed=not rows
    )


@bundled
def table(
    benchmark: Annotated[
        str, typer.Argument(help="flickr30k, mscoco-1k, mscoco-5k, scenes; mscoco: both of its protocols.")
    ],
    *,
    methods: Annotated[
        str | None,
        typer.Option(help="Only rows of these methods or runs: hat,rcar or rcar-t2i. Default: all."),
    ] = None,
    columns: Annotated[
        str | None, typer.Option(help="Only these columns: r1,rsum. Default: those that the rows need.")
    ] = None,
    ours: Annotated[bool, typer.Option("--ours", help="Our runs; without --papers, these alone.")] = False,
    papers: Annotated[
        bool, typer.Option("--papers", help="The papers' rows; without --ours, these alone.")
    ] = False,
    width: Annotated[
        str,
        typer.Option(
            help="Room for LaTeX: textwidth (455pt), column (219pt) or a length; too wide a table is called so."
        ),
    ] = "textwidth",
    pages: Report,
) -> None:
    """Make a table for a paper or a page: a benchmark's rows and columns as you choose them.

    Columns: r1, r5, r10, i2t, t2i, rsum, interval, n, paper, difference, verdict, reads, models, query_ms, needs ...

    Examples:

      rematch table flickr30k --methods hat,rcar --columns r1,rsum --format latex --output table.tex

      rematch table mscoco --papers --format csv
    """
    from benchmark.records.record import read_all
    from benchmark.reporting.leaderboard.boards import boards_below
    from benchmark.reporting.leaderboard.content import Wanted, make_page
    from benchmark.reporting.leaderboard.selection import choose_boards, choose_columns, choose_rows
    from benchmark.reporting.writers.widths import read_width

    ours, papers = ours or not papers, papers or not ours
    wanted = Wanted(choose_columns(_named(columns)), ours, papers, printed=pages.form == "latex")
    room = read_width(width)
    boards = choose_boards(benchmark, boards_below(Path(), read_all() if ours else []))
    chosen = [choose_rows(board, _named(methods), papers=papers).tested() for board in boards]
    put_pages(pages, [make_page(board, wanted) for board in chosen], room)
    own = next((board for board in chosen if board.own and board.rows), None)
    if own is not None and pages.form == "text":
        pages.say(next_step(f'query {own.rows[0].records[0].run} "a sentence" --html answer.html'))


def _named(text: str | None) -> list[str]:
    """The names in `hat, rcar`."""
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def put_pages(report: Report, pages: Sequence[Page], room: float) -> None:
    """Put pages of tables; of LaTeX it is said whether each fits `room` points."""
    from benchmark.reporting.writers import html, latex, markdown
    from benchmark.reporting.writers.terminal import print_sheets, write_text

    mark = "made by `rematch table`"
    if report.for_program:
        report.put(*(sheet for page in pages for sheet in page.sheets))
    elif report.form == "latex":
        report.put_text("\n".join(latex.tables(page, mark, room) for page in pages))
        report.say(*(f"{page.title}: {layout}" for page in pages for layout in latex.fits(page, room)))
    elif report.form in ("markdown", "html"):
        writer = markdown.page if report.form == "markdown" else html.page
        report.put_text("\n".join(writer(page, mark) for page in pages))
    elif report.output is not None:
        report.put_text("\n".join(write_text(page.sheets, page.footnotes) for page in pages))
    else:
        for page in pages:
            print_sheets(page.sheets, console, page.footnotes)


@bundled
def diff(
    old: Annotated[
        str | None,
        typer.Argument(
            help="A run: RUN, RUN/SEED, DATASET/RUN, a record or a recipe; REV:... as it was then."
        ),
    ] = None,
    new: Annotated[str | None, typer.Argument(help="The other one, named likewise.")] = None,
    *,
    against: Annotated[
        str | None,
        typer.Option(
            help="A git revision: compare OLD, or all records that changed, with what they were then."
        ),
    ] = None,
    queries: Annotated[int, typer.Option(min=0, help="Name so many of the queries that changed most.")] = 10,
    captions: Annotated[bool, typer.Option("--captions", help="Show the captions of those queries.")] = False,
    data_dir: DataDir = None,
    report: Report,
) -> None:
    """Compare two runs: metrics, training, latency, recipe, and which queries changed rank.

    Signatures that differ are refused: such numbers do not belong side by side.

    Examples:

      rematch diff sgraf-saf rcar-i2t

      rematch diff scenes/hat-i2t/0 scenes/hat-i2t/1 --captions

      rematch diff --against main --format markdown
    """
    from benchmark.reporting.diff.revision import diff_revision
    from benchmark.reporting.diff.show import diff_sheets, document

    if against is not None and new is not None:
        raise UserError("diff takes one name with --against: the run that is compared with what it was")
    if against is None and new is None:
        raise UserError("diff takes two runs, e.g. `rematch diff sgraf-saf rcar-i2t`, or --against REVISION")
    found: RunDiff | RevisionDiff
    if against is not None and old is None:
        if captions:
            raise UserError("--captions needs the name of a run")
        found = diff_revision(against, most=queries)
    else:
        pair = (f"{against}:{old}", str(old)) if against is not None else (str(old), str(new))
        found = compare_runs(*pair, queries, data_dir, captions=captions)
    report.put(*diff_sheets(found), document=document(found))


def compare_runs(old: str, new: str, most: int, data_dir: Path | None, *, captions: bool) -> RunDiff:
    """The difference of two named runs."""
    from benchmark.reporting.diff.captions import caption_texts
    from benchmark.reporting.diff.compare import check_signatures, compare
    from benchmark.reporting.diff.sides import load_side

    sides = load_side(old), load_side(new)
    check_signatures(*sides)
    texts = caption_texts(sides[0], data_dir) if captions else None
    return compare(*sides, most=most, captions=texts)


@bundled
def list_(
    what: Annotated[
        str | None, typer.Argument(help="methods, recipes, datasets or runs. Default: all four.")
    ] = None,
    method: Annotated[str | None, typer.Argument(help="Only what belongs to this method.")] = None,
    *,
    dataset: Annotated[str | None, typer.Option(help="Only what belongs to this dataset.")] = None,
    report: Report,
) -> None:
    """List methods, recipes, datasets and runs; of runs, csv and json have every number.

    Examples:

      rematch list recipes hat --dataset flickr30k

      rematch list runs --format csv --output runs.csv
    """
    from benchmark.data.published.catalogue import get_entry
    from benchmark.registry import method_names
    from benchmark.reporting.inventory import LISTS, Wanted, list_inventory

    if what is not None and what not in LISTS:
        raise UserError(f"unknown list '{what}'{nearest(what, LISTS)}")
    if method is not None and method not in method_names():
        raise UserError(f"unknown method '{method}'{nearest(method, method_names())}")
    if dataset is not None:
        get_entry(dataset)
    report.put(*list_inventory([what] if what else LISTS, Wanted(method, dataset)))
