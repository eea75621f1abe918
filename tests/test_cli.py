"""The command: one line for a user's mistake, the right exit code, and nothing of the user's is ever lost."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer.main
import yaml

from benchmark import cli
from benchmark.errors import UserError
from tests.tiny import (
    BOTH,
    I2T,
    ROOT,
    T2I,
    Change,
    change_recipe,
    contents,
    cut_in_half,
    rematch,
    reproduce,
    tiny_recipe,
    write_recipe,
)

I2T_WORK = Path(".rematch/scenes/hat-i2t/0")
T2I_WORK = Path(".rematch/scenes/hat-t2i/0")
I2T_RECORD = Path("results/runs/scenes/hat-i2t/0.json")
COMMANDS = sorted(typer.main.get_command(cli.app).commands)  # type: ignore[attr-defined]


# ------------------------------------------------------------------------------------- the command


def test_several_values() -> None:
    def spread(text: str) -> str:
        return " ".join(cli.several_values(text.split(), "--seeds"))

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
    if command != "doctor":  # takes nothing
        assert f"rematch {command} " in text.split("Usage:")[1].split("\n", 1)[1]


def test_help_lists_the_commands() -> None:
    text = rematch("--help").good
    assert all(command in text for command in COMMANDS)
    assert {"reproduce", "evaluate", "score", "leaderboard", "list", "parity", "drift", "latency"} < set(
        COMMANDS
    )


def test_the_installed_command_is_this_one(fresh: Path) -> None:
    program = [sys.executable, "-c", "from benchmark.cli import main; main()", "list", "recipe"]
    done = subprocess.run(program, cwd=fresh, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "error: unknown list 'recipe'; did you mean 'recipes'?\n"


def test_an_error_keeps_its_brackets_and_its_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "a[red]b[/] [bold] :smile: \\[x] [0, 1] " + "long " * 100 + "end"

    def fail(**_: object) -> None:
        raise UserError(text)

    monkeypatch.setattr(cli, "app", fail)
    assert rematch("list").error == text


# ------------------------------------------------------------------------------- misspelt recipes


def put(keys: str, value: Any) -> Change:
    """Set the field at the dotted path `keys`."""

    def change(document: dict[str, Any]) -> None:
        *path, last = keys.split(".")
        place: Any = document
        for key in path:
            place = place[int(key)] if isinstance(place, list) else place.setdefault(key, {})
        place[last] = value

    return change


MISTAKES = {
    "top level": (put("sumary", "x"), "field 'sumary' is not known; did you mean 'summary'?"),
    "data": (
        put("data.captions_per_picture", 5),
        "field 'data.captions_per_picture' is not known; did you mean 'captions_per_image'?",
    ),
    "dataset": (put("data.name", "scens"), "unknown dataset 'scens'; did you mean 'scenes'?"),
    "dataset's options": (
        put("data.options.n_trian", 40),
        "field 'data.options.n_trian' is not known; did you mean 'n_train'?",
    ),
    "captions": (put("data.captions_per_image", 0), "field 'data.captions_per_image': found 0"),
    "method": (put("method", "hta"), "unknown method 'hta'; did you mean 'hat'?"),
    "training": (
        put("training.batchsize", 32),
        "field 'training.batchsize' is not known; did you mean 'batch_size'?",
    ),
    "optimizer": (
        put("training.optimizer.weightdecay", 0),
        "field 'training.optimizer.weightdecay' is not known; did you mean 'weight_decay'?",
    ),
    "schedule": (
        put("training.schedule.warmup_step", 0),
        "field 'training.schedule.cosine.warmup_step' is not known; did you mean 'warmup_steps'?",
    ),
    "stage": (
        put("training.stages.0.trainabel", ["*"]),
        "field 'training.stages.0.trainabel' is not known; did you mean 'trainable'?",
    ),
    "parameter": (
        put("training.stages.0.frozen", ["text_encoder.embedings.*"]),
        "field 'training.stages.0.frozen': 'text_encoder.embedings.*' matches no parameter",
    ),
    "model": (
        put("model.direktion", "i2t"),
        "field 'model.direktion' is not known; did you mean 'direction'?",
    ),
    "model, nested": (
        put("model.swin.embeddim", 8),
        "field 'model.swin.embeddim' is not known; did you mean 'embed_dim'?",
    ),
    "loss": (
        put("training.stages.0.loss.margn", 0.2),
        "field 'training.stages.0.loss.margn' is not known; did you mean 'margin'?",
    ),
    "value": (
        put("evaluation.tie_rule", "lower"),
        "field 'evaluation.tie_rule': found 'lower', input should be 'lower_index' or 'pessimistic'",
    ),
    "value with brackets": (
        put("training.precision", "[bold]half[/]"),
        "field 'training.precision': found '[bold]half[/]', input should be",
    ),
    "expected protocol": (
        put(
            "expected",
            [{"protocol": "scens", "metric": "rsum", "value": 1, "tolerance": 1, "source": "none"}],
        ),
        "field 'expected.0.protocol': found 'scens', no protocol of its dataset; did you mean 'scenes'?",
    ),
    "paper's variant": (
        put("paper_row.variant", "HAT (i2)"),
        "field 'paper_row.variant': results/paper/hat.yaml has no variant 'HAT (i2)'; did you mean 'HAT (i2t)'?",
    ),
    "paper's method": (
        put("paper_row.method", "hatt"),
        "no paper numbers for method 'hatt'; did you mean 'hat'?",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_misspelt_recipe_is_one_line(home: Path, mistake: str) -> None:
    change, message = MISTAKES[mistake]
    change_recipe(I2T, change)
    before = contents()
    error = reproduce(I2T).error
    assert error.startswith(f"{I2T.as_posix()}: ")
    assert message in error
    assert contents() == before, home


@pytest.mark.parametrize(
    "arguments",
    [
        ("reproduce", I2T, "--dry-run"),
        ("reproduce", "hat", "scenes"),
        ("reproduce", BOTH),
        ("evaluate", "--recipe", I2T),
        ("latency", I2T),
        ("list", "recipes"),
        ("latency",),
    ],
)
@pytest.mark.parametrize("mistake", ["top level", "model", "loss", "method"])
def test_every_command_refuses_a_misspelt_recipe(
    home: Path, arguments: tuple[object, ...], mistake: str
) -> None:
    change, message = MISTAKES[mistake]
    change_recipe(I2T, change)
    before = contents()
    error = rematch(*arguments).error
    assert error.startswith(f"{I2T.as_posix()}: ")
    assert message in error
    assert contents() == before, home


@pytest.mark.parametrize("mistake", ["dataset", "dataset's options"])
@pytest.mark.parametrize("command", ["reproduce --dry-run", "evaluate --recipe", "latency"])
def test_a_misspelt_dataset_names_the_recipe(home: Path, mistake: str, command: str) -> None:
    change, message = MISTAKES[mistake]
    change_recipe(I2T, change)
    before = contents()
    error = rematch(*command.split(), I2T).error
    assert error.startswith(f"{I2T.as_posix()}: ")
    assert message in error
    assert contents() == before, home


def test_a_second_recipe_is_checked_before_the_first_is_trained(fresh: Path) -> None:
    change_recipe(T2I, put("paper_row.variant", "HAT (t2)"))
    before = contents()
    assert T2I.as_posix() in reproduce("hat", "scenes").error
    assert contents() == before, fresh


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("summary: [1, 2", "not valid YAML: "),
        ("- a\n- b\n", "found list, expected a mapping of recipe fields"),
        ("", "found NoneType, expected a mapping of recipe fields"),
        (
            "ensembl: [scenes-i2t, scenes-t2i]\nsummary: x\n",
            "'ensembl' is not known; did you mean 'ensemble'?",
        ),
        (
            yaml.safe_dump({"ensemble": ["scenes-i2t", "scenes-t2"], "summary": "", "departures": []})
            + "paper_row: {method: hat, variant: x}\n",
            "field 'ensemble': no recipe 'scenes-t2'; did you mean 'scenes-t2i'?",
        ),
        (
            yaml.safe_dump({**tiny_recipe(), "training": None}),
            "field 'training': found None, input should be a valid",
        ),
    ],
)
def test_a_broken_recipe_is_one_line(fresh: Path, text: str, message: str) -> None:
    I2T.write_text(text, encoding="utf-8")
    before = contents()
    error = reproduce(I2T).error
    assert error.startswith(f"{I2T.as_posix()}: ")
    assert message in error
    assert contents() == before, fresh


def test_a_missing_recipe_names_the_nearest(fresh: Path) -> None:
    before = contents()
    for arguments in (
        ("reproduce", "recipes/hat/scenes-i2.yaml"),
        ("evaluate", "--recipe", "recipes/hat/scenes-i2.yaml"),
    ):
        assert (
            rematch(*arguments).error
            == "recipes/hat/scenes-i2.yaml: no such recipe; did you mean 'recipes/hat/scenes-i2t.yaml'?"
        )
    assert contents() == before, fresh


# --------------------------------------------------------------------------------- unknown names


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("reproduce hatt scenes", "unknown method or recipe 'hatt'; did you mean 'hat'?"),
        ("reproduce nothing", "unknown method or recipe 'nothing'; valid: all, hat"),
        ("reproduce hat scens", "unknown dataset 'scens'; did you mean 'scenes'?"),
        ("reproduce hat scens --dry-run", "unknown dataset 'scens'; did you mean 'scenes'?"),
        ("reproduce all flickr", "unknown dataset 'flickr'; did you mean 'flickr30k'?"),
        (f"reproduce {I2T} scenes", "a recipe names its own dataset; leave 'scenes' out"),
        ("list recipe", "unknown list 'recipe'; did you mean 'recipes'?"),
        ("drift hatt", "unknown method 'hatt'; did you mean 'hat'?"),
        ("drift hatt --update", "unknown method 'hatt'; did you mean 'hat'?"),
        ("drift hat", "results/reference: no reference for hat"),
        ("bench hatt", "unknown method 'hatt'; did you mean 'hat'?"),
        ("parity hatt", "did you mean 'hat'?"),
        ("parity all some.npz", "parity all takes no files"),
        ("score sims.npy --dataset flickr", "unknown dataset 'flickr'; did you mean 'flickr30k'?"),
        (f"reproduce {I2T} --device gpu", "unknown device 'gpu'; did you mean 'cpu'?"),
        (f"reproduce {I2T} --device meta", "unknown device 'meta'"),
        (f"reproduce {I2T} --device cuda:99", "device 'cuda:99'"),
        (f"evaluate --recipe {I2T} --device cudda", "unknown device 'cudda'; did you mean 'cuda'?"),
        (f"latency {I2T} --device cpu:x", "device 'cpu:x'"),
        (
            f"evaluate --recipe {BOTH}",
            "an ensemble has no weights of its own; name a member: scenes-i2t, scenes-t2i",
        ),
        (f"latency {BOTH}", "an ensemble has no weights of its own; name a member: scenes-i2t, scenes-t2i"),
        (f"reproduce {I2T} --data-dir data", "scenes is made by code and reads no folder"),
        (
            f"evaluate --recipe {I2T} --checkpoint a.safetensors --official-checkpoint b.ckpt",
            "options '--checkpoint' and '--official-checkpoint': give one of them",
        ),
        (f"evaluate --recipe {I2T} --checkpoint none.safetensors", "none.safetensors: no such weights file"),
        (f"evaluate --recipe {I2T} --official-checkpoint none.ckpt", "none.ckpt"),
        (f"evaluate --recipe {I2T}", ".rematch/scenes/hat-i2t/0/best.safetensors: no such weights file"),
    ],
)
def test_an_unknown_name_is_one_line(fresh: Path, arguments: str, message: str) -> None:
    before = contents()
    assert message in rematch(*arguments.split()).error
    assert contents() == before, fresh


def test_the_published_data_without_a_network(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(fresh / "cache"))
    before = contents()
    error = reproduce("hat", "flickr30k").error
    assert "is not in the Hugging Face cache and HF_HUB_OFFLINE is set: go online" in error
    assert contents() == before


# -------------------------------------------------------------------------------- damaged files


def refused(*arguments: object) -> str:
    """The error of a command that must leave every file as it was."""
    before = contents()
    error = rematch(*arguments).error
    assert contents() == before
    return error


RESUME = ("reproduce", I2T, "--resume", "--no-latency", "--no-progress")


def test_a_truncated_checkpoint(home: Path) -> None:
    cut_in_half(I2T_WORK / "checkpoint.pt")
    error = refused(*RESUME)
    assert error.startswith(".rematch/scenes/hat-i2t/0/checkpoint.pt: not a readable checkpoint (")
    assert error.endswith("truncated or damaged); train anew without --resume")
    assert reproduce(I2T).good, home  # the advice works
    assert (I2T_WORK / "previous/checkpoint.pt").is_file()


def test_a_checkpoint_of_another_method(home: Path) -> None:
    path = I2T_WORK / "checkpoint.pt"
    state = torch.load(path, weights_only=True)
    state["recipe"] = json.dumps({**json.loads(state["recipe"]), "method": "toy"})
    torch.save(state, path)
    assert "found a checkpoint of method 'toy', expected 'hat'" in refused(*RESUME), home


def test_a_checkpoint_of_another_recipe(home: Path) -> None:
    (I2T_WORK / "checkpoint.pt").write_bytes((T2I_WORK / "checkpoint.pt").read_bytes())
    error = refused(*RESUME)
    assert 'the checkpoint was made with another recipe (model.direction: "t2i", now "i2t"; ' in error, home


def test_a_checkpoint_of_an_earlier_version_of_the_recipe(home: Path) -> None:
    change_recipe(I2T, put("training.optimizer.lr", 0.01))
    error = refused(*RESUME)
    assert "the checkpoint was made with another recipe (training.optimizer.lr: 0.001, now 0.01)" in error, (
        home
    )


def test_truncated_weights(home: Path) -> None:
    path = I2T_WORK / "best.safetensors"
    cut_in_half(path)
    for arguments in (("evaluate", "--recipe", I2T), RESUME, ("latency", I2T)):
        assert refused(*arguments).startswith(f"{path.as_posix()}: not a complete safetensors file ("), home


def test_weights_of_another_model(home: Path) -> None:
    document = tiny_recipe()
    document["model"]["text_layers"] = [1, 1, 2]
    document["model"]["bert"]["layers"] = 2
    other = write_recipe(Path("recipes/hat/scenes-deep.yaml"), document)
    error = refused("evaluate", "--recipe", other, "--checkpoint", I2T_WORK / "best.safetensors")
    assert "weights of another model: 16 missing (first 'text_encoder.encoder.layer.1." in error, home


def test_weights_of_another_recipe_are_remarked_on(home: Path) -> None:
    weights = T2I_WORK / "best.safetensors"
    said = rematch("evaluate", "--recipe", I2T, "--checkpoint", weights, "--no-progress").good
    assert "were not trained with this recipe as it is now" in said, home
    said = rematch("evaluate", "--recipe", T2I, "--checkpoint", weights, "--no-progress").good
    assert "were not trained with this recipe as it is now" not in said


def test_no_safetensors_at_all(home: Path) -> None:
    Path("weights.safetensors").write_text("[not] weights")
    error = refused("evaluate", "--recipe", I2T, "--checkpoint", "weights.safetensors")
    assert error.startswith("weights.safetensors: not a complete safetensors file ("), home


@pytest.mark.parametrize(
    "arguments",
    [
        ("leaderboard",),
        ("leaderboard", "--check"),
        ("list", "runs"),
        ("list",),
        ("reproduce", BOTH),
        ("drift", "--update"),
    ],
)
def test_a_half_written_record(home: Path, arguments: tuple[object, ...]) -> None:
    cut_in_half(I2T_RECORD)
    error = refused(*arguments)
    assert error.startswith(f"{I2T_RECORD.as_posix()}: not a complete JSON document ("), home
    assert error.endswith("delete it and run again")


def test_a_record_that_was_edited(home: Path) -> None:
    I2T_RECORD.write_text(I2T_RECORD.read_text().replace('"r1": ', '"r1": 1', 1))
    assert refused("leaderboard").startswith(f"{I2T_RECORD.as_posix()}: "), home


def test_another_runs_record_does_not_stop_a_training(home: Path) -> None:
    cut_in_half(I2T_RECORD)
    assert reproduce(T2I, "--no-tables").good, home


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
    assert (stale.code, stale.out) == (
        1,
        "out of date: results/tables/scenes.md; run `rematch leaderboard`\n",
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
    assert "2,000 / 200 / 400" in rematch("list", "datasets").good
    assert "29,000 / 1,014 / 1,000" in rematch("list", "datasets").good
    runs = rematch("list", "runs").good
    rsum = json.loads(I2T_RECORD.read_text())["results"]["scenes"]["metrics"]["rsum"]
    assert f"{rsum:.1f}" in runs
    assert "hat" not in rematch("list", "datasets").good


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
