"""Commands that share: `rematch query` asks a model, `rematch export` and `rematch new` write a run and a method.

A thin layer over benchmark/share; heavy imports stand inside the commands.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark.cli.options import Profile, Report, bundled, sound_seeds

if TYPE_CHECKING:
    from benchmark.run.job import Settings

RunName = Annotated[
    str,
    typer.Argument(
        help="A run, as `rematch list runs` has them: RUN, RUN/SEED, DATASET/RUN or DATASET/RUN/SEED; the path of a "
        "record, or of a recipe.",
        metavar="RUN",
    ),
]


@bundled
def query(
    run: RunName,
    sentence: Annotated[str | None, typer.Argument(help="What to look for among the test images.")] = None,
    *,
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
    seed: Annotated[
        int | None,
        typer.Option(
            help="The seed of the training. Default: the name's, else the recipe's.", callback=sound_seeds
        ),
    ] = None,
    profile: Profile = None,
    settings: Settings,
    report: Report,
) -> None:
    """Ask a run's test gallery: the best images for a sentence, or the best captions for a picture.

    Examples:

      rematch query sgraf-saf "a small red circle left of a blue square"

      rematch query recipes/hat/scenes-ensemble.yaml --image picture.png --top 10 --html answer.html
    """
    from benchmark.run.names import find_run
    from benchmark.share.query.answer import run_query
    from benchmark.share.query.page import answer_sheet, write_page

    found = find_run(run, profile, settings.data_dir)
    found = found if seed is None else found.with_seed(seed)
    answer = run_query(found, settings, sentence=sentence, picture=image, top=top, checkpoint=checkpoint)
    report.say(
        *(f"weights of {line}" for line in answer.weights), *(f"note: {note}" for note in answer.notes)
    )
    report.put(answer_sheet(answer))
    if html is not None:
        write_page(answer, html)
        report.say(f"wrote {html.as_posix()}")


def export(
    run: RunName,
    folder: Annotated[Path, typer.Argument(help="The folder to write.")],
    weights: Annotated[
        Path | None,
        typer.Option(
            help="The run's weights. Default: of its training in the work folder, else the committed ones."
        ),
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
    push: Annotated[
        str | None,
        typer.Option(
            metavar="REPO", help="Upload it too, to OWNER/NAME on the Hub, as who is logged in there."
        ),
    ] = None,
    private: Annotated[
        bool, typer.Option("--private", help="Make a repository that is new a private one.")
    ] = False,
) -> None:
    """Write a run as a folder for the Hugging Face Hub: weights, recipe, record and model card.

    Without --push nothing is uploaded. The folder can be asked from Python: benchmark.load_run(FOLDER).query("...").

    Examples:

      rematch export scenes/sgraf-saf/0 exported/sgraf-saf

      rematch export scenes/sgraf-saf/0 exported/sgraf-saf --push me/sgraf-saf --private
    """
    from benchmark.run.names import find_record
    from benchmark.share.export.folder import export_run
    from benchmark.share.export.push import check_login, push_folder

    if push is not None:
        check_login(push)
    done = export_run(find_record(run), folder, weights=weights, licence=license_, force=force)
    report = Report()
    report.say(f"wrote {folder.as_posix()}: {', '.join(done.files)}")
    if done.note is not None:
        report.say(f"note: the weights are {done.note}")
    if push is None:
        report.say("nothing was uploaded; to share it:", f"  {done.upload}")
        return
    report.say(f"uploaded: {push_folder(folder, done.files, push, private=private)}")


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

    package = (folder or Path(method)).as_posix()
    Report().say(
        *(f"wrote {path.as_posix()}" for path in write_method(method, folder)),
        "install it, then train it on scenes:",
        f"  uv pip install --no-deps -e {package}",
        f"  rematch reproduce {method} scenes",
    )
