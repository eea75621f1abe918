"""Commands of many runs: `rematch submit` hands them to a cluster's queue, `rematch jobs` says how they stand.

Heavy imports stand inside the commands.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from benchmark.cli.options import DataDir, Profile, Report, Seeds, bundled
from benchmark.errors import UserError


@bundled
def submit(
    target: Annotated[str, typer.Argument(help="A method, `all`, or the path of a recipe.")],
    dataset: Annotated[str | None, typer.Argument(help="A dataset, e.g. mscoco.")] = None,
    *,
    seeds: Seeds = None,
    profile: Profile = None,
    data_dir: DataDir = None,
    queue: Annotated[
        Literal["slurm", "local"],
        typer.Option(help="slurm, or local: processes of this machine, all at once."),
    ] = "slurm",
    partition: Annotated[str | None, typer.Option(help="The partition of the cluster.")] = None,
    hours: Annotated[
        float, typer.Option(help="The time of a job; one that needs more goes on in the next.", min=0.02)
    ] = 24.0,
    gpus: Annotated[
        int, typer.Option(help="GPUs of a job, which divide its training; 0: the processor.", min=0)
    ] = 1,
    cpus: Annotated[int, typer.Option(help="Processor cores for each GPU.", min=1)] = 8,
    memory_gb: Annotated[int, typer.Option(help="Memory for each GPU.", min=1)] = 32,
    print_only: Annotated[
        bool, typer.Option("--print", help="Write the sbatch scripts and print them; submit nothing.")
    ] = False,
    report: Report,
) -> None:
    """Submit one job for each single model and seed; a job that is stopped goes on where it was.

    Ensembles are made of their members' results, by `rematch reproduce`, when all jobs are done. Records come to
    results/runs/ of this folder, which the machines of the cluster must share.

    Examples:

      rematch submit hat mscoco --seeds 0 1 2 3 4 --partition gpu --hours 48

      rematch submit hat mscoco --gpus 4 --print      (the scripts; nothing is submitted)

      rematch submit recipes/hat/scenes-i2t.yaml --queue local --gpus 0
    """
    from benchmark.cluster import jobs
    from benchmark.run.job import Settings
    from benchmark.run.resolve import check_runs, find_runs

    if dataset is None and not Path(target).suffix:
        raise UserError(f"{target}: name a dataset, e.g. `rematch submit {target} flickr30k`")
    runs = find_runs(target, dataset, profile, data_dir=data_dir)
    check_runs(runs, data_dir)
    wish = jobs.Wish(queue, partition, hours, gpus, cpus, memory_gb)
    more = ["--device", "cuda" if gpus else "cpu"]
    more += ["--data-dir", data_dir.as_posix()] if data_dir is not None else []
    settings = Settings(data_dir=data_dir)
    singles = {single.name: single for run in runs for single in run.singles}
    for single in singles.values():
        for seed in dict.fromkeys(seeds or [single.seed]):
            if print_only:
                path = jobs.write_script(single, seed, wish, more, settings)
                report.say(f"# {path.as_posix()}", path.read_text(encoding="utf-8").rstrip())
            else:
                entry = jobs.submit(single, seed, wish, more, settings)
                report.say(f"job {entry.job}: {entry.name}")


@bundled
def jobs(*, report: Report) -> None:
    """Say how the jobs stand that were submitted from this folder.

    Examples:

      rematch jobs

      rematch jobs --format json
    """
    from benchmark.cluster.jobs import as_json, standings
    from benchmark.reporting.sheet import make_sheet
    from benchmark.run.job import Settings

    found = standings(Settings())
    rows = [
        [one.entry.name, one.entry.job, one.state, "yes" if one.record else "no", one.said] for one in found
    ]
    sheet = make_sheet("Jobs", ["job", "number", "state", "record", "error"], rows, left=5)
    report.put(sheet, document=[as_json(one) for one in found])
