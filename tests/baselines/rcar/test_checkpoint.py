"""The authors' checkpoint: every key has its place, nothing in the file runs, wrong files are one-line errors."""

from __future__ import annotations

import argparse
import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from baselines.rcar.checkpoint import PARTS, our_key, read_official
from baselines.rcar.model import RCAR, RCARConfig
from benchmark.errors import UserError
from benchmark.method import DataFacts
from tests.baselines.rcar.models import tiny_rcar

NORM = ("weight", "bias", "running_mean", "running_var")
ENCODERS: dict[str, tuple[int, ...]] = {
    "img_enc.fc.weight": (1024, 2048),
    "img_enc.fc.bias": (1024,),
    "img_enc.mlp.layers.0.weight": (512, 2048),
    "img_enc.mlp.layers.0.bias": (512,),
    "img_enc.mlp.layers.1.weight": (1024, 512),
    "img_enc.mlp.layers.1.bias": (1024,),
    **{f"img_enc.mlp.bns.0.{kind}": (512,) for kind in NORM},
    **{f"img_enc.mlp.bns.1.{kind}": (1024,) for kind in NORM},
    **{f"img_enc.mlp.bns.{k}.num_batches_tracked": () for k in (0, 1)},
    "txt_enc.embed.weight": (8482, 300),
    **{f"txt_enc.rnn.weight_ih_l0{way}": (3072, 300) for way in ("", "_reverse")},
    **{f"txt_enc.rnn.weight_hh_l0{way}": (3072, 1024) for way in ("", "_reverse")},
    **{f"txt_enc.rnn.bias_{kind}_l0{way}": (3072,) for kind in ("ih", "hh") for way in ("", "_reverse")},
    "sim_enc.sim_eval_w.weight": (1, 256),
    "sim_enc.sim_eval_w.bias": (1,),
}
STEPS: dict[str, dict[str, tuple[int, ...]]] = {
    "rar": {"rar_q_w.0": (256, 256), "rar_k_w.0": (256, 256), "rar_v_w.0": (1, 256)},
    "rcr": {
        "rcr_smooth_w.0": (128, 256),
        "rcr_smooth_w.2": (1, 128),
        "rcr_matrix_w.0": (512, 256),
        "rcr_matrix_w.2": (1024, 512),
    },
    "alv": {"sim_transform_w": (256, 1024)},
}
"""The table of rcar.md 8, for Flickr30K; how many of each kind is in the table of rcar.md 3.7."""
COUNTS = [
    ("none", 1, 0, 0, 0),
    ("rar", 3, 1, 0, 3),
    ("rcr", 2, 2, 2, 0),
    ("rcar", 2, 2, 1, 2),
    ("rcar", 1, 1, 0, 1),
]


def published_shapes(alignments: int, correspondences: int, aggregations: int) -> dict[str, tuple[int, ...]]:
    shapes = dict(ENCODERS)
    for kind, count in (("alv", alignments), ("rcr", correspondences), ("rar", aggregations)):
        for k in range(count):
            for layer, shape in STEPS[kind].items():
                shapes[f"sim_enc.{kind}_modules.{k}.{layer}.weight"] = shape
                shapes[f"sim_enc.{kind}_modules.{k}.{layer}.bias"] = shape[:1]
    return shapes


def official_entries(model: RCAR) -> dict[str, Tensor]:
    """The weights of `model` under the authors' names."""
    names = {our_key(key): key for key in published_shapes(4, 4, 4)}
    return {names[name]: tensor for name, tensor in model.state_dict().items()}


def save_checkpoint(path: Path, entries: dict[str, Tensor], **more: Any) -> Path:
    """A file as the published training script writes it."""
    state = OrderedDict((f"module.{key}", value) for key, value in entries.items())
    options = argparse.Namespace(data_name="f30k_precomp", attn_type="t2i", margin=0.2, vocab_size=8482)
    torch.save(
        {"epoch": 27, "model": state, "best_rsum": 492.1, "opt": options, "Eiters": 30591, **more}, path
    )
    return path


def one_line_error(path: Path, model: RCAR) -> str:
    with pytest.raises(UserError) as caught:
        read_official(path, model)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize(("regulator", "steps", "alv", "rcr", "rar"), COUNTS)
def test_every_published_key_has_its_place(
    regulator: str, steps: int, alv: int, rcr: int, rar: int, tmp_path: Path
) -> None:
    config = RCARConfig.model_validate({"direction": "t2i", "regulator": regulator, "steps": steps})
    with torch.device("meta"):
        model = RCAR(config, DataFacts(vocab_size=8482))
    entries = {
        key: torch.zeros((), dtype=torch.int64 if key.endswith("tracked") else torch.float32).expand(shape)
        for key, shape in published_shapes(alv, rcr, rar).items()
    }
    weights = read_official(save_checkpoint(tmp_path / "model_best.pth", entries), model)
    assert (weights.missing, weights.unexpected, weights.dropped) == ([], [], [])
    assert {name: tensor.shape for name, tensor in weights.state.items()} == {
        name: tensor.shape for name, tensor in model.state_dict().items()
    }


