"""Which recipes a command means, and what the lists say."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

import benchmark
from benchmark.data.load import load_dataset
from benchmark.data.splits import Dataset
from benchmark.errors import UserError
from benchmark.recipe import files
from benchmark.records.record import read_record
from benchmark.run import job, runs
from benchmark.run import resolve as select
from benchmark.run.runs import Run, read_run
from tests.pretend_cuda import pretended_gpu
from tests.tiny import (
    BOTH,
    ENSEMBLE,
    I2T,
    T2I,
    change_recipe,
    contents,
    rematch,
    reproduce,
    tiny_recipe,
    write_recipe,
)


def paths(runs: list[Run]) -> list[Path]:
    return [run.path for run in runs]


def test_the_device_decides_about_the_dataset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert select.pick_device(None) == torch.device("cpu")
    assert select.choose_dataset(select.pick_device(None)) == "scenes"
    with pretended_gpu():
        assert select.pick_device(None) == torch.device("cuda")
        assert select.choose_dataset(select.pick_device(None)) == "flickr30k"
        assert select.pick_device("cpu") == torch.device("cpu")
        assert select.pick_device("cuda:0") == torch.device("cuda:0")


def test_a_device_is_picked_with_determinism_before_its_first_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """`time`, `evaluate` and all other commands compute as training does: deterministic, without TF32."""
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    torch.use_deterministic_algorithms(False)
    seen: list[tuple[object, ...]] = []

    def look(_device: torch.device) -> None:
        now = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.allow_tf32
        seen.append((*now, torch.get_float32_matmul_precision(), os.environ.get("CUBLAS_WORKSPACE_CONFIG")))

    monkeypatch.setattr(select, "check_device", look)
    for command in (
        ("time", "scoring", "vse_infty", "--device", "nowhere"),
        ("time", "model", "--device", "nowhere"),
    ):
        assert "unknown device 'nowhere'" in rematch(*command).error
        assert torch.are_deterministic_algorithms_enabled()
    select.pick_device("cpu")
    assert seen == [(True, False, "highest", ":4096:8")]


@pytest.mark.usefixtures("fresh")
def test_no_gpu_is_no_reason_to_train_for_days_on_a_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "init", refuse)
    before = contents()
    error = rematch("reproduce", "hat", "flickr30k").error
    assert error == (
        "recipes/hat/flickr30k-i2t.yaml: found no GPU to train on (Found no NVIDIA driver on your system); `--device "
        "cpu` says that the processor is wanted, which takes days for a full-size recipe (`--dry-run` estimates)"
    )
    assert contents() == before
    assert select.left_over("cpu", torch.device("cpu")) is None
    assert select.left_over(None, torch.device("cuda")) is None
    runs = select.find_runs("hat", "flickr30k")
    select.check_wanted(runs, job.Settings())
    select.check_wanted(select.find_runs("hat", "scenes"), job.Settings(no_gpu="none"))


@pytest.mark.usefixtures("fresh")
def test_weights_of_a_full_size_recipe_on_a_processor_are_spoken_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "init", refuse)
    said = "note: on the processor, for want of a GPU: Found no NVIDIA driver on your system"
    command = ("evaluate", "--recipe", "recipes/hat/flickr30k-i2t.yaml")
    assert said in rematch(*command).out
    assert said not in rematch(*command, "--device", "cpu").out
    with pytest.raises(UserError, match="found no GPU to train on"):
        benchmark.reproduce("hat", "flickr30k")


def refuse() -> None:
    raise RuntimeError("Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU")


@pytest.mark.parametrize("name", ["gpu", "meta", "", "cuda:x", "cpu:one", "cuda:"])
def test_an_unknown_device_is_one_line(name: str) -> None:
    with pytest.raises(UserError) as caught:
        select.pick_device(name)
    assert "\n" not in str(caught.value)
    assert f"device '{name}'" in str(caught.value)


@pytest.mark.usefixtures("fresh")
def test_a_methods_recipes_come_with_ensembles_last() -> None:
    assert paths(select.find_runs("hat", "scenes")) == [I2T, T2I, BOTH]
    assert paths(select.find_runs("all", "scenes")) == [I2T, T2I, BOTH]
    write_recipe(Path("recipes/hat/scenes.yaml"), tiny_recipe())
    write_recipe(Path("recipes/hat/scenesque-i2t.yaml"), tiny_recipe())
    assert paths(select.find_runs("hat", "scenes")) == [I2T, T2I, Path("recipes/hat/scenes.yaml"), BOTH]
    assert paths(select.single_models("scenes")) == [I2T, T2I, Path("recipes/hat/scenes.yaml")]
    assert [path.stem for path in paths(select.find_runs("hat", "mscoco"))] == [
        "mscoco-i2t",
        "mscoco-t2i",
        "mscoco-ensemble",
    ]


@pytest.mark.usefixtures("fresh")
def test_a_path_is_taken_as_it_is() -> None:
    target = I2T.rename("where.yml")
    assert paths(select.find_runs(target.name, None)) == [target]
    with pytest.raises(
        UserError, match=r"some/where.yml: a recipe names its own dataset; leave 'scenes' out"
    ):
        select.find_runs("some/where.yml", "scenes")


def test_a_method_without_recipes_for_a_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        UserError, match="hat has no recipe for 'scenes' in recipes/; see `rematch list recipes`"
    ):
        select.find_runs("hat", "scenes")


@pytest.mark.usefixtures("fresh")
def test_seeds_and_datasets_of_ensembles_are_their_members() -> None:
    change_recipe(I2T, lambda document: document["training"].update(seed=7))
    both = read_run(BOTH)
    assert [run.seed for run in (both, *both.members)] == [7, 7, 0]
    assert [run.seed for run in (both.with_seed(3), *both.with_seed(3).members)] == [3, 3, 3]
    assert (both.dataset, both.name) == ("scenes", "hat-ensemble")
    assert read_run(Path("recipes/hat/mscoco-ensemble.yaml")).dataset == "mscoco"


@pytest.mark.usefixtures("fresh")
def test_sound_recipes_pass_the_check() -> None:
    item: dict[str, Any] = {"metric": "rsum", "value": 1, "tolerance": 1, "source": "none"}
    change_recipe(BOTH, lambda document: document.update(expected=[{"protocol": "scenes", **item}]))
    select.check_runs(list(map(read_run, (I2T, T2I, BOTH))))
    mscoco = Path("recipes/hat/mscoco-i2t.yaml")
    change_recipe(mscoco, lambda document: document.update(expected=[{"protocol": "mscoco-1k", **item}]))
    select.check_runs([read_run(mscoco)])
    change_recipe(mscoco, lambda document: document.update(expected=[{"protocol": "scenes", **item}]))
    with pytest.raises(UserError, match=r"'expected.0.protocol': found 'scenes', no protocol of its dataset"):
        select.check_runs([read_run(mscoco)])


@pytest.mark.usefixtures("fresh")
def test_an_ensembles_members_are_checked_with_it() -> None:
    change_recipe(T2I, lambda document: document["data"].update(name="scens"))
    with pytest.raises(UserError, match=rf"^{T2I.as_posix()}: unknown dataset 'scens'"):
        select.check_runs([read_run(BOTH)])
    write_recipe(
        Path("recipes/hat/scenes-self.yaml"), {**ENSEMBLE, "ensemble": ["scenes-self", "scenes-i2t"]}
    )
    with pytest.raises(UserError, match="'scenes-self' is an ensemble itself"):
        read_run(Path("recipes/hat/scenes-self.yaml"))


@pytest.mark.usefixtures("home")
def test_headlines() -> None:
    record = read_record(Path("results/runs/scenes/hat-t2i/0.json"))
    metrics = record.results["scenes"].metrics
    assert select.headline(record) == (
        f"hat-t2i on scenes: i2t R@1 {metrics.i2t.r1:.1f}, t2i R@1 {metrics.t2i.r1:.1f}, "
        f"rsum {metrics.rsum:.1f}; canonical hash {record.canonical_hash[:12]}"
    )
    assert select.expectation_lines(read_run(T2I), record) == []
    result = record.results["scenes"]
    other = record.model_copy(update={"departures": ["not verified: split 'test', images: found 1"]})
    chance = 100 / result.images
    assert select.headline(other) == (
        select.headline(record) + f"; unverified data, chance: i2t R@1 {chance:.1f}, t2i R@1 {chance:.1f}"
    )


# --------------------------------------------------------------------------------- read and loaded once

SMALL = Path("recipes/hat/profiles/small.yaml")


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (("reproduce", "hat", "scenes", "--no-tables", "--no-latency"), [I2T, T2I, BOTH]),
        (("reproduce", BOTH, "--no-tables", "--profile", "small"), [I2T, T2I, BOTH, SMALL]),
        (("reproduce", "hat", "scenes", "--dry-run"), [I2T, T2I, BOTH]),
        (("evaluate", "--recipe", I2T), [I2T]),
        (("query", BOTH, "a red circle"), [I2T, T2I, BOTH]),
        (("latency", I2T), [I2T]),
    ],
)
@pytest.mark.usefixtures("home")
def test_a_command_reads_every_file_once(
    monkeypatch: pytest.MonkeyPatch, command: tuple[object, ...], expected: list[Path]
) -> None:
    write_recipe(SMALL, {"summary": "smaller", "departures": ["smaller"], "model": {"hidden": 8}})
    read: Counter[Path] = Counter()
    validated: Counter[Path] = Counter()
    read_document, load_recipe = files.read_document, files.load_recipe

    def noted_document(path: Path) -> dict[str, Any]:
        read[path] += 1
        return read_document(path)

    def noted_recipe(path: Path, *more: Any) -> Any:
        validated[path] += 1
        return load_recipe(path, *more)

    for module in (files, runs):
        monkeypatch.setattr(module, "read_document", noted_document)
        monkeypatch.setattr(module, "load_recipe", noted_recipe)
    assert rematch(*command, *(() if command[0] == "query" else ("--device", "cpu"))).good
    assert read == Counter(expected)
    assert validated == Counter([path for path in expected if path != SMALL])


@pytest.mark.usefixtures("home")
def test_an_ensemble_loads_the_test_split_of_each_member_once(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[tuple[str, ...]] = []

    def noted(*names: Any, **options: Any) -> Dataset:
        loaded.append(options["splits"])
        return load_dataset(*names, **options)

    monkeypatch.setattr(job, "load_dataset", noted)
    assert reproduce(BOTH, "--no-tables").good
    assert loaded == [("test",), ("test",)]
