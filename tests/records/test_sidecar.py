"""Sidecars: the same bytes for the same content, verified on read, nothing that varies from run to run."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmark.errors import UserError
from benchmark.files import sha256_bytes
from benchmark.records.record import RunRecord
from benchmark.records.sidecar import caption_ids_hash, log_text, pack, read_sidecar, unpack, write_sidecar
from tests.reporting import factory


def _written(folder: Path, seed: int = 0) -> tuple[RunRecord, Path]:
    packed = pack(factory.sidecar(seed))
    record = factory.record(seed=seed, sidecar_sha256=sha256_bytes(packed))
    return record, write_sidecar(packed, record, folder)


def test_content_reads_back(tmp_path: Path) -> None:
    record, path = _written(tmp_path)
    assert path == tmp_path / "scenes" / "hat-i2t" / "0.npz"
    found, expected = read_sidecar(record, tmp_path), factory.sidecar()
    for name in ("i2t_top", "i2t_scores", "t2i_top", "t2i_scores", "caption_image"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    for side in (0, 1):
        np.testing.assert_array_equal(found.ranks["scenes"][side], expected.ranks["scenes"][side])
    assert found.i2t_scores.dtype == np.float32
    assert found.ranks["scenes"][0].dtype == np.int16
    assert (found.image_ids, found.log) == (expected.image_ids, expected.log)
    assert found.caption_ids_sha256 == expected.caption_ids_sha256


def test_bytes_follow_from_content_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    first = pack(factory.sidecar())
    monkeypatch.setattr(time, "time", lambda: 2e9)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    old = os.umask(0o077)
    try:
        assert pack(factory.sidecar()) == first
    finally:
        os.umask(old)
    assert pack(factory.sidecar(1)) != first
    assert pack(unpack(first)) == first


def test_both_protocols_of_mscoco_are_kept() -> None:
    both = factory.sidecar(protocols=("mscoco-1k", "mscoco-5k"))
    found = unpack(pack(both))
    assert set(found.ranks) == {"mscoco-1k", "mscoco-5k"}
    np.testing.assert_array_equal(found.ranks["mscoco-1k"][1], both.ranks["mscoco-1k"][1])


def test_large_ranks_keep_their_value() -> None:
    plain = factory.sidecar()
    far = plain.ranks["scenes"][0] + 40_000
    found = unpack(pack(replace(plain, ranks={"scenes": (far, plain.ranks["scenes"][1])})))
    np.testing.assert_array_equal(found.ranks["scenes"][0], far)
    assert found.ranks["scenes"][0].dtype == np.int32


def test_full_size_is_compact() -> None:
    assert len(pack(factory.sidecar(images=1000, protocols=("flickr30k",)))) < 400_000


@pytest.mark.parametrize("position", [0, 100, -30])
def test_one_changed_byte_is_noticed(tmp_path: Path, position: int) -> None:
    record, path = _written(tmp_path)
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"0\.npz: checksum differs from field 'sidecar_sha256'"):
        read_sidecar(record, tmp_path)


def test_a_missing_sidecar_is_named(tmp_path: Path) -> None:
    record, path = _written(tmp_path)
    path.unlink()
    with pytest.raises(UserError, match=r"0\.npz: the sidecar of scenes/hat-i2t/0\.json is missing"):
        read_sidecar(record, tmp_path)


def test_a_sidecar_of_another_record_is_not_written(tmp_path: Path) -> None:
    record, _ = _written(tmp_path)
    with pytest.raises(ValueError, match="another sidecar"):
        write_sidecar(pack(factory.sidecar(1)), record, tmp_path)


def test_shapes_must_fit() -> None:
    plain = factory.sidecar()
    with pytest.raises(ValueError, match="i2t_top: found shape"):
        replace(plain, i2t_top=plain.i2t_top[:-1])
    with pytest.raises(ValueError, match="ranks of scenes"):
        replace(plain, ranks={"scenes": (plain.ranks["scenes"][0], plain.ranks["scenes"][1][:-1])})


def test_the_log_loses_times_and_paths_only() -> None:
    third = 1 / 3
    log = [
        {
            "epoch": 0,
            "loss": third,
            "seconds": 3.5,
            "wall_seconds": 1,
            "images_per_second": 9.0,
            "peak_memory_bytes": 5,
            "validation": {"rsum": 50.5, "seconds": 2},
            "lr": np.float64(1e-4),
            "checkpoint": "/data/x/best.safetensors",
        }
    ]
    assert json.loads(log_text(log)) == [
        {
            "epoch": 0,
            "loss": third,
            "validation": {"rsum": 50.5},
            "lr": 1e-4,
            "checkpoint": "<path>/best.safetensors",
        }
    ]


def test_caption_ids_hash_depends_on_order_and_borders() -> None:
    assert caption_ids_hash(["1", "2"]) == sha256_bytes(b"1\n2\n")
    assert len({caption_ids_hash(ids) for ids in (["1", "2"], ["2", "1"], ["12"], ["1", "2", ""])}) == 4
