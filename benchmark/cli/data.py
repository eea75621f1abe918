"""`rematch data`: download a dataset, hold it against the published one, look at it, time its loading.

A thin layer over `benchmark/data`; heavy imports stand inside the commands.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.filesize import decimal

from benchmark.cli.options import DataDir, Report, ShowProgress, Unverified, bundled, console, sound_seeds
from benchmark.cli.timing import time_app
from benchmark.errors import UserError, nearest
from benchmark.guarded import DocumentError, parse_yaml
from benchmark.places import WORK

if TYPE_CHECKING:
    from benchmark.data.cards import Located
    from benchmark.data.published.catalogue import Entry
    from benchmark.data.published.verification import Check
    from benchmark.data.splits import Dataset, SplitName
    from benchmark.reporting.sheet import Sheet

data_app = typer.Typer(
    name="data",
    help="Datasets: download them, hold them against the published splits, look at them, time their loading.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

Name = Annotated[
    str, typer.Argument(help="A dataset; `rematch list datasets` names them.", metavar="DATASET")
]
Splits = Annotated[
    list[str] | None,
    typer.Option("--split", help="train, val or test; may be given several times. Default: all three."),
]
Options = Annotated[
    list[str] | None,
    typer.Option("--option", metavar="NAME=VALUE", help="An option of the dataset, as in a recipe."),
]


SheetFormat = Annotated[
    Literal["html", "text", "json", "csv", "markdown"],
    typer.Option("--format", help="html, a page with the pictures; else a list of files and captions."),
]
CaptionsShown = Annotated[
    int | None, typer.Option(help="Captions an image. Default: 5, and all of own data.")
]
SheetFile = Annotated[
    Path | None,
    typer.Option(help="The file to write. Default: a page in .rematch/data/, and a list to the terminal."),
]


@data_app.command()
def download(
    dataset: Name,
    split: Splits = None,
    data_dir: DataDir = None,
    update: Annotated[
        bool, typer.Option("--update", help="Take the newest commits, and write them into the lock.")
    ] = False,
    option: Options = None,
    progress: ShowProgress = True,
) -> None:
    """Fetch and prepare some splits of a dataset, and verify them; exit 1 where they are not the published ones.

    Only the files of these splits are fetched, at the commit that the lock names; what is cached stays. A
    broken connection is taken up again; after an interruption, files that came whole are kept.

    Examples:

      rematch data download flickr30k --split test

      rematch data download mscoco --option restval=true

      rematch data download flickr30k --update
    """
    from benchmark.data.published.catalogue import entry_under, get_entry
    from benchmark.data.published.download import newest_commits
    from benchmark.data.published.hub import download_estimate

    names, options = split_names(split), parse_options(option)
    entry = entry_under(get_entry(dataset), options)
    if update and (not entry.sources or data_dir is not None):
        raise UserError(f"option --update: nothing of {dataset} would come from the Hub; leave it out")
    console.print(f"{entry.name}: {entry.title}\nlicence: {entry.license}", markup=False, highlight=False)
    with newest_commits(entry, names) if update else nullcontext():
        estimate = download_estimate(dataset, names, data_dir, options)
        for line in estimate.items or [_no_download(entry, data_dir)]:
            console.print(f"  {line}", markup=False, highlight=False)
        warn_of_space(estimate.bytes, estimate.disk_bytes)
        loaded, checks = load_and_check(dataset, names, options, data_dir, progress=progress)
    for line in place_lines(entry, names, loaded.options) if data_dir is None else []:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    _print_notes(loaded)
    for name in names:
        console.print(split_line(loaded, name, checks), highlight=False, markup=False)
    if any(check.differs for check in checks):
        console.print(f"`rematch data verify {dataset}` says what differs", markup=False, highlight=False)
        raise typer.Exit(1)


@data_app.command()
@bundled
def verify(
    dataset: Name,
    *,
    split: Splits = None,
    data_dir: DataDir = None,
    pictures: Annotated[
        bool, typer.Option("--pictures", help="Also decode every picture, and name the damaged ones.")
    ] = False,
    regions: Annotated[
        str | None,
        typer.Option(
            "--regions",
            metavar="SOURCE",
            help="Region features in --data-dir, read to the last: scan or tsv.",
        ),
    ] = None,
    option: Options = None,
    progress: ShowProgress = True,
    report: Report,
) -> None:
    """Hold splits of a dataset against the published ones, check by check; exit 1 where one differs.

    Splits that are not there yet are fetched first. Overlap shows between the splits that are named.

    Examples:

      rematch data verify flickr30k

      rematch data verify mscoco --split test --pictures

      rematch data verify flickr30k --data-dir my/parquet/folder

      rematch data verify flickr30k --data-dir f30k_precomp --regions scan
    """
    from benchmark.data.published.catalogue import get_entry
    from benchmark.data.regions.sources import read_all
    from benchmark.reporting.verification import checks_sheet, splits_sheet

    get_entry(dataset)
    names = split_names(split)
    loaded, checks = load_and_check(
        dataset, names, parse_options(option), data_dir, regions, progress=progress
    )
    lines = [split_line(loaded, name, checks) for name in names]
    lines += [f"note: {note}" for note in loaded.notes] + list(read_all(loaded, show_progress=progress))
    sheets = [checks_sheet(checks), splits_sheet(loaded, lines)]
    report.put_checks(*sheets, *([check_pictures(loaded, progress=progress)] if pictures else []))


@data_app.command()
def show(
    dataset: Name,
    split: Annotated[str, typer.Option("--split", help="train, val or test.")] = "test",
    count: Annotated[int, typer.Option(help="Images to show.")] = 24,
    seed: Annotated[
        int | None, typer.Option(help="Which images are drawn. Default: 0.", callback=sound_seeds)
    ] = None,
    first: Annotated[
        bool, typer.Option("--first", help="The first images, in the protocol's order.")
    ] = False,
    form: SheetFormat = "html",
    output: SheetFile = None,
    data_dir: DataDir = None,
    unverified: Unverified = False,
    captions: CaptionsShown = None,
    option: Options = None,
    progress: ShowProgress = True,
) -> None:
    """Write a contact sheet: images of a split with their captions, to look at before anything is trained.

    The same command writes the same bytes. A page asks for nothing outside itself.

    Examples:

      rematch data show scenes

      rematch data show flickr30k --split val --count 60 --seed 1

      rematch data show mscoco --first --output sheet.html

      rematch data show mscoco --count 5000 --format csv --output captions.csv

      rematch data show flickr30k --data-dir my/parquet/folder --unverified
    """
    from benchmark.data.load import load_dataset
    from benchmark.data.look.contact_sheet import choose_rows, make_sheet, write_html
    from benchmark.data.published.catalogue import get_entry
    from benchmark.reporting.verification import captions_sheet

    own = get_entry(dataset).own is not None
    (name,) = split_names([split])
    if first and seed is not None:
        raise UserError("options --first and --seed: found both, expected one of them")
    path = sheet_path(output, f"{dataset}-{name}", form)
    choose_rows(0, count, None)  # a bad count shows before a download does
    loaded = load_dataset(
        dataset,
        parse_options(option),
        splits=[name],
        captions_per_image=captions if captions is not None or own else 5,
        data_dir=data_dir,
        unverified=unverified,
        show_progress=progress,
    )
    found = make_sheet(loaded, name, count, None if first else seed or 0)
    if form != "html":
        Report(form, output).put(captions_sheet(found))
        return
    write_html(found, path)
    console.print(path.as_posix(), markup=False, highlight=False, soft_wrap=True)


@data_app.command(hidden=True)
@time_app.command("loading")
@bundled
def speed(
    dataset: Name,
    *,
    split: Annotated[str, typer.Option("--split", help="train, val or test.")] = "train",
    workers: Annotated[
        list[int] | None,
        typer.Option(
            "--workers", help="Loader processes, one or several numbers: --workers 0 4 8. Default: 0."
        ),
    ] = None,
    images: Annotated[int, typer.Option(help="Pictures to time.")] = 1000,
    data_dir: DataDir = None,
    unverified: Unverified = False,
    option: Options = None,
    progress: ShowProgress = True,
    report: Report,
) -> None:
    """Time the loader: decoding alone, and with the full-size transforms of training and evaluation (224 pixels).

    Pictures of a first pass come from the disk, of later ones from the system's memory.

    Examples:

      rematch time loading flickr30k --workers 0 4 8

      rematch time loading scenes --images 200
    """
    from benchmark.data.load import load_dataset
    from benchmark.data.published.catalogue import get_entry
    from benchmark.reporting.timings import speed_sheet
    from benchmark.timing.loading import loader_speed

    get_entry(dataset)
    (name,) = split_names([split])
    loaded = load_dataset(
        dataset,
        parse_options(option),
        splits=[name],
        data_dir=data_dir,
        unverified=unverified,
        show_progress=progress,
    )
    rows = loader_speed(loaded.splits[name], workers=workers or [0], images=images)
    report.put(speed_sheet(rows))


# --------------------------------------------------------------------------------------- helpers


def split_names(given: Sequence[str] | None) -> list[SplitName]:
    """Return the named splits, each once; all where none is named. Raises UserError that names the nearest one."""
    from benchmark.data.load import SPLITS

    for name in given or ():
        if name not in SPLITS:
            raise UserError(f"unknown split '{name}'{nearest(name, SPLITS)}")
    return [name for name in SPLITS if not given or name in given]


def parse_options(given: Sequence[str] | None) -> dict[str, Any]:
    """`NAME=VALUE` as in a recipe's `data.options`; the dataset's own schema checks names and values."""
    options: dict[str, Any] = {}
    for item in given or ():
        name, sign, value = item.partition("=")
        if not sign or not name:
            raise UserError(f"option --option: found '{item}', expected NAME=VALUE")
        try:
            options[name] = parse_yaml(value)
        except DocumentError:
            options[name] = value
    return options


def load_and_check(
    dataset: str,
    names: Sequence[SplitName],
    options: dict[str, Any],
    data_dir: Path | None,
    regions: str | None = None,
    *,
    progress: bool,
) -> tuple[Dataset, list[Check]]:
    """Splits as they are, published or not, and every check of them; `regions`: where their features come from."""
    from benchmark.data.load import load_dataset
    from benchmark.data.published.catalogue import entry_under, get_entry
    from benchmark.data.published.verification import PUBLISHED_CAPTIONS, check_copies, check_dataset
    from benchmark.data.regions.sources import known_of
    from benchmark.data.regions.verification import check_features
    from benchmark.recipe.schema import StoredRegions

    if regions not in (None, "scan", "tsv"):
        raise UserError(
            f"option --regions: unknown source '{regions}'{nearest(str(regions), ('scan', 'tsv'))}"
        )
    own = get_entry(dataset).own
    if own is not None:
        return _load_own(own, names, options, data_dir, regions)
    stored = None if regions is None else StoredRegions.model_validate({"source": regions})
    loaded = load_dataset(
        dataset,
        options,
        splits=names,
        data_dir=data_dir,
        unverified=True,
        regions=stored,
        show_progress=progress,
    )
    known = entry_under(get_entry(dataset), loaded.options)
    entry = known if stored is None else known_of(stored, known, loaded)
    checks = check_dataset(entry, loaded.splits, loaded.options, PUBLISHED_CAPTIONS)
    return loaded, [*checks, *check_features(loaded.splits), *check_copies(loaded.splits)]


def _load_own(
    own: Located,
    names: Sequence[SplitName],
    options: dict[str, Any],
    data_dir: Path | None,
    regions: str | None,
) -> tuple[Dataset, list[Check]]:
    """Splits of an own dataset with all captions, and every check of them."""
    from benchmark.data.own.loading import own_checks, own_dataset
    from benchmark.data.published.verification import check_copies
    from benchmark.data.splits import DatasetOptions
    from benchmark.recipe.faults import check_fields

    check_fields("data.options", options, DatasetOptions)
    if regions is not None and own.card.layout != "features":
        raise UserError(f"option --regions: found '{regions}', {own.card.name} has pictures and no features")
    loaded = own_dataset(own, names, None, data_dir)
    return loaded, [*own_checks(own, loaded), *check_copies(loaded.splits)]


def split_line(loaded: Dataset, name: SplitName, checks: Sequence[Check]) -> str:
    """Counts of a split and what its checks say."""
    own = [check for check in checks if check.split == name]
    wrong = [check.what for check in own if check.differs]
    right = sum(check.ok for check in own)
    said = f"{right} of {len(own)} checks agree" if right < len(own) else f"{right} checks agree"
    if wrong:
        said = f"{len(wrong)} of {len(own)} checks differ: {', '.join(wrong)}"
    unknown = [check.what for check in own if check.verdict == "cannot be checked"]
    said += f"; cannot be checked: {', '.join(unknown)}" if unknown else ""
    split = loaded.splits[name]
    return f"{name}: {len(split):,} images, {len(split.captions):,} captions; {said}"


def check_pictures(loaded: Dataset, *, progress: bool) -> Sheet:
    """Decode every picture and list those that cannot be."""
    from benchmark.data.images.decoding import corrupt_rows
    from benchmark.reporting.sheet import make_sheet

    rows: list[tuple[str, str, int, str]] = []
    notes = []
    for name, split in loaded.splits.items():
        damaged = sorted(corrupt_rows(split.images, show_progress=progress).items())
        rows += [(name, split.filenames[row], row, reason) for row, reason in damaged]
        told = f"{len(damaged):,} of {len(split):,} pictures are damaged"
        notes.append(f"{name}: {told if damaged else 'every picture decodes'}")
    heads = ("split", "file", "row", "cannot be decoded")
    alarms = range(len(rows))
    return make_sheet("pictures", heads, rows, left=4, notes=notes, alarms=alarms, passed=not rows)


def place_lines(entry: Entry, names: Sequence[SplitName], options: dict[str, Any]) -> list[str]:
    """List the repository and commit that each split came from, its size, and the folder it is in."""
    from benchmark.data.published.download import place_of

    places = filter(None, (place_of(entry, name, options) for name in names))
    return [
        f"{place.split}: {decimal(place.bytes)} of {place.repo}@{place.commit} in {shown(place.folder)}"
        for place in places
    ]


def sheet_path(output: Path | None, name: str, form: str) -> Path:
    """Return the file of a contact sheet; raises UserError where a page would not be called one."""
    path = output or WORK / "data" / f"{name}.html"
    if form == "html" and path.suffix.lower() != ".html":
        raise UserError(f"option --output: found '{path.as_posix()}', expected a name that ends in .html")
    return path


def shown(path: Path) -> str:
    """A folder with the home folder as `~`."""
    home = Path.home()
    return f"~/{path.relative_to(home).as_posix()}" if path.is_relative_to(home) else path.as_posix()


def warn_of_space(fetched: int, needed: int) -> None:
    """Say what comes, and where the disk seems too small for it: the sizes are estimates, so go on all the same."""
    from benchmark.checks.doctor import cache_folder, free_gib

    if not fetched:
        return
    line = f"about {fetched / 1e9:.2f} GB to download; with the copy that is read from, {needed / 1e9:.2f} GB on disk"
    console.print(line, highlight=False)
    free = free_gib(cache_folder()) * 2**30
    if free < needed:
        line = f"only {free / 1e9:.1f} GB are free: set HF_HOME to a larger disk, or name fewer splits"
        console.print(f"[yellow]warning:[/] {line}", highlight=False)


def _no_download(entry: Entry, data_dir: Path | None) -> str:
    made = "made by code" if entry.embedded else "read from where its card says"
    return "nothing to download: " + (made if data_dir is None else "read from a local folder")


def _print_notes(loaded: Dataset) -> None:
    for note in loaded.notes:
        console.print(f"note: {note}", markup=False, highlight=False)
