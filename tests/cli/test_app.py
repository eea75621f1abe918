"""The command: what it prints, how it ends, its tables and lists, and matrices from elsewhere."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer.main

from benchmark.cli import command as cli
from benchmark.cli.options import several_values
from benchmark.errors import UserError
from tests.paths import ROOT
from tests.tiny import BOTH, I2T, contents, cut_in_half, refused, rematch, reproduce

I2T_WORK = Path(".rematch/scenes/hat-i2t/0")
I2T_RECORD = Path("results/runs/scenes/hat-i2t/0.json")
REGISTERED = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]
COMMANDS = sorted(name for name, command in REGISTERED.items() if not command.hidden)
FORMER = {"latency": "time model", "bench": "time scoring"}
"""Names of version 0.1 that still work, and what they are called now."""


# ------------------------------------------------------------------------------------- the command


def test_several_values() -> None:
    def spread(text: str) -> str:
        return " ".join(several_values(text.split(), "--seeds"))

    assert spread("reproduce hat --seeds 0 1 2") == "reproduce hat --seeds 0 --seeds 1 --seeds 2"
    assert spread("--seeds 3 hat --resume") == "--seeds 3 hat --resume"
    assert spread("--seeds 0 1 hat 5 --seeds 7") == "--seeds 0 --seeds 1 hat 5 --seeds 7"
    assert spread("--seeds=0 1 2 hat") == "--seeds=0 --seeds 1 --seeds 2 hat"
    assert spread("score 1 2") == "score 1 2"
    assert spread("--seeds -1 4") == "--seeds -1 --seeds 4"
    assert spread("--seeds") == "--seeds"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    text = rematch(command, "--help").good
    assert f"Usage: rematch {command}" in text
    assert "--help" in text
    if command not in ("data", "time"):  # these have commands of their own
        assert f"rematch {command} " in text.split("Usage:")[1].split("\n", 1)[1]


def test_help_lists_the_commands() -> None:
    text = rematch("--help").good
    assert all(command in text for command in COMMANDS)
    assert {"reproduce", "evaluate", "score", "leaderboard", "list", "parity", "drift", "time"} < set(
        COMMANDS
    )


@pytest.mark.parametrize("former", FORMER)
def test_former_names_still_work(former: str) -> None:
    assert former not in COMMANDS
    old, new = rematch(former, "--help").good, rematch(*FORMER[former].split(), "--help").good
    assert old.split("\n\n")[1:] == new.split("\n\n")[1:]


def test_the_installed_command_is_this_one(fresh: Path) -> None:
    code = "from benchmark.cli import main; main()"
    program = [sys.executable, "-c", code, "score", "sims.npy", "--dataset", "scens"]  # needs no torch
    done = subprocess.run(program, cwd=fresh, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "error: unknown dataset 'scens'; did you mean 'scenes'?\n"


def test_an_error_keeps_its_brackets_and_its_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "a[red]b[/] [bold] :smile: \\[x] [0, 1] " + "long " * 100 + "end"

    def fail(**_: object) -> None:
        raise UserError(text)

    monkeypatch.setattr(cli, "app", fail)
    assert rematch("list").error == text


def test_the_published_data_without_a_network(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(fresh / "cache"))
    before = contents()
    error = reproduce("hat", "flickr30k").error
    assert "is not in the Hugging Face cache and HF_HUB_OFFLINE is set: go online" in error
    assert contents() == before


# ------------------------------------------------------------------------------------------ score


def test_score(home: Path) -> None:
    outcome = rematch("score", I2T_WORK / "sims.npy", "--dataset", "scenes")
    record = json.loads(I2T_RECORD.read_text())["results"]["scenes"]
    assert f"{record['metrics']['rsum']:.1f} [" in outcome.good, home
    assert f"{record['metrics']['t2i']['r5']:.1f} [" in outcome.good
    line = outcome.good.splitlines()[-1]
    for part in (
        "dataset:scenes",
        "images:16",
        "captions:80",
        "folds:1",
        "ties:lower_index",
        "precision:float32",
    ):
        assert part in line.split("|")


def scores(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).standard_normal(shape)


BAD = scores(4, 20)
BAD[2, 3] = np.nan


@pytest.mark.parametrize(
    ("matrix", "dataset", "message"),
    [
        (BAD, "scenes", "sims.npy: "),
        (scores(20, 4), "scenes", "transpose it (scores.T)"),
        (scores(4, 21), "scenes", "found scores of shape (4, 21), expected (n, 5n) for scenes"),
        (scores(20), "scenes", "sims.npy: "),
        (
            scores(4, 20),
            "flickr30k",
            "found scores of shape (4, 20), expected (1000, 5000)|found scores of 4 images",
        ),
        (scores(4, 20).astype(str), "scenes", "sims.npy: "),
        (np.array([{"a": 1}], dtype=object), "scenes", "sims.npy: not a readable .npy file"),
    ],
)
def test_a_bad_matrix_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, matrix: np.ndarray[Any, Any], dataset: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("sims.npy", matrix)
    error = refused("score", "sims.npy", "--dataset", dataset)
    assert error.startswith("sims.npy: ")
    assert any(part in error for part in message.split("|")), error


def test_no_matrix_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("sims.npy", scores(4, 20))
    assert (
        refused("score", "sim.npy", "--dataset", "scenes")
        == "sim.npy: no such file; did you mean 'sims.npy'?"
    )
    assert "protocol 'flickr30k' is not one of dataset 'scenes'; valid: scenes" in refused(
        "score", "sims.npy", "--dataset", "scenes", "--protocol", "flickr30k"
    )
    cut_in_half(Path("sims.npy"))
    assert refused("score", "sims.npy", "--dataset", "scenes").startswith(
        "sims.npy: not a readable .npy file: "
    )
    Path("sims.npy").write_text("[bold]text[/]")
    assert refused("score", "sims.npy", "--dataset", "scenes").startswith(
        "sims.npy: not a readable .npy file: "
    )


# ------------------------------------------------------------------------------- tables and lists


def test_tables_are_checked_and_made_the_same_twice(home: Path) -> None:
    first = contents(Path("results/tables"))
    assert {"scenes.md", "scenes.csv", "scenes.tex"} <= first.keys()
    assert rematch("leaderboard", "--check").code == 0
    assert rematch("leaderboard").code == 0
    assert contents(Path("results/tables")) == first
    table = Path("results/tables/scenes.md")
    table.write_text(table.read_text() + "\n")
    stale = rematch("leaderboard", "--check")
    assert (stale.code, "results/tables/scenes.md" in stale.out) == (1, True)
    stale = rematch("leaderboard", "--check", "--format", "json")
    (sheet,) = json.loads(stale.out)
    assert (sheet["passed"], sheet["rows"]) == (
        False,
        [{"file": "results/tables/scenes.md", "state": "out of date"}],
    )
    assert rematch("leaderboard").code == 0
    assert contents(Path("results/tables")) == first, home


def test_a_missing_table_and_a_new_run_are_out_of_date(home: Path) -> None:
    Path("results/tables/scenes.csv").unlink()
    assert rematch("leaderboard", "--check").code == 1
    assert not Path("results/tables/scenes.csv").exists(), home
    assert rematch("leaderboard").code == 0
    I2T_RECORD.unlink()
    assert rematch("leaderboard", "--check").code == 1


def test_list_shows_what_there_is(home: Path) -> None:
    text = rematch("list").good
    for part in ("hat", "flickr30k", "mscoco-1k, mscoco-5k", I2T.as_posix(), BOTH.as_posix(), "hat-ensemble"):
        assert part in text, home
    (datasets,) = json.loads(rematch("list", "datasets", "--format", "json").good)
    sizes = {row["dataset"]: (row["train"], row["val"], row["test"]) for row in datasets["rows"]}
    assert sizes["scenes"] == (2000, 200, 400)
    assert sizes["flickr30k"] == (29_000, 1_014, 1_000)
    runs = rematch("list", "runs").good
    rsum = json.loads(I2T_RECORD.read_text())["results"]["scenes"]["metrics"]["rsum"]
    assert f"{rsum:.1f}" in runs
    assert "hat" not in rematch("list", "datasets").good


def test_lists_are_narrowed_and_written(home: Path) -> None:
    (recipes,) = json.loads(
        rematch("list", "recipes", "hat", "--dataset", "flickr30k", "--format", "json").good
    )
    names = [row["recipe"] for row in recipes["rows"]]
    assert names, home
    assert all(name.startswith("recipes/hat/flickr30k-") for name in names)
    assert rematch("list", "runs", "--format", "csv", "--output", "runs.csv").good == "wrote runs.csv\n"
    rows = {
        (row["run"], row["seed"]): row
        for row in csv.DictReader(Path("runs.csv").read_text(encoding="utf-8").splitlines())
    }
    record = json.loads(I2T_RECORD.read_text())
    row = rows[record["run"], str(record["seed"])]
    assert float(row["t2i_r5"]) == record["results"]["scenes"]["metrics"]["t2i"]["r5"]
    assert row["canonical_hash"] == record["canonical_hash"]
    assert "| hat " in rematch("list", "methods", "hat", "--format", "markdown").good
    assert "unknown method 'hatt'; did you mean 'hat'?" in rematch("list", "runs", "hatt").error
    assert "unknown dataset 'scens'" in rematch("list", "runs", "--dataset", "scens").error


@pytest.mark.parametrize("form", ["json", "csv", "markdown"])
def test_scores_and_the_leaderboard_in_every_format(home: Path, form: str) -> None:
    record = json.loads(I2T_RECORD.read_text())["results"]["scenes"]["metrics"]
    command = ("score", I2T_WORK / "sims.npy", "--dataset", "scenes")
    rsum = f"{record['rsum']:.1f}" if form == "markdown" else f"{record['rsum']:.6f}".rstrip("0")[:6]
    for said in (rematch(*command, "--format", form).good, rematch("leaderboard", "--format", form).out):
        assert rsum in said, home
    if form == "json":
        (scores,) = json.loads(rematch(*command, "--format", form).good)
        both = next(row for row in scores["rows"] if row["direction"] == "both")
        assert both["rsum"] == pytest.approx(record["rsum"])
        assert both["rsum_low"] <= both["rsum"] <= both["rsum_high"]


def test_latency_says_which_weights_it_timed(home: Path) -> None:
    said = rematch("latency", I2T).good
    assert f"{I2T.as_posix()}, weights of the last training" in said
    assert "score query t2i" in said
    assert "p95" in said
    before = contents(Path("results"))
    (I2T_WORK / "best.safetensors").unlink()
    assert "weights random (not trained yet)" in rematch("latency", I2T).good
    assert contents(Path("results")) == before, home


def test_parity_fails_with_one_and_prints_what_failed(fresh: Path) -> None:
    golden = ROOT / "tests/golden/evaluation/tiny_2x10.npz"
    assert rematch("parity", "evaluation", golden).code == 0
    with np.load(golden) as archive:
        arrays = dict(archive)
    name = next(name for name in arrays if "rsum" in name)
    arrays[name] = arrays[name] + 1
    np.savez("perturbed.npz", **arrays)
    assert rematch("parity", "evaluation", "perturbed.npz").code == 1, fresh


def test_an_assumed_caption_map_is_said_and_byte_order_is_no_precision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("sims.npy", scores(4, 20).astype(">f4"))
    np.save("map.npy", np.repeat(np.arange(4), [4, 6, 5, 5]))
    assumed = rematch("score", "sims.npy", "--dataset", "scenes").out
    given = rematch("score", "sims.npy", "--dataset", "scenes", "--caption-map", "map.npy").out
    assert "no --caption-map" in assumed
    assert "--caption-map" not in given
    assert "precision:float32" in assumed
    assert "precision:float32" in given
