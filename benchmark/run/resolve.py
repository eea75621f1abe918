"""The meaning of a command: its device, dataset and runs; and the lines that are said of a finished run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from benchmark.data.own.place import check_place
from benchmark.data.published.catalogue import get_entry
from benchmark.data.splits import UNVERIFIED
from benchmark.devices import check_device, missing_gpu
from benchmark.errors import UserError, nearest
from benchmark.evaluation.protocol import protocols_of
from benchmark.files import check_writable
from benchmark.places import RECIPES, RUNS, WORK, listing
from benchmark.recipe.faults import about
from benchmark.records.paper import resolve
from benchmark.records.parts import ProtocolRecord
from benchmark.records.record import RunRecord
from benchmark.registry import method_names
from benchmark.run.job import RECONSTRUCTION, Settings, check_data, check_last_batch
from benchmark.run.runs import Run, RunReader
from benchmark.training import deterministic

ALL = "all"
DEVICES = ("cpu", "cuda", "mps")


def pick_device(name: str | None) -> torch.device:
    """The named device, else a GPU where torch finds one, else the processor; from here on all is deterministic.

    Raises UserError for a device that is not there, or cannot compute.
    """
    deterministic()  # before the first kernel: cuBLAS reads its settings when it starts
    if name is None:
        device = torch.device("cuda" if missing_gpu() is None else "cpu")
    else:
        if name.split(":")[0] not in DEVICES:
            raise UserError(f"unknown device '{name}'{nearest(name, DEVICES)}")
        try:
            device = torch.device(name)
        except RuntimeError as error:
            raise UserError(
                f"device '{name}' is not to be had: {str(error).splitlines()[0]}; expected cpu, cuda or cuda:N"
            ) from None
    check_device(device)
    return device


def left_over(name: str | None, device: torch.device) -> str | None:
    """Say why the processor is all that is left for a command that names no device; None: it is wanted, or a GPU is."""
    return missing_gpu() if name is None and device.type == "cpu" else None


def is_embedded(run: Run) -> bool:
    """Return True where a run's dataset is made by code, or its owner's, with a recipe of its size.

    Raises UserError, with the recipe's path, if unknown.
    """
    with about(run.path):
        return get_entry(run.dataset).local


def check_wanted(runs: Sequence[Run], settings: Settings) -> None:
    """Raise UserError where the processor would train what is made for a GPU, and nobody said that it should."""
    heavy = next((run for run in runs if not is_embedded(run)), None)
    if heavy is not None and settings.no_gpu is not None:
        raise UserError(
            f"{heavy.path.as_posix()}: found no GPU to train on ({settings.no_gpu}); `--device cpu` says that the "
            "processor is wanted, which takes days for a full-size recipe (`--dry-run` estimates)"
        )


def choose_dataset(device: torch.device) -> str:
    """The dataset where none is named: the papers' own needs a GPU, the embedded one does not."""
    return "flickr30k" if device.type == "cuda" else "scenes"


def find_runs(
    target: str,
    dataset: str | None,
    profile: str | None = None,
    folder: Path = RECIPES,
    data_dir: Path | None = None,
) -> list[Run]:
    """The runs of a method (or of all) on a dataset, ensembles last; or the one of the file that `target` names.

    data_dir: local data, which decide where `regions: {source: auto}` comes from.
    Raises UserError for an unknown method or dataset, where a method has no recipe for the dataset, and as
    `RunReader.run`.
    """
    reader = RunReader(profile, data_dir)
    if target.endswith((".yaml", ".yml")):
        if dataset is not None:
            raise UserError(f"{target}: a recipe names its own dataset; leave '{dataset}' out")
        return [reader.run(Path(target))]
    if target != ALL and target not in method_names():
        raise UserError(f"unknown method or recipe '{target}'{nearest(target, [*method_names(), ALL])}")
    assert dataset is not None, "a method's recipes are chosen by dataset"
    own = get_entry(dataset).own
    methods = method_names() if target == ALL else [target]
    found = [run for method in methods for run in _ordered(folder / method, dataset, reader)]
    if not found:
        see = "`rematch list recipes`"
        if own is not None:
            see = f"`rematch recipe new {'METHOD' if target == ALL else target} --dataset {dataset}`"
        raise UserError(f"{target} has no recipe for '{dataset}' in {folder.as_posix()}/; see {see}")
    return found


