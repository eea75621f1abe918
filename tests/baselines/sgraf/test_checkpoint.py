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

from baselines.sgraf.checkpoint import PARTS, our_key, read_official
from baselines.sgraf.model import SGRAF, SGRAFConfig
from benchmark.errors import UserError
from benchmark.method import DataFacts
from tests.baselines.sgraf.models import tiny_sgraf

PUBLISHED: dict[str, tuple[int, ...]] = {
    "img_enc.fc.weight": (1024, 2048),
    "img_enc.fc.bias": (1024,),
    "txt_enc.embed.weight": (8481, 300),
    **{f"txt_enc.cap_rnn.weight_ih_l0{way}": (3072, 300) for way in ("", "_reverse")},
    **{f"txt_enc.cap_rnn.weight_hh_l0{way}": (3072, 1024) for way in ("", "_reverse")},
    **{f"txt_enc.cap_rnn.bias_{kind}_l0{way}": (3072,) for kind in ("ih", "hh") for way in ("", "_reverse")},
    **{
        f"sim_enc.{pooling}_global_w.embedding_{branch}.0.{kind}": shape
        for pooling in "vt"
        for branch, width in (("local", 1024), ("global", 1024), ("common", 1))
        for kind, shape in (("weight", (width, 1024)), ("bias", (width,)))
    },
    **{
        f"sim_enc.v_global_w.embedding_{branch}.1.{kind}": shape
        for branch, width in (("local", 36), ("global", 1024))
        for kind, shape in (
            *((kind, (width,)) for kind in ("weight", "bias", "running_mean", "running_var")),
            ("num_batches_tracked", ()),
        )
    },
    "sim_enc.sim_tranloc_w.weight": (256, 1024),
    "sim_enc.sim_tranloc_w.bias": (256,),
    "sim_enc.sim_tranglo_w.weight": (256, 1024),
    "sim_enc.sim_tranglo_w.bias": (256,),
    "sim_enc.sim_eval_w.weight": (1, 256),
    "sim_enc.sim_eval_w.bias": (1,),
}
HEADS: dict[str, dict[str, tuple[int, ...]]] = {
    "SAF": {
        "sim_enc.SAF_module.attn_sim_w.weight": (1, 256),
        "sim_enc.SAF_module.attn_sim_w.bias": (1,),
        **{
            f"sim_enc.SAF_module.bn.{kind}": (1,)
            for kind in ("weight", "bias", "running_mean", "running_var")
        },
        "sim_enc.SAF_module.bn.num_batches_tracked": (),
    },
    "SGR": {
        f"sim_enc.SGR_module.{k}.{layer}.{kind}": shape
        for k in range(3)
        for layer in ("graph_query_w", "graph_key_w", "sim_graph_w")
        for kind, shape in (("weight", (256, 256)), ("bias", (256,)))
    },
}
"""The table of sgraf.md 8, for Flickr30K."""


def full_size(module: str) -> SGRAF:
    with torch.device("meta"):
        return SGRAF(SGRAFConfig.model_validate({"module": module}), DataFacts(vocab_size=8481))


def published_entries(module: str) -> dict[str, Tensor]:
    """The real model's entries as views of a single zero."""
    return {
        key: torch.zeros((), dtype=torch.int64 if key.endswith("tracked") else torch.float32).expand(shape)
        for key, shape in {**PUBLISHED, **HEADS[module]}.items()
    }


def official_entries(model: SGRAF) -> dict[str, Tensor]:
    """The weights of `model` under the authors' names."""
    names = {our_key(key): key for module in HEADS for key in {**PUBLISHED, **HEADS[module]}}
    return {names[name]: tensor for name, tensor in model.state_dict().items()}


def save_checkpoint(path: Path, entries: dict[str, Tensor], **more: Any) -> Path:
    """A file as the published training script writes it."""
    parts = [
        OrderedDict(
            (key.removeprefix(f"{part}."), value) for key, value in entries.items() if key.startswith(part)
        )
        for part in PARTS
    ]
    options = argparse.Namespace(data_name="f30k_precomp", module_name="SAF", margin=0.2)
    torch.save(
        {"epoch": 27, "model": parts, "best_rsum": 492.1, "opt": options, "Eiters": 30591, **more}, path
    )
    return path


