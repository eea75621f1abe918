"""Sidecars: the arrays too long for a run record, results/runs/<dataset>/<run>/<seed>.npz.

Every query's rank in both directions and every protocol, its top-10 gallery rows with scores, and the
training log. The bytes depend on the content alone (fixed zip times, no wall times in the log), so that the
same run gives the same file; the record holds its sha256.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import UserError
from benchmark.files import plain, replacing, sha256_bytes
from benchmark.places import RUNS, locate
from benchmark.records.record import RunRecord, tidy

Ints = NDArray[np.integer[Any]]
TOP = 10
TIMES = re.compile(r"(^|_)(seconds|time|eta|per_second|memory|bytes)($|_)")
"""Keys of the training log that differ from run to run on the same machine; they stay in the work folder."""


@dataclass(frozen=True)
class Sidecar:
    """The ranks of n images and m captions by position in the split, counted from 0."""

    ranks: Mapping[str, tuple[Ints, Ints]]
    """The ranks of each protocol: i2t (n,) and t2i (m,), folds one after the other."""
    i2t_top: Ints
    """(n, k): the image's k <= 10 best captions in the whole test split, best first."""
    i2t_scores: NDArray[np.float32]
    t2i_top: Ints
    """(m, k'): the caption's k' <= 10 best images."""
    t2i_scores: NDArray[np.float32]
    image_ids: list[str]
    caption_ids_sha256: str
    caption_image: Ints
    """(m,): row of each caption's image."""
    log: str
    """JSON list of the training log's entries, without times; `[]` where nothing was trained."""

    def __post_init__(self) -> None:
        images, captions = len(self.image_ids), len(self.caption_image)
        shapes = {
            "i2t_top": (self.i2t_top.shape, (images, min(TOP, captions))),
            "i2t_scores": (self.i2t_scores.shape, (images, min(TOP, captions))),
            "t2i_top": (self.t2i_top.shape, (captions, min(TOP, images))),
            "t2i_scores": (self.t2i_scores.shape, (captions, min(TOP, images))),
        }
        for protocol, (i2t, t2i) in self.ranks.items():
            shapes[f"ranks of {protocol}"] = ((*i2t.shape, *t2i.shape), (images, captions))
        for name, (found, expected) in shapes.items():
            if found != expected:
                raise ValueError(f"{name}: found shape {found}, expected {expected}")


def log_text(log: Iterable[Mapping[str, Any]]) -> str:
    """A training log as the sidecar holds it: keys that speak of time or memory left out, floats exact."""
    return json.dumps([_timeless(tidy(plain(dict(entry)))) for entry in log], ensure_ascii=False)


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _timeless(item) for name, item in value.items() if not TIMES.search(name)}
    return [_timeless(item) for item in value] if isinstance(value, list) else value


def caption_ids_hash(caption_ids: Iterable[str]) -> str:
    """The sha256 over the caption ids, one a line."""
    return sha256_bytes("".join(f"{item}\n" for item in caption_ids).encode("utf-8"))


def pack(sidecar: Sidecar) -> bytes:
    """The `.npz` file of a sidecar, byte for byte the same for the same content."""
    arrays: dict[str, NDArray[Any]] = {
        "i2t_top": small(sidecar.i2t_top),
        "i2t_scores": sidecar.i2t_scores.astype(np.float32),
        "t2i_top": small(sidecar.t2i_top),
        "t2i_scores": sidecar.t2i_scores.astype(np.float32),
        "image_ids": np.array(sidecar.image_ids, dtype=np.str_),
        "caption_ids_sha256": np.array(sidecar.caption_ids_sha256),
        "caption_image": small(sidecar.caption_image),
        "log": np.array(sidecar.log),
    }
    for protocol, (i2t, t2i) in sidecar.ranks.items():
        arrays[f"ranks/{protocol}/i2t"] = small(i2t)
        arrays[f"ranks/{protocol}/t2i"] = small(t2i)
    return pack_arrays(arrays)


def pack_arrays(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """An `.npz` file whose bytes depend on the arrays alone: names in order, no times."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(arrays):
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type, entry.create_system, entry.external_attr = (
                zipfile.ZIP_DEFLATED,
                3,
                0o644 << 16,
            )
            content = io.BytesIO()
            np.lib.format.write_array(content, np.asarray(arrays[name], order="C"), allow_pickle=False)
            archive.writestr(entry, content.getvalue())
    return buffer.getvalue()


def small(values: Ints) -> Ints:
    """Whole numbers in two bytes where they fit, else in four."""
    fits = values.size == 0 or int(values.max()) <= np.iinfo(np.int16).max
    return values.astype(np.int16 if fits else np.int32)


def write_sidecar(packed: bytes, record: RunRecord, runs_dir: Path = RUNS) -> Path:
    """Write `pack(...)` beside the record, atomically; call it before `write_record`."""
    if sha256_bytes(packed) != record.sidecar_sha256:
        raise ValueError("the record was made for another sidecar")
    path = (runs_dir / record.path).with_suffix(".npz")
    with replacing(path) as handle:
        handle.write(packed)
    return path


def read_sidecar(record: RunRecord, runs_dir: Path = RUNS) -> Sidecar:
    """Read the sidecar of a record; raises UserError where it is missing, changed or not of this record."""
    path = (runs_dir / record.path).with_suffix(".npz")
    try:
        packed = locate(path).read_bytes()
    except OSError:
        raise UserError(
            f"{path.as_posix()}: the sidecar of {record.path.as_posix()} is missing; run again"
        ) from None
    return checked(packed, record, path.as_posix())


def checked(packed: bytes, record: RunRecord, name: str) -> Sidecar:
    """Read a sidecar from a file's content; raises UserError, with this name, where it is not the record's."""
    if sha256_bytes(packed) != record.sidecar_sha256:
        raise UserError(f"{name}: checksum differs from field 'sidecar_sha256' of {record.path.as_posix()}")
    return unpack(packed)


@lru_cache(maxsize=512)
def unpack(packed: bytes) -> Sidecar:
    """The inverse of `pack`; kept, as tables, claims and page ask for the same: the arrays are not to be changed."""
    with np.load(io.BytesIO(packed), allow_pickle=False) as arrays:
        protocols = sorted({name.split("/")[1] for name in arrays.files if name.startswith("ranks/")})
        return Sidecar(
            ranks={name: (arrays[f"ranks/{name}/i2t"], arrays[f"ranks/{name}/t2i"]) for name in protocols},
            i2t_top=arrays["i2t_top"],
            i2t_scores=arrays["i2t_scores"],
            t2i_top=arrays["t2i_top"],
            t2i_scores=arrays["t2i_scores"],
            image_ids=[str(item) for item in arrays["image_ids"]],
            caption_ids_sha256=str(arrays["caption_ids_sha256"]),
            caption_image=arrays["caption_image"],
            log=str(arrays["log"]),
        )
