"""Commands that share: `rematch query` asks a model, `rematch export` and `rematch new` write a run and a method.

A thin layer over benchmark/share; heavy imports stand inside the commands.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmark.cli.options import (
    DataDir,
    Device,
    Profile,
    ShowProgress,
    SkipCorrupt,
    Unverified,
    Vocab,
    console,
    make_settings,
    put_sheets,
)


def query(
    recipe: Annotated[Path, typer.Argument(help="The recipe whose model is asked; an ensemble's will do.")],
    sentence: Annotated[str | None, typer.Argument(help="What to look for among the test images.")] = None,
    image: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A picture: look for it among the test captions.")
    ] = None,
    top: Annotated[int, typer.Option(help="How many answers.")] = 5,
    html: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also write the answer, with pictures, as one web page."),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="Weights. Default: of the last training, else the committed reference."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of the training. Default: the recipe's.")] = None,
    profile: Profile = None,
    device: Device = None,
    data_dir: DataDir = None,
    unverified: Unverified = False,
    skip_corrupt: SkipCorrupt = False,
    vocab: Vocab = None,
    progress: ShowProgress = True,
) -> None:
    """Ask a run's test gallery: the best images for a sentence, or the best captions for a picture.

    Examples:

      rematch query recipes/sgraf/scenes-saf.yaml "a small red circle left of a blue square"

      rematch query recipes/hat/scenes-ensemble.yaml --image picture.png --top 10 --html answer.html
    """
    from benchmark.run.runs import read_run
    from benchmark.share.query.answer import run_query
    from benchmark.share.query.page import answer_sheet, write_page

    flags = {"unverified": unverified, "skip_corrupt": skip_corrupt, "progress": progress}
    settings = make_settings(device, data_dir, vocab=vocab, **flags)
    run = read_run(recipe, profile)
    run = run if seed is None else run.with_seed(seed)
    answer = run_query(run, settings, sentence=sentence, picture=image, top=top, checkpoint=checkpoint)
    for line in answer.weights:
        console.print(f"weights of {line}", highlight=False, markup=False)
    for note in answer.notes:
        console.print(f"note: {note}", highlight=False, markup=False)
    put_sheets([answer_sheet(answer)], "text", None)
    if html is not None:
        write_page(answer, html)
        console.print(f"wrote {html.as_posix()}", highlight=False, markup=False)


def export(
    run: Annotated[
        str,
        typer.Argument(
            help="A run record, or its name below results/runs/: RUN, RUN/SEED or DATASET/RUN/SEED."
        ),
    ],
    folder: Annotated[Path, typer.Argument(help="The folder to write.")],
    weights: Annotated[
        Path | None,
        typer.Option(help="The run's weights. Default: those of its training in the work folder."),
    ] = None,
    license_: Annotated[
        str | None,
        typer.Option(
            "--license", help="Licence of the weights, as the Hub calls it. Default: unknown, but for scenes."
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Write to a folder that holds other things; they stay.")
    ] = False,
) -> None:
    """Write a run as a folder for the Hugging Face Hub: weights, recipe, record and model card. Nothing is uploaded.

    Example: rematch export scenes/sgraf-saf/0 exported/sgraf-saf
    """
    from benchmark.share.export.folder import export_run, find_record

    done = export_run(find_record(run), folder, weights=weights, licence=license_, force=force)
    console.print(f"wrote {folder.as_posix()}: {', '.join(done.files)}", highlight=False, markup=False)
    console.print("nothing was uploaded; to share it:", highlight=False)
    console.print(f"  {done.upload}", highlight=False, markup=False)


def new(
    method: Annotated[str, typer.Argument(help="Name of the method: small letters, digits and _.")],
    folder: Annotated[
        Path | None, typer.Option(help="Folder of the package. Default: one with the method's name.")
    ] = None,
) -> None:
    """Write a package, a recipe and a study for a method of your own, to begin with; docs/plugin.md explains them.

    Example: rematch new my_method
    """
    from benchmark.share.new import write_method

    for path in write_method(method, folder):
        console.print(f"wrote {path.as_posix()}", highlight=False, markup=False)
    package = (folder or Path(method)).as_posix()
    console.print("install it, then train it on scenes:", highlight=False)
    console.print(f"  uv pip install --no-deps -e {package}", highlight=False, markup=False)
    console.print(f"  rematch reproduce {method} scenes", highlight=False, markup=False)