def one_line_error(path: Path, model: SGRAF) -> str:
    with pytest.raises(UserError) as caught:
        read_official(path, model)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("module", ["SAF", "SGR"])
def test_every_published_key_has_its_place(module: str, tmp_path: Path) -> None:
    model = full_size(module)
    weights = read_official(
        save_checkpoint(tmp_path / "model_best.pth.tar", published_entries(module)), model
    )
    assert (weights.missing, weights.unexpected, weights.dropped) == ([], [], [])
    assert {name: tensor.shape for name, tensor in weights.state.items()} == {
        name: tensor.shape for name, tensor in model.state_dict().items()
    }


@pytest.mark.parametrize("module", ["SAF", "SGR"])
def test_weights_arrive_bit_for_bit(module: str, tmp_path: Path) -> None:
    source, target = tiny_sgraf(module, seed=1), tiny_sgraf(module, seed=2)
    weights = read_official(save_checkpoint(tmp_path / "x.pth.tar", official_entries(source)), target)
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
    model, victim = tiny_sgraf("SAF"), tmp_path / "ran"
    path = save_checkpoint(tmp_path / "x.pth.tar", official_entries(model), opt=Evil(victim))
    assert read_official(path, model).missing == []
    assert not victim.exists()


def test_report_names_what_is_missing_and_what_is_left_over(tmp_path: Path) -> None:
    model = tiny_sgraf("SGR")
    entries = official_entries(model)
    del entries["sim_enc.SGR_module.1.sim_graph_w.bias"], entries["img_enc.fc.bias"]
    entries["img_enc.cnn.weight"] = torch.zeros(3)
    weights = read_official(save_checkpoint(tmp_path / "x.pth.tar", entries), model)
    assert sorted(weights.missing) == ["head.steps.1.graph.bias", "image_encoder.projection.bias"]
    assert weights.unexpected == ["img_enc.cnn.weight"]


@pytest.mark.parametrize(
    ("saved", "wanted", "words"),
    [
        (("SAF", {}), ("SGR", {}), ("found a checkpoint of SAF", "SGR with 3 steps")),
        (("SGR", {}), ("SAF", {}), ("SGR with 3 steps", "model is SAF")),
        (("SGR", {"sgr_steps": 2}), ("SGR", {}), ("SGR with 2 steps", "model is SGR with 3 steps")),
        (("SAF", {"dim": 12}), ("SAF", {}), ("(36, 10)", "(48, 10)", "other sizes")),
        (("SAF", {"regions": 5}), ("SAF", {}), ("embedding_local.1", "(5,)", "(6,)")),
    ],
)
def test_another_module_or_size_is_named(
    saved: tuple[str, dict[str, Any]],
    wanted: tuple[str, dict[str, Any]],
    words: tuple[str, ...],
    tmp_path: Path,
) -> None:
    path = save_checkpoint(tmp_path / "x.pth.tar", official_entries(tiny_sgraf(saved[0], **saved[1])))
    message = one_line_error(path, tiny_sgraf(wanted[0], **wanted[1]))
    assert all(word in message for word in words), message


def test_another_vocabulary_is_named(tmp_path: Path) -> None:
    model = tiny_sgraf("SAF")
    entries = official_entries(model)
    entries["txt_enc.embed.weight"] = torch.zeros(8481, 10)
    message = one_line_error(save_checkpoint(tmp_path / "x.pth.tar", entries), model)
    assert "vocabulary" in message
    assert "8481 entries" in message


def test_other_files_are_one_line_errors(tmp_path: Path) -> None:
    model, path = tiny_sgraf("SAF"), tmp_path / "x.pth.tar"
    assert "no such checkpoint" in one_line_error(path, model)
    save_checkpoint(path, official_entries(model))
    path.write_bytes(path.read_bytes()[:-30])
    assert "complete" in one_line_error(path, model)
    torch.save({"model": [OrderedDict(), OrderedDict()]}, path)
    assert "found 2 parts" in one_line_error(path, model)
    torch.save({"state_dict": {"x": torch.zeros(2)}}, path)
    assert "found NoneType" in one_line_error(path, model)
    torch.save({"model": [{"a": torch.zeros(1)}, {"b": torch.zeros(1)}, {"c": torch.zeros(1)}]}, path)
    assert "not an SGRAF checkpoint: 0 of the" in one_line_error(path, model)
