"""Commands that time: `rematch latency` a model, `rematch bench` the scoring of a method.

Heavy imports stand inside the commands.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark.cli.options import (
    DataDir,
    Device,
    Profile,
    SkipCorrupt,
    Unverified,
    Vocab,
    console,
    make_settings,
)

if TYPE_CHECKING:
    pass


def latency(
    recipe: Annotated[
        Path | None,
        typer.Argument(help="The recipe whose model is timed. Default: every single model of scenes."),
    ] = None,
    repeats: Annotated[int, typer.Option(min=30, help="Timed calls of every operation.")] = 30,
    profile: Profile = None,
    device: Device = None,
    data_dir: DataDir = None,
    unverified: Unverified = False,
    skip_corrupt: SkipCorrupt = False,
    vocab: Vocab = None,
) -> None:
    """Time encoding, scoring and ranking of a recipe's model (its trained weights where there are some).

    Example: rematch latency recipes/hat/scenes-i2t.yaml
    """
    from benchmark.run.evaluate import time_weights
    from benchmark.run.resolve import single_models
    from benchmark.timing.model import latency_table

    flags = {"unverified": unverified, "skip_corrupt": skip_corrupt}
    settings = make_settings(device, data_dir, profile=profile, vocab=vocab, **flags)
    for path in [recipe] if recipe else single_models("scenes"):
        report, weights = time_weights(path, settings, repeats)
        console.print(f"{path.as_posix()}, weights {weights}")
        console.print(latency_table(report))


def bench(
    method: Annotated[str, typer.Argument(help="The method whose scoring is timed.")],
    repeats: Annotated[int, typer.Option(min=1, help="Interleaved repeats of each case.")] = 5,
    threads: Annotated[int, typer.Option(min=1, help="Threads of torch.")] = 1,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> None:
    """Time a method's scoring against the published loop over captions, and against the floor.

    A method that brings no cases is timed with its recipes for scenes.

    Example: rematch bench hat
    """
    from benchmark.registry import get_method
    from benchmark.run.resolve import pick_device
    from benchmark.run.scoring import scenes_cases
    from benchmark.timing.scoring import rank_benchmark, rank_table, scoring_benchmark, scoring_table

    brought, where = get_method(method).scoring_cases, pick_device(device)
    cases = scenes_cases(method, make_settings(device, None)) if brought is None else brought(where)
    rows = scoring_benchmark(cases, repeats=repeats, threads=threads, device=where)
    console.print(scoring_table(rows, title=f"scoring, {threads} thread(s), {where}"))
    console.print(rank_table(rank_benchmark()))