@pytest.mark.parametrize("form", ["published", "no prefix", "bare", "list", "list with prefix"])
def test_weights_arrive_bit_for_bit_in_every_form(form: str, tmp_path: Path) -> None:
    source, target = tiny_rcar("i2t", "rcar", 3, seed=1), tiny_rcar("i2t", "rcar", 3, seed=2)
    entries, path = official_entries(source), tmp_path / "x.pth"
    prefix = "module." if form == "list with prefix" else ""
    parts = [
        OrderedDict(
            (prefix + key.removeprefix(f"{part}."), v) for key, v in entries.items() if key.startswith(part)
        )
        for part in PARTS
    ]
    if form == "published":
        save_checkpoint(path, entries)
    else:
        torch.save({"no prefix": {"model": entries}, "bare": entries}.get(form, {"model": parts}), path)
    weights = read_official(path, target)
    assert (weights.missing, weights.unexpected) == ([], [])
    target.load_state_dict(weights.state)
    for name, tensor in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], tensor), name


class Evil:
    """Runs a command when an ordinary unpickler reads it."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.victim}",)


def test_nothing_in_the_file_runs(tmp_path: Path) -> None:
    model, victim = tiny_rcar("t2i", "rar", 1), tmp_path / "ran"
    path = save_checkpoint(tmp_path / "x.pth", official_entries(model), opt=Evil(victim))
    assert read_official(path, model).missing == []
    assert not victim.exists()


def test_report_names_what_is_missing_and_what_is_left_over(tmp_path: Path) -> None:
    model = tiny_rcar("t2i", "rcar", 2)
    entries = official_entries(model)
    del entries["sim_enc.rar_modules.1.rar_q_w.0.bias"], entries["img_enc.fc.bias"]
    entries["img_enc.cnn.weight"] = torch.zeros(3)
    weights = read_official(save_checkpoint(tmp_path / "x.pth", entries), model)
    assert sorted(weights.missing) == ["aggregations.1.query.bias", "image_encoder.projection.bias"]
    assert weights.unexpected == ["img_enc.cnn.weight"]


@pytest.mark.parametrize(
    ("saved", "wanted", "words"),
    [
        (("none", 1), ("rcar", 2), ("found a checkpoint of BASELINE", "model is RCAR with 2 steps")),
        (("rcar", 2), ("none", 1), ("RCAR with 2 steps", "model is BASELINE")),
        (("rcr", 2), ("rcr", 3), ("RCR with 2 steps", "RCR with 3 steps")),
        (("rar", 3), ("rcar", 3), ("RAR with 3 steps", "RCAR with 3 steps")),
    ],
)
def test_another_setting_is_named(
    saved: tuple[str, int], wanted: tuple[str, int], words: tuple[str, str], tmp_path: Path
) -> None:
    path = save_checkpoint(tmp_path / "x.pth", official_entries(tiny_rcar("t2i", *saved)))
    message = one_line_error(path, tiny_rcar("t2i", *wanted))
    assert all(word in message for word in words), message


def test_another_size_or_vocabulary_is_named(tmp_path: Path) -> None:
    model, path = tiny_rcar("t2i", "rcar", 2), tmp_path / "x.pth"
    entries = official_entries(model)
    save_checkpoint(path, official_entries(tiny_rcar("t2i", "rcar", 2, dim=12)))
    assert "other sizes" in one_line_error(path, model)
    entries["txt_enc.embed.weight"] = torch.zeros(8482, 10)
    message = one_line_error(save_checkpoint(path, entries), model)
    assert "8482 entries with <mask>" in message


def test_other_files_are_one_line_errors(tmp_path: Path) -> None:
    model, path = tiny_rcar("t2i", "rcar", 2), tmp_path / "x.pth"
    assert "no such checkpoint" in one_line_error(path, model)
    save_checkpoint(path, official_entries(model))
    path.write_bytes(path.read_bytes()[:-30])
    one_line_error(path, model)
    torch.save({"model": [OrderedDict(), OrderedDict()]}, path)
    assert "found a list of 2" in one_line_error(path, model)
    torch.save({"model": 3}, path)
    assert "found int" in one_line_error(path, model)
    torch.save({"state_dict": {"x": torch.zeros(2)}}, path)
    assert "not an RCAR checkpoint: 0 of the" in one_line_error(path, model)
