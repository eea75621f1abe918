"""Mistakes in recipes and names: one line that names the file, the field and the nearest valid name; nothing done."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.tiny import BOTH, I2T, T2I, change_recipe, contents, put, rematch, reproduce, tiny_recipe

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


@pytest.mark.parametrize("mistake", ["top level", "method"])
def test_the_list_refuses_what_shows_without_the_method(home: Path, mistake: str) -> None:
    change, message = MISTAKES[mistake]
    change_recipe(I2T, change)
    before = contents()
    error = rematch("list", "recipes").error
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
        (
            "reproduce nothing",
            "unknown method or recipe 'nothing'; valid: all, dual_encoder, dualpath, hat, rcar, sgraf, temde, user, "
            "vse_infty",
        ),
        ("reproduce hat scens", "unknown dataset 'scens'; did you mean 'scenes'?"),
        ("reproduce hat scens --dry-run", "unknown dataset 'scens'; did you mean 'scenes'?"),
        ("reproduce all flickr30", "unknown dataset 'flickr30'; did you mean 'flickr30k'?"),
        (f"reproduce {I2T} scenes", "a recipe names its own dataset; leave 'scenes' out"),
        ("list recipe", "unknown list 'recipe'; did you mean 'recipes'?"),
        ("drift hatt", "unknown method 'hatt'; did you mean 'hat'?"),
        ("drift hatt --update", "unknown method 'hatt'; did you mean 'hat'?"),
        ("drift hat", "results/reference: no reference for hat"),
        ("bench hatt", "unknown method 'hatt'; did you mean 'hat'?"),
        ("parity hatt", "did you mean 'hat'?"),
        ("parity all some.npz", "parity all takes no files"),
        ("score sims.npy --dataset flickr30", "unknown dataset 'flickr30'; did you mean 'flickr30k'?"),
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
