"""Estimates of the trainings that rows of the papers wait for, as records/estimate.py keeps them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import get_args

import torch

from benchmark.devices import device_name
from benchmark.evaluation.protocol import PROTOCOLS
from benchmark.recipe.faults import about
from benchmark.records.estimate import Estimate, file_digest
from benchmark.records.paper import ReportedProtocol
from benchmark.run.plan import make_plan, vocabulary_size
from benchmark.run.resolve import single_models
from benchmark.run.runs import Run


def reported_runs() -> list[Run]:
    """The runs of single models on the datasets of the protocols that papers report."""
    protocols = [PROTOCOLS[name] for name in get_args(ReportedProtocol) if name in PROTOCOLS]
    datasets = dict.fromkeys(protocol.dataset for protocol in protocols)
    return [run for dataset in datasets for run in single_models(dataset)]


def unknown_runs(runs: Sequence[Run], estimates: Mapping[str, Estimate]) -> list[Run]:
    """The runs without an estimate of their recipe's present version."""
    known = {name: estimate.recipe_digest for name, estimate in estimates.items()}
    return [run for run in runs if known.get(run.path.as_posix()) != file_digest(run.path)]


def estimate_runs(runs: Sequence[Run]) -> Iterator[tuple[str, Estimate]]:
    """Probe one run after the other; yields its recipe's path and the estimate. A large model takes a minute."""
    hardware = device_name(torch.device("cpu"))
    for run in runs:
        with about(run.path):
            plan = make_plan(run.single, vocabulary_size(run.single), [], products=True)
        yield (
            run.path.as_posix(),
            Estimate(
                recipe_digest=file_digest(run.path),
                seconds=max(1, round(plan.train_seconds)),
                memory_bytes=round(plan.largest.memory_bytes),
                host_bytes=plan.scoring.host,
                device_bytes=plan.scoring.device + 4 * plan.parameters,
                batch_size=run.single.training.batch_size,
                flops=plan.train_flops,
                hardware=hardware,
                torch=torch.__version__,
            ),
        )
