"""The authors' checkpoint: every key has its place, nothing in the file runs, wrong files are one-line errors."""

from __future__ import annotations

import builtins
import collections
import json
import os
import pickle
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from baselines.hat import METHOD
from baselines.hat.checkpoint import our_key, read_official, translate
from baselines.hat.checks.parity import official_key
from baselines.hat.model import HAT, HATConfig
from benchmark.errors import UserError
from benchmark.method import DataFacts
from benchmark.torch_files.archive import LazyTensor, TorchZip
from tests.baselines.hat.models import tiny_hat

MANIFEST = Path("tests/golden/hat/state_dict_manifest.json")


@pytest.fixture(scope="module")
def full_size() -> HAT:
    with torch.device("meta"):
        return HAT(HATConfig(direction="i2t"), DataFacts(vocab_size=30522))


def manifest_tensors() -> dict[str, Tensor]:
    """The real model's entries as views of a single zero."""
    manifest = json.loads(MANIFEST.read_text(encoding="utf-8"))
    return {
        key: torch.zeros((), dtype=getattr(torch, dtype)).expand(shape)
        for key, (shape, dtype, _) in manifest.items()
    }


def official_state(model: HAT) -> dict[str, Tensor]:
    """The weights of `model` under the authors' names, with two of their buffers."""
    state = {official_key(name): tensor for name, tensor in model.state_dict().items()}
    state["vit_model.layers.0.blocks.0.attn.relative_position_index"] = torch.zeros(4, 4, dtype=torch.int64)
    state["vit_model.layers.2.blocks.1.attn_mask"] = torch.zeros(4, 4, 4)
    return state


def one_line_error(path: Path, model: HAT) -> str:
    with pytest.raises(UserError) as caught:
        read_official(path, model)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


class Settings(dict[str, Any]):
    """A configuration container of a class that the reader does not know, as trainers pickle them."""


class Sequence(list[Any]):
    """Likewise for lists."""


def save_lightning(path: Path, state: dict[str, Tensor], **more: Any) -> None:
    """A file as Lightning 1.3.2 writes it (hat.md 8): callbacks keyed by a class that is not installed here."""
    module = types.ModuleType("pytorch_lightning.callbacks.model_checkpoint")
    callback = type("ModelCheckpoint", (), {"__module__": module.__name__})
    module.ModelCheckpoint = callback  # type: ignore[attr-defined]
    parents = ("pytorch_lightning", "pytorch_lightning.callbacks")
    fakes = {**{name: types.ModuleType(name) for name in parents}, module.__name__: module}
    with pytest.MonkeyPatch.context() as patch:
        for name, fake in fakes.items():
            patch.setitem(sys.modules, name, fake)
        torch.save(
            {
                "epoch": 68,
                "global_step": 172499,
                "pytorch-lightning_version": "1.3.2",
                "state_dict": collections.OrderedDict(state),
                "callbacks": {callback: {"monitor": "best_irtr", "best_model_score": torch.tensor(1.0)}},
                "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{}]}],
                "hyper_parameters": {"config": Settings(lr=1e-4, names=Sequence(["f30k"]), where=Path("x"))},
                **more,
            },
            path,
        )
    assert "pytorch_lightning" not in sys.modules


def test_all_manifest_keys_have_their_place(full_size: HAT) -> None:
    tensors = manifest_tensors()
    assert len(tensors) == 579
    weights = translate(tensors, full_size, "manifest")
    assert (weights.missing, weights.unexpected) == ([], [])
    assert len(weights.dropped) == 24 + 11  # relative_position_index and attn_mask (hat.md 3.3)
    assert len(weights.state) == 579 - 35
    assert {name: t.shape for name, t in weights.state.items()} == {
        name: t.shape for name, t in full_size.state_dict().items()
    }


def test_full_size_file_is_read(full_size: HAT, tmp_path: Path) -> None:
    path = tmp_path / "epoch=68-step=172499-v1.ckpt"
    save_lightning(path, manifest_tensors())
    weights = read_official(path, full_size)
    assert (weights.missing, weights.unexpected, len(weights.dropped)) == ([], [], 35)
    assert weights.state.keys() == full_size.state_dict().keys()


@pytest.mark.parametrize("bare", [False, True])
def test_weights_arrive_bit_for_bit(tmp_path: Path, bare: bool) -> None:
    source, target = tiny_hat(seed=1), tiny_hat(seed=2)
    path = tmp_path / "model.ckpt"
    if bare:
        torch.save(official_state(source), path)
    else:
        save_lightning(path, official_state(source))
    assert METHOD.read_official is not None
    weights = METHOD.read_official(path, target)
    assert (weights.missing, weights.unexpected, len(weights.dropped)) == ([], [], 2)
    target.load_state_dict(weights.state)
    for name, tensor in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], tensor), name


