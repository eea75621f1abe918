"""Commands for own data: `rematch data import` reads a source, `rematch recipe new` writes a recipe for it.

A thin layer over benchmark/data/own and benchmark/share; heavy imports stand inside the commands.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark.cli.options import Report, ShowProgress, next_step, sound_seeds
from benchmark.errors import UserError, nearest

if TYPE_CHECKING:
    from benchmark.data.cards import LayoutName, SplitRule
    from benchmark.data.own.importing import Imported

recipe_app = typer.Typer(
    name="recipe",
    help="Recipes for data of your own.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)


@recipe_app.callback()
def recipes() -> None:
    """Recipes for data of your own.

    Example: rematch recipe new sgraf --dataset holidays
    """


Source = Annotated[
    str, typer.Argument(help="A folder, a file, or a repository on the Hub (OWNER/NAME).", metavar="SOURCE")
]
LayoutOption = Annotated[
    str | None,
    typer.Option(
        "--layout",
        help="captions, metadata, coco, karpathy, parquet, hub, webdataset or features. Default: found out.",
    ),
]
Pictures = Annotated[Path | None, typer.Option(help="The folder of the pictures. Default: the source's own.")]
ImageColumn = Annotated[str | None, typer.Option(help="The column of pictures or their names.")]
CaptionColumns = Annotated[
    list[str] | None, typer.Option(help="A column of captions; may be given several times.")
]
SplitColumn = Annotated[str | None, typer.Option(help="The column of splits.")]
SplitSeed = Annotated[
    int, typer.Option(help="The seed of splits that the source does not name.", callback=sound_seeds)
]
Licence = Annotated[str, typer.Option("--license", help="The licence of pictures and captions.")]
Revision = Annotated[str | None, typer.Option(help="The commit of a repository. Default: the newest.")]
Configuration = Annotated[
    str | None, typer.Option(help="The configuration of a repository that has several.")
]
SkipMissing = Annotated[
    bool, typer.Option("--skip-missing", help="Leave out images that lack a picture or captions, and say so.")
]
Force = Annotated[bool, typer.Option("--force", help="Take the place of a file that is there.")]


def import_(
    name: Annotated[str, typer.Argument(help="What to call the dataset: small letters, digits and _.")],
    source: Source,
    layout: LayoutOption = None,
    pictures: Pictures = None,
    image_column: ImageColumn = None,
    caption_column: CaptionColumns = None,
    split_column: SplitColumn = None,
    seed: SplitSeed = 0,
    val: Annotated[float, typer.Option(help="The share of images that is drawn for validation.")] = 0.1,
    test: Annotated[float, typer.Option(help="The share of images that is drawn for the test.")] = 0.1,
    title: Annotated[str | None, typer.Option(help="What the dataset is, in a few words.")] = None,
    license_: Licence = "unknown",
    revision: Revision = None,
    config: Configuration = None,
    skip_missing: SkipMissing = False,
    force: Force = False,
    progress: ShowProgress = True,
) -> None:
    """Read pictures and captions of your own; from then on NAME is a dataset like any other.

    Writes the card datasets/NAME.yaml and the index datasets/NAME.jsonl; the pictures stay where they are. Everything
    that is missing is named in one message.

    Examples:

      rematch data import holidays my/pictures                 (with captions.csv: image,caption)

      rematch data import shop products.parquet --caption-column title

      rematch data import birds OWNER/NAME --seed 1

      rematch -C holidays data import holidays ../pictures     (work in the folder holidays)
    """
    from benchmark.data.own.importing import Import, import_dataset
    from benchmark.data.own.items import Reading
    from benchmark.data.own.place import check_place

    check_place(f"data import {name} {source}")
    reading = Reading(
        Path(source),
        pictures,
        image_column,
        tuple(caption_column or ()),
        split_column,
        revision=revision,
        config=config,
        show_progress=progress,
    )
    rule = _rule(seed, val, test)
    wanted = Import(name, source, reading, _layout(layout), rule, title, license_, skip_missing, force)
    _say(import_dataset(wanted))


def _rule(seed: int, val: float, test: float) -> SplitRule:
    """Return the rule of the splits that are drawn. Raises UserError for shares that leave nothing."""
    from benchmark.data.cards import SplitRule

    for option, share in {"--val": val, "--test": test}.items():
        if not 0 < share < 1:
            raise UserError(
                f"option {option}: found {share:g}, expected a share of the images, above 0 and below 1"
            )
    if val + test >= 1:
        raise UserError(
            f"options --val and --test: found {val:g} and {test:g}, which leave nothing to train on"
        )
    return SplitRule(given=[], seed=seed, val=val, test=test)


def _layout(name: str | None) -> LayoutName | None:
    from benchmark.data.own.layouts import LAYOUTS

    for known in LAYOUTS:
        if known == name:
            return known
    if name is not None:
        raise UserError(f"option --layout: unknown layout '{name}'{nearest(name, LAYOUTS)}")
    return None


def _say(done: Imported) -> None:
    """Say what was read and guessed, what its checks found, and what comes next."""
    from benchmark.data.own.index import SPLITS
    from benchmark.data.own.layouts import LAYOUTS
    from benchmark.data.own.loading import own_checks, own_dataset

    own, card = done.own, done.own.card
    report = Report()
    columns = "; ".join(f"{what}: {column}" for what, column in card.columns.items())
    report.say(f"{card.name}: {LAYOUTS[card.layout].title} ({columns})")
    for split in SPLITS:
        count = card.counts[split]
        span = f"{count.fewest}" if count.fewest == count.most else f"{count.fewest} to {count.most}"
        report.say(f"  {split}: {count.images:,} images, {count.captions:,} captions, {span} an image")
    checks = own_checks(own, own_dataset(own, SPLITS, None))
    odd = [check for check in checks if not check.ok]
    report.say(*(f"note: {note}" for note in done.notes))
    report.say(*(f"{check.split}: {check.what}: {check.verdict}: {check.found}" for check in odd))
    report.say(
        f"wrote {own.path.as_posix()} and {own.index.as_posix()}; look at it: rematch data show {card.name}"
    )
    features = "scan" if card.layout == "features" else "grid"
    report.say(next_step(f"recipe new sgraf --dataset {card.name} --features {features}"))


@recipe_app.command("new")
def new_recipe(
    method: Annotated[str, typer.Argument(help="A method; `rematch list methods` names them.")],
    dataset: Annotated[str, typer.Option(help="The dataset, as `rematch list datasets` names it.")],
    features: Annotated[
        str | None,
        typer.Option(
            help="For methods that read regions: detector, grid (random cells), efficientnet_lite0 or a timm model "
            "(cells through it), scan (stored ones). Default: grid, or scan where the data are features."
        ),
    ] = None,
    variant: Annotated[
        str | None,
        typer.Option(
            help="A variant of the method, e.g. saf, or `ensemble`: a recipe of each of its models and one of them "
            "together. Default: a single one, of whole words where the method has one."
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            help="small (as the recipes of scenes) or full (as published). Default: by the data's size."
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Epochs in all. Default: by the data's size.")
    ] = None,
    force: Force = False,
) -> None:
    """Write a recipe for data of your own, sized to them, with the departures from the published set-up listed.

    Examples:

      rematch recipe new sgraf --dataset holidays --features grid

      rematch recipe new vse_infty --dataset holidays --features detector --variant bigru

      rematch recipe new sgraf --dataset holidays --variant ensemble      (SAF, SGR, and both together)
    """
    from benchmark.data.own.place import check_place
    from benchmark.run.starting import Wanted, write_recipe

    check_place(f"recipe new {method} --dataset {dataset}")
    path, said = write_recipe(Wanted(method, dataset, features, variant, size, epochs, force))
    report = Report()
    report.say(f"wrote {path.as_posix()}:", *(f"  {line}" for line in said))
    report.say(next_step(f"reproduce {path.as_posix()}"))
