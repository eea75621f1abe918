"""A small checkout to make report pages of: runs with pictures and without, and names meant to do harm."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.data.load import load_dataset
from benchmark.files import sha256_bytes
from benchmark.places import RUNS
from benchmark.records.record import RunRecord, new_record, read_all, write_record
from benchmark.records.sidecar import Sidecar, caption_ids_hash, log_text, pack, write_sidecar
from tests.paths import ROOT
from tests.reporting import factory

REPOSITORY = ROOT
COPIED = ("results/paper", "results/studies", "results/reference")
IMAGES = 15
OPTIONS = {"n_train": 4, "n_val": 4, "n_test": IMAGES, "image_size": 64, "seed": 0, "hard_share": 0.25}
SCRIPT = "<script>alert('departure')</script>"
IMAGE = '"><img src=x onerror=alert(1)>'
TITLE = "</title></style><b>bold</b> & 'quoted'"
ODD = "odd\"'&<b>run"
"""Names that must stay text."""


def scored(seed: int, images: int = IMAGES, protocols: Sequence[str] = ("scenes",)) -> Sidecar:
    """A sidecar with ranks and lists counted from random scores; some queries find their truth first."""
    rng = np.random.default_rng(seed)
    captions = 5 * images
    of_caption = np.repeat(np.arange(images), 5)
    scores = rng.standard_normal((images, captions)).astype(np.float32)
    scores[of_caption, np.arange(captions)] += 1.5
    i2t_top = np.argsort(-scores, axis=1, kind="stable")
    t2i_top = np.argsort(-scores, axis=0, kind="stable").T
    i2t = np.array([min(np.flatnonzero(of_caption[i2t_top[row]] == row)) for row in range(images)])
    t2i = np.array([np.flatnonzero(t2i_top[row] == of_caption[row])[0] for row in range(captions)])
    split = load_dataset("scenes", OPTIONS | {"n_test": images}, splits=["test"]).splits["test"]
    entry = {"best": True, "losses": [3.0, 2.5, 2.0, 1.5], "validation": {"rsum": 300.0 + seed}}
    return Sidecar(
        ranks=dict.fromkeys(protocols, (i2t, t2i)),
        i2t_top=i2t_top[:, :10],
        i2t_scores=np.take_along_axis(scores, i2t_top[:, :10], axis=1),
        t2i_top=t2i_top[:, :10],
        t2i_scores=np.take_along_axis(scores.T, t2i_top[:, :10], axis=1),
        image_ids=list(split.image_ids),
        caption_ids_sha256=caption_ids_hash(split.caption_ids),
        caption_image=of_caption,
        log=log_text([{"epoch": epoch, "loss": 2.0 - epoch / 2, **entry} for epoch in range(3)]),
    )


def put(root: Path, sidecar: Sidecar, **changes: Any) -> RunRecord:
    """Write a record and its sidecar below `root`; `changes` as for `factory.parts`."""
    packed, images = pack(sidecar), len(sidecar.image_ids)
    parts = factory.parts(protocols=tuple(sidecar.ranks), sidecar_sha256=sha256_bytes(packed), **changes)
    for result in parts["results"].values():
        result |= {"images": images, "captions": 5 * images}
    record = new_record(**parts)
    write_sidecar(packed, record, root / RUNS)
    write_record(record, root / RUNS)
    return record


def scenes_facts() -> dict[str, Any]:
    """The `dataset` of a record on scenes as they are made now."""
    sizes = {"images": IMAGES, "captions": 5 * IMAGES, "fingerprint": sha256_bytes(b"scenes test")}
    facts: dict[str, Any] = factory.parts()["dataset"]
    return facts | {
        "revision": "scenes-1",
        "splits": {"test": sizes},
        "options": OPTIONS,
    }


def checkout(root: Path) -> list[RunRecord]:
    """Fill `root`; returns the records in the page's order."""
    for name in COPIED:
        shutil.copytree(REPOSITORY / name, root / name)
    away: dict[str, Any] = {"departures": ["the embedded dataset scenes, not the paper's", SCRIPT]}
    on_scenes = {"dataset": scenes_facts(), **away}
    first, second = (
        put(
            root,
            scored(number),
            run=run,
            latency=factory.latency(2.5 + number),
            recalls=(70.0 + number, 90.0, 95.0, 50.0, 80.0, 90.0 - number),
            **on_scenes,
        )
        for number, run in enumerate(("hat-i2t", "hat-t2i"))
    )
    put(
        root,
        scored(2),
        run="hat-ensemble",
        weights="members",
        weights_sha256=None,
        members=[factory.member(first), factory.member(second)],
        training=None,
        **on_scenes,
    )
    environment = factory.parts()["environment"] | {"device_name": TITLE}
    put(root, scored(3), run=ODD, environment=environment, notes=[IMAGE], **on_scenes)
    sgr = {"run": "sgr", "method": "sgraf", "variant": "SGR (repository)"}
    for seed in range(3):
        recalls = [value + seed / 10 for value in factory.RECALLS]
        put(root, scored(seed, 10, ("flickr30k",)), seed=seed, recalls=recalls, **sgr)
    put(root, scored(9, 10, ("mscoco-1k", "mscoco-5k")), **sgr)
    return read_all(root / RUNS)
