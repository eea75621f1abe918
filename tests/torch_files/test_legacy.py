"""Checkpoints in the format of torch.save before 1.6: read like zip files, nothing runs, damage is a one-line error."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmark.errors import UserError
from benchmark.torch_files.archive import TorchZip
from benchmark.torch_files.legacy import MAGIC, VERSION, TorchLegacy, open_checkpoint
from tests.baselines.checkpoint_files import Evil


def save_legacy(path: Path, content: Any) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=False)
    return path


def test_dtypes_views_and_shared_storages(tmp_path: Path) -> None:
    base = torch.arange(12.0).view(3, 4)
    saved = {
        "view": base.T[1:],
        "shared": base,
        "parameter": torch.nn.Parameter(base + 1),
        "scalar": torch.tensor(5),
        "empty": torch.zeros(0, 3),
        "half": base.half(),
        "flags": base > 3,
        "double": base.double(),
    }
    archive = open_checkpoint(save_legacy(tmp_path / "all.pt", saved))
    assert isinstance(archive, TorchLegacy)
    for name, tensor in saved.items():
        read = archive.tensor(archive.content[name])
        assert read.dtype == tensor.dtype
        assert torch.equal(read, tensor.detach()), name
    torch.save(saved, tmp_path / "new.pt")
    assert isinstance(open_checkpoint(tmp_path / "new.pt"), TorchZip)


def test_nothing_in_the_file_runs(tmp_path: Path) -> None:
    victim = tmp_path / "ran"
    path = save_legacy(tmp_path / "old.pth.tar", {"opt": Evil(victim), "x": torch.ones(2)})
    archive = open_checkpoint(path)
    assert archive.tensor(archive.content["x"]).tolist() == [1, 1]
    assert not victim.exists()
    with path.open("wb") as handle:
        pickle.dump(Evil(victim), handle)
    one_line_error(path)
    assert not victim.exists()
    os.system(f"touch {victim}")  # what it would have done
    assert victim.exists()


def read_all(path: Path) -> None:
    archive = open_checkpoint(path)
    for value in archive.content.values():
        archive.tensor(value)


def one_line_error(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_all(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def test_a_file_cut_off_anywhere_is_a_one_line_error(tmp_path: Path) -> None:
    path = save_legacy(
        tmp_path / "old.pth.tar", {"x": torch.ones(300), "y": torch.zeros(7, dtype=torch.int64)}
    )
    whole = path.read_bytes()
    for size in [*range(0, len(whole), 97), len(whole) - 1]:
        path.write_bytes(whole[:size])
        assert "expected a complete checkpoint" in one_line_error(path)


@pytest.mark.parametrize(
    "parts",
    [
        (MAGIC, 1002, {}),
        (MAGIC, VERSION, "machine"),
        (MAGIC, VERSION, {"little_endian": False}),
        (MAGIC, VERSION, {}, {}, "names"),
        (MAGIC, VERSION, {}, {}, ["0"]),
        (MAGIC, VERSION, {}, {}, [["0"]]),
    ],
)
def test_crafted_streams_are_one_line_errors(parts: tuple[Any, ...], tmp_path: Path) -> None:
    path = tmp_path / "old.pth.tar"
    with path.open("wb") as handle:
        for part in parts:
            pickle.dump(part, handle)
    one_line_error(path)


def test_a_storage_of_another_size_is_refused(tmp_path: Path) -> None:
    path = save_legacy(tmp_path / "old.pth.tar", {"x": torch.ones(5)})
    whole = bytearray(path.read_bytes())
    place = len(whole) - 5 * 4 - 8
    assert int.from_bytes(whole[place : place + 8], "little") == 5
    whole[place : place + 8] = (4).to_bytes(8, "little")
    path.write_bytes(whole)
    assert "16 bytes" in one_line_error(path)