def check_runs(runs: Sequence[Run], data_dir: Path | None = None) -> None:
    """Raise UserError now for what would else show after hours: names that other files and tables must know, and sizes.

    Data in a folder may have other sizes than the catalog; they are looked at when they are loaded.
    """
    for run in runs:
        check_runs(run.members, data_dir)
        try:
            if not run.members:
                check_data(run.single.data)
                if data_dir is None:
                    check_last_batch(run.single)
            resolve(run.recipe.paper_row)
            known = [protocol.name for protocol in protocols_of(run.dataset)]
            for number, item in enumerate(run.recipe.expected):
                if item.protocol not in known:
                    field = f"field 'expected.{number}.protocol'"
                    hint = nearest(item.protocol, known)
                    raise UserError(f"{field}: found '{item.protocol}', no protocol of its dataset{hint}")
        except UserError as error:
            raise UserError(f"{run.path.as_posix()}: {error}") from None


def check_folders(runs: Sequence[Run], data_dir: Path | None) -> None:
    """Raise an error, before the first is trained, where results cannot be written or features are missing.

    Runs on own data do not write into a clone of Rematch.
    """
    if any(get_entry(run.dataset).own is not None for run in runs):
        check_place(f"reproduce {runs[0].path.as_posix()}")
    for folder in (RUNS, WORK):
        check_writable(folder)
    if data_dir is not None:
        return
    regions = {
        single.path: single.single.data.regions
        for run in runs
        for single in run.singles
        if get_entry(run.dataset).own is None  # the card says where its features are
    }
    sources = {path: kind.source for path, kind in regions.items() if kind is not None and kind.in_folder}
    if sources:
        lacking, named = (
            ", ".join(names) for names in (map(Path.as_posix, sources), dict.fromkeys(sources.values()))
        )
        raise UserError(
            f"{lacking}: field 'data.regions.source': found '{named}', which reads a folder: "
            "name it with --data-dir"
        )


def single_models(dataset: str, profile: str | None = None, folder: Path = RECIPES) -> list[Run]:
    """The trainings of all methods on a dataset; ensembles, and models that are not trained here, are left out."""
    return [run for run in find_runs(ALL, dataset, profile, folder) if run.trains]


def _ordered(folder: Path, dataset: str, reader: RunReader) -> list[Run]:
    """A folder's runs on a dataset: single models first, since ensembles are made of them."""
    paths = [path for path in listing(folder, "*.yaml") if path.stem.split("-")[0] == dataset]
    return sorted(map(reader.run, paths), key=lambda run: bool(run.members))


def headline(record: RunRecord) -> str:
    """The scores of a run in a line a protocol, with its hash; a reconstruction is called one.

    A run of data that are not the published ones says so, beside what chance would give.
    """
    unverified = any(line.startswith(UNVERIFIED) for line in record.departures)
    name = f"{record.run} (reconstruction)" if RECONSTRUCTION in record.departures else record.run
    lines = []
    for protocol, result in record.results.items():
        metrics = result.metrics
        lines.append(
            f"{name} on {protocol}: i2t R@1 {metrics.i2t.r1:.1f}, t2i R@1 {metrics.t2i.r1:.1f}, "
            f"rsum {metrics.rsum:.1f}; canonical hash {record.canonical_hash[:12]}"
            + _beside(result, unverified=unverified)
        )
    return "\n".join(lines)


def _beside(result: ProtocolRecord, *, unverified: bool) -> str:
    """Return what a headline says of chance: of own data, and of data that are not the published ones."""
    if result.chance is not None:
        level = ", ".join(
            f"{words} {result.chance[key]:.1f}"
            for words, key in (("i2t R@1", "i2t_r1"), ("t2i R@1", "t2i_r1"), ("rsum", "rsum"))
        )
        return f"; chance: {level}"
    return f"; unverified data, chance: {_chance(result)}" if unverified else ""


def _chance(result: ProtocolRecord) -> str:
    """Recalls at 1 of a random order, in percent: one image in a gallery is right, and of the captions its share."""
    level = 100 * len(result.folds) / result.images
    return f"i2t R@1 {level:.1f}, t2i R@1 {level:.1f}"


def expectation_lines(run: Run, record: RunRecord) -> list[str]:
    """The values that the recipe expects beside those found, a line each; a profile expects none."""
    lines = []
    for item in run.recipe.expected:
        found = record.results[item.protocol].metrics.value(item.metric)
        word = "as expected" if item.holds(found) else "NOT as expected"
        lines.append(
            f"  {item.metric} {found:.1f}, {word}: {item.value:g} +- {item.tolerance:g} ({item.source})"
        )
    return lines
