"""Commands that check: `rematch parity`, `drift`, `doctor`, `gpu-check`; they exit with 1 where a check fails.

Heavy imports stand inside the commands, so that `rematch doctor` works where torch does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from benchmark.cli.options import Device, Report, ShowProgress, bundled, console, sound_seeds
from benchmark.errors import UserError
from benchmark.places import HARDWARE

if TYPE_CHECKING:
    import torch


@bundled
def parity(
    method: Annotated[str, typer.Argument(help="A method, `evaluation`, `detector`, or `all`.")],
    files: Annotated[
        list[Path] | None, typer.Argument(help="Golden files or folders. Default: tests/golden/METHOD.")
    ] = None,
    *,
    failed: Annotated[bool, typer.Option("--failed", help="Show only what is over its tolerance.")] = False,
    report: Report,
) -> None:
    """Compare with what the published implementations computed; exit 1 where anything is over its tolerance.

    Examples:

      rematch parity hat

      rematch parity evaluation my_case.npz
    """
    from benchmark.checks.parity.report import SHARED, run_parity
    from benchmark.registry import method_names

    names = [*SHARED, *method_names()] if method == "all" else [method]
    if method == "all" and files:
        raise UserError("parity all takes no files; name the method they belong to")
    report.put_checks(*(run_parity(name, files).sheet(only_failed=failed) for name in names))


NewSeeds = Annotated[
    list[int] | None,
    typer.Option(
        "--seeds",
        help="Also train these seeds, and test them against the committed seeds.",
        callback=sound_seeds,
    ),
]


@bundled
def drift(
    method: Annotated[
        str | None, typer.Argument(help="One method. Default: all that have references.")
    ] = None,
    *,
    full: Annotated[bool, typer.Option("--full", help="Also train the scenes recipes in full.")] = False,
    seeds: NewSeeds = None,
    runs: Annotated[
        Path | None,
        typer.Option("--runs", help="Only test the seeds of the run records in this folder; train nothing."),
    ] = None,
    update: Annotated[
        bool, typer.Option("--update", help="Write new references from this machine's results.")
    ] = False,
    ranks: Annotated[
        bool,
        typer.Option("--update-ranks", help="Write the ranks of the committed weights anew, nothing else."),
    ] = False,
    device: Annotated[str, typer.Option(help="cuda: a GPU's references, else the CPU's, wider.")] = "cpu",
    report: Report,
    progress: ShowProgress = True,
) -> None:
    """Re-score committed weights, query by query, and repeat the first training steps; exit 1 on drift.

    Examples:

      rematch drift

      rematch drift hat --full

      rematch drift --format markdown --output drift.md

      rematch drift sgraf --seeds 3 4 5

      rematch drift --device cuda
    """
    flags = {"--update": update, "--update-ranks": ranks, "--runs": runs, "--full or --seeds": full or seeds}
    check_flags([flag for flag, on in flags.items() if on], device)
    from benchmark.run.resolve import pick_device

    where = pick_device(device)
    if update or ranks:
        for path in new_references(method, where, ranks=ranks, progress=progress):
            console.print(f"wrote {path.as_posix()}")
        return
    from benchmark.checks.drift.check import Trainings, compare_seeds, run_drift
    from benchmark.checks.drift.show import document, markdown_sheets, text_sheets

    if runs is not None:
        found = compare_seeds(method, runs)
    else:
        trainings = Trainings(full, tuple(dict.fromkeys(seeds or ())))
        found = run_drift(method, trainings, show_progress=progress, device=where)
    if report != Report():
        sheets = markdown_sheets if report.form == "markdown" else text_sheets
        report.put(*sheets(found), document=document(found))
    if report.output is not None or report.form == "text":  # a log wants the table even where a file has it
        Report().put(*text_sheets(found))
    raise typer.Exit(0 if found.ok else 1)


def check_flags(chosen: Sequence[str], device: str) -> None:
    """Raise UserError where flags of `drift` do not go together, or not with the device."""
    if len(chosen) > 1:
        raise UserError(f"drift: {' and '.join(chosen)} do not go together; take one")
    if "--update-ranks" in chosen and device != "cpu":
        raise UserError("drift: --update-ranks is for the CPU's references; take --update --device")


def new_references(
    method: str | None, device: torch.device, *, ranks: bool, progress: bool
) -> Iterator[Path]:
    """Write references, or their ranks alone, and say which."""
    from benchmark.checks.drift.update import update_on, update_ranks, update_references

    if device.type != "cpu":
        return update_on(device, method, show_progress=progress)
    if ranks:
        return update_ranks(method, show_progress=progress)
    return update_references(method, console, show_progress=progress)


@bundled
def doctor(*, report: Report) -> None:
    """Check this machine: versions, GPU, disk, caches, the Hub; and say what to do about each fault.

    Example: rematch doctor --format json
    """
    from benchmark.checks.doctor import examine, findings_sheet

    report.put_checks(findings_sheet(examine()))


@bundled
def gpu_check(
    *,
    device: Device = None,
    minutes: Annotated[
        float, typer.Option(min=0, help="Parts that have not begun by then are left out.")
    ] = 8,
    small: Annotated[
        bool | None,
        typer.Option(
            "--small/--full",
            help="Models of the size of scenes alone, or full-size ones too. Default: by device.",
        ),
    ] = None,
    folder: Annotated[Path, typer.Option(help="Where <device>.json and .md are written.")] = HARDWARE,
    progress: ShowProgress = True,
    report: Report,
) -> None:
    """Check a GPU on random weights and made-up data, without a network, in minutes; exit 1 where a check fails.

    Every method: are all tensors on the device, does the same step give the same bits twice, does a training that was
    killed go on to the same bits, how far are scores from float64. Then full-size steps with their time and memory,
    scores of 1,000 images x 5,000 captions, and the loader. Without a GPU it runs at a small size.

    Examples:

      rematch gpu-check

      rematch gpu-check --device cpu --minutes 2

      python -m benchmark gpu-check          (from a clone that is not installed)
    """
    from benchmark.checks.gpu.check import check_gpu
    from benchmark.checks.gpu.report import write_report
    from benchmark.run.resolve import pick_device

    where = pick_device(device)
    size: Literal["full", "small"] = "small" if (where.type != "cuda" if small is None else small) else "full"
    found = check_gpu(where, size, minutes, show_progress=progress)
    written = ", ".join(path.as_posix() for path in write_report(found, folder))
    report.say(f"wrote {written}")
    report.put_checks(*found.sheets())