def test_names_map_there_and_back() -> None:
    manifest = json.loads(MANIFEST.read_text(encoding="utf-8"))
    names = {key: our_key(key) for key in manifest}
    mapped = {key: name for key, name in names.items() if name is not None}
    assert len(set(mapped.values())) == len(mapped) == 544
    assert all(official_key(name) == key for key, name in mapped.items())


class Evil:
    """Calls `function(*args)` when an ordinary unpickler reads it."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> Any:
        return self.call


def test_nothing_in_the_file_runs(tmp_path: Path) -> None:
    model, path, victim = tiny_hat(), tmp_path / "model.ckpt", tmp_path / "ran"
    state = official_state(model)
    touch = f"open({str(victim)!r}, 'w')"
    evil = [
        Evil(os.system, f"touch {victim}"),
        Evil(builtins.exec, touch),
        Evil(builtins.eval, touch),
        Evil(getattr, "text", "join"),
    ]
    save_lightning(path, state, evil=evil, lr_schedulers=Settings(more=evil), loops=Sequence(evil))
    weights = read_official(path, model)
    assert not victim.exists()
    assert weights.missing == []
    with pytest.raises(pickle.UnpicklingError):  # torch's own restricted reader refuses such a file
        torch.load(path, weights_only=True)
    pickle.loads(pickle.dumps(evil))  # an ordinary reader would have run it
    assert victim.exists()


def write_pickle(path: Path, content: bytes) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content)


@pytest.mark.parametrize(
    "content",
    [
        b"cos\nsystem\n(S'true'\ntR.",  # a call whose result is the document
        b"ctorch._utils\n_rebuild_tensor_v2\n}S'__code__'\nS'x'\ns\x86b.",  # state for a function of ours
        b"ccollections\nOrderedDict\n}S'clear'\nS'x'\ns\x86b.",  # state for a class
        b"ctorch._utils\n_rebuild_tensor_v2\n(S'x'\nI0\n(I1\nt(I1\nttR.",  # a tensor without storage
        b"S'x'\nQ.",  # a persistent id that is no storage
        b"\x80\x02}q\x00(",  # cut off
        b"\x82\x01.",  # the extension registry
        b"",
    ],
)
def test_crafted_pickles_are_one_line_errors(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.ckpt"
    write_pickle(path, content)
    clear = collections.OrderedDict.clear
    one_line_error(path, tiny_hat())
    assert collections.OrderedDict.clear is clear


def test_a_tensor_that_reaches_out_of_its_storage_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tensor.pt"
    torch.save({"x": torch.arange(4.0)}, path)
    archive = TorchZip(path)
    lazy = archive.content["x"]
    assert archive.tensor(lazy).tolist() == [0, 1, 2, 3]
    for broken in (
        LazyTensor(lazy.storage, 2, (4,), (1,)),
        LazyTensor(lazy.storage, 0, (5,), (1,)),
        LazyTensor(lazy.storage, 0, (4,), (-1,)),
    ):
        with pytest.raises(UserError):
            archive.tensor(broken)


def test_dtypes_views_and_shared_storages(tmp_path: Path) -> None:
    base = torch.arange(12.0).view(3, 4)
    saved = {
        "view": base.T[1:],
        "shared": base,
        "parameter": torch.nn.Parameter(base + 1),
        "scalar": torch.tensor(5),
        "empty": torch.zeros(0, 3),
        "half": base.half(),
        "brain": base.bfloat16(),
        "flags": base > 3,
        "double": base.double(),
    }
    torch.save(saved, tmp_path / "all.pt")
    archive = TorchZip(tmp_path / "all.pt")
    for name, tensor in saved.items():
        read = archive.tensor(archive.content[name])
        assert read.dtype == tensor.dtype
        assert torch.equal(read, tensor.detach()), name


def test_truncated_damaged_and_foreign_files(tmp_path: Path) -> None:
    model, path = tiny_hat(), tmp_path / "model.ckpt"
    assert "no such checkpoint" in one_line_error(path, model)
    save_lightning(path, official_state(model))
    whole = path.read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 30):
        path.write_bytes(whole[:size])
        assert "complete" in one_line_error(path, model)
    middle = len(whole) // 2
    path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :])
    assert "complete" in one_line_error(path, model)
    path.write_text("epoch,loss\n", encoding="utf-8")
    assert "complete" in one_line_error(path, model)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    assert "data.pkl" in one_line_error(path, model)


def test_hat_of_another_size_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    save_lightning(path, official_state(tiny_hat(hidden=16)))
    message = one_line_error(path, tiny_hat())
    assert "(16, 32)" in message
    assert "(32, 32)" in message
