"""`rematch evaluate-model`: models of the Hub, zero-shot, under the common protocol.

Heavy imports stand inside the command.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from benchmark.cli.options import Report, bundled, say_device
from benchmark.cli.run import put_tables, run_all

if TYPE_CHECKING:
    from benchmark.run.job import Settings

Precision = Literal["float32", "float16", "bfloat16"]


@bundled
def evaluate_model(
    model: Annotated[str, typer.Argument(help="A repository of the Hub, OWNER/NAME.")],
    datasets: Annotated[list[str], typer.Argument(help="One dataset or several.", metavar="DATASET...")],
    *,
    revision: Annotated[
        str | None,
        typer.Option(help="Its commit, 40 hexadecimal digits. Default: the locked one, else the newest."),
    ] = None,
    library: Annotated[
        str, typer.Option(help="The library that reads it: transformers, open_clip or sentence_transformers.")
    ] = "transformers",
    precision: Annotated[
        Precision, typer.Option(help="The precision of the encoders; scores are float32 in any case.")
    ] = "float32",
    batch_size: Annotated[int, typer.Option(min=1, max=100_000, help="Pictures or captions at once.")] = 128,
    prompt: Annotated[
        str, typer.Option(help="The text that is encoded; {} is the caption: 'a photo of {}'.")
    ] = "{}",
    name: Annotated[str | None, typer.Option(help="The name of the runs. Default: the model's.")] = None,
    latency: Annotated[bool, typer.Option(help="Measure latency after the evaluation.")] = True,
    tables: Annotated[bool, typer.Option(help="Write results/tables/ at the end.")] = True,
    settings: Settings,
    report: Report,
) -> None:
    """Evaluate a dual encoder of the Hub as it is: CLIP, SigLIP, ALIGN and their like, zero-shot.

    Its own preprocessing and tokenizer are used, at a commit that is locked by the first download. A recipe is written
    for each dataset, and its run leaves a record and a row in the tables, called zero-shot.

    Examples:

      rematch evaluate-model openai/clip-vit-base-patch32 flickr30k mscoco

      rematch evaluate-model google/siglip-base-patch16-224 flickr30k --precision float16 --batch-size 256

      rematch evaluate-model openai/clip-vit-base-patch32 scenes --prompt 'a photo of {}'
    """
    from benchmark.data.published.catalogue import get_entry
    from benchmark.registry import hub_method
    from benchmark.run.resolve import check_folders, check_runs
    from benchmark.run.runs import read_run
    from benchmark.run.zero_shot import Asked, settle_model, write_recipe

    for dataset in datasets:
        get_entry(dataset)
    chosen = {"revision": revision, "library": library, "prompt": prompt, "precision": precision}
    plain = {"revision": None, "library": "transformers", "prompt": "{}", "precision": "float32"}
    asked = Asked(model, {k: v for k, v in chosen.items() if v != plain[k]}, batch_size, name)
    method = hub_method()
    config = settle_model(asked, method)
    paths: list[Path] = [write_recipe(asked, method, config, dataset) for dataset in dict.fromkeys(datasets)]
    runs = [read_run(path, data_dir=settings.data_dir) for path in paths]
    report.say(*(f"recipe: {path.as_posix()}" for path in paths))
    check_runs(runs, settings.data_dir)
    check_folders(runs, settings.data_dir)
    say_device(runs, settings, report)
    made = run_all(runs, None, replace(settings, latency=latency), report.console)
    if tables:
        put_tables(made, report)
