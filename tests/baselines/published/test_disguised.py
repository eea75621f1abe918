"""Authors' checkpoints that are something else, out of bounds, or hold no weights: one line that says so."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import torch

from baselines.published.checkpoint import OfficialFile
from benchmark.errors import UserError
from benchmark.torch_files.legacy import open_checkpoint


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"<!DOCTYPE html><html><title>Quota exceeded</title>", "web page"),
        (b"\xef\xbb\xbf\n <HTML>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 5\n", "git lfs pull"),
        (b"", "no complete zip file"),
        (b"PK\x05\x06" + bytes(18), "0 data.pkl"),
    ],
)
def test_what_a_download_leaves_is_called_what_it_is(content: bytes, word: str, tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    path.write_bytes(content)
    with pytest.raises(UserError, match=word) as caught:
        open_checkpoint(path)
    assert str(caught.value).startswith(str(path))


def test_a_part_of_another_size_is_refused_before_it_is_inflated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, bomb = tmp_path / "plain.pth", tmp_path / "bomb.pth"
    torch.save({"a": torch.arange(4.0)}, plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as target:
        for part in source.infolist():
            more = bytes(2**19) if part.filename.endswith("data/0") else b""
            target.writestr(part.filename, source.read(part) + more)
    opened = open_checkpoint(bomb)
    monkeypatch.setattr(zipfile.ZipFile, "read", None)  # nothing is inflated
    with pytest.raises(UserError, match=f"storage 0 has {2**19 + 16} bytes, its header says 16"):
        opened.tensor(opened.content["a"])


@pytest.mark.parametrize("zipped", [True, False])
def test_the_depth_of_a_checkpoint_is_bounded(zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / "deep.pth"
    nested: list[object] = []
    for _ in range(200):
        nested = [nested]
    torch.save({"a": torch.zeros(2), "b": nested}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match="deeper than 128") as caught:
        open_checkpoint(path)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_named(bad: float) -> None:
    official = OfficialFile("HAT", lambda key: key)
    wanted = {"a": torch.zeros(3), "b": torch.zeros(2, 2)}
    found = {"a": torch.ones(3), "b": torch.tensor([[1.0, bad], [bad, 2.0]])}
    with pytest.raises(UserError, match=r"x\.pth: 'b' holds 2 of 4 numbers that are NaN or infinite"):
        official.fit(found, wanted, "x.pth")
    assert official.fit(found | {"b": torch.ones(2, 2)}, wanted, "x.pth").missing == []


def test_counters_of_batches_may_be_absent_and_nothing_else() -> None:
    official, batch_norm = OfficialFile("HAT", lambda key: key), torch.nn.BatchNorm1d(2)
    wanted = {f"norm.{name}": value for name, value in batch_norm.state_dict().items()}
    found = {name: value + 1 for name, value in wanted.items() if not name.endswith("tracked")}
    weights = official.fit(found, wanted, "x.pth")
    assert weights.missing == []
    assert weights.state["norm.num_batches_tracked"] == 0
    assert torch.equal(weights.state["norm.weight"], torch.full((2,), 2.0))
    del found["norm.running_var"]
    assert official.fit(found, wanted, "x.pth").missing == ["norm.running_var"]
