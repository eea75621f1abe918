"""Small, complete run records and sidecars for tests; every argument has a default."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmark.files import sha256_bytes
from benchmark.records.record import RunRecord, compiled_mark, new_record
from benchmark.records.sidecar import Sidecar, caption_ids_hash, log_text, pack

SIZES = {
    "scenes": (400, 2000),
    "flickr30k": (1000, 5000),
    "mscoco-1k": (5000, 25000),
    "mscoco-5k": (5000, 25000),
}
RECALLS = (76.6, 93.7, 96.6, 56.1, 80.9, 87.0)


def metrics(recalls: Sequence[float] = RECALLS) -> dict[str, Any]:
    """Both directions from six recalls."""
    sides = [
        {"r1": a, "r5": b, "r10": c, "median_rank": 1.0, "mean_rank": 4.25}
        for a, b, c in (recalls[:3], recalls[3:])
    ]
    return {"i2t": sides[0], "t2i": sides[1], "rsum": sum(recalls)}


def result(
    protocol: str, recalls: Sequence[float] = RECALLS, tie_rule: str = "lower_index"
) -> dict[str, Any]:
    """A protocol's result; five folds that differ for mscoco-1k."""
    images, captions = SIZES[protocol]
    shifts = (-0.2, -0.1, 0.0, 0.1, 0.2) if protocol == "mscoco-1k" else (0.0,)
    names = ("i2t_r1", "i2t_r5", "i2t_r10", "t2i_r1", "t2i_r5", "t2i_r10")
    intervals = {
        name: {"low": value - 1, "high": value + 1} for name, value in zip(names, recalls, strict=True)
    }
    return {
        "images": images,
        "captions": captions,
        "metrics": metrics(recalls),
        "folds": [metrics([value + shift for value in recalls]) for shift in shifts],
        "intervals": intervals | {"rsum": {"low": sum(recalls) - 4, "high": sum(recalls) + 4}},
        "interval_method": "95 % percentile bootstrap over images, 1000 resamples, seed 0",
        "ties_i2t": 0.0,
        "ties_t2i": 0.001,
        "tie_rule": tie_rule,
    }


def sidecar(seed: int = 0, images: int = 12, protocols: Sequence[str] = ("scenes",)) -> Sidecar:
    """Random ranks and lists of a small split with five captions an image."""
    rng = np.random.default_rng(seed)
    captions = 5 * images
    return Sidecar(
        ranks={
            name: (rng.integers(0, captions, images), rng.integers(0, images, captions)) for name in protocols
        },
        i2t_top=rng.integers(0, captions, (images, min(10, captions))),
        i2t_scores=rng.standard_normal((images, min(10, captions))).astype(np.float32),
        t2i_top=rng.integers(0, images, (captions, min(10, images))),
        t2i_scores=rng.standard_normal((captions, min(10, images))).astype(np.float32),
        image_ids=[f"image-{row}" for row in range(images)],
        caption_ids_sha256=caption_ids_hash(f"caption-{row}" for row in range(captions)),
        caption_image=np.repeat(np.arange(images), 5),
        log=log_text([{"epoch": 0, "loss": 0.1 + seed, "seconds": 12.5}]),
    )


def recipe(
    method: str = "hat", variant: str = "HAT (i2t)", dataset: str = "scenes", seed: int = 0
) -> dict[str, Any]:
    """A resolved recipe, as far as a record looks into it."""
    return {
        "summary": "a test",
        "method": method,
        "departures": [],
        "paper_row": {"method": method, "variant": variant},
        "data": {"name": dataset, "options": {}, "captions_per_image": 5},
        "training": {"seed": seed, "batch_size": 128, "workers": 0, "lr": 1e-4},
    }


def parts(
    *,
    run: str = "hat-i2t",
    seed: int = 0,
    method: str = "hat",
    variant: str = "HAT (i2t)",
    protocols: Sequence[str] = ("scenes",),
    recalls: Sequence[float] = RECALLS,
    departures: Sequence[str] = (),
    **changes: Any,
) -> dict[str, Any]:
    """The fields that `new_record` takes; `changes` replaces whole fields."""
    dataset = protocols[0].split("-")[0]
    fields: dict[str, Any] = {
        "run": run,
        "seed": seed,
        "method": method,
        "recipe_path": f"recipes/{method}/{dataset}-i2t.yaml",
        "recipe": recipe(method, variant, dataset, seed),
        "departures": list(departures),
        "weights": "trained",
        "weights_sha256": sha256_bytes(b"weights"),
        "dataset": {
            "name": dataset,
            "revision": None,
            "source": "made by code",
            "fingerprint": sha256_bytes(dataset.encode()),
            "splits": {
                "test": {
                    "images": SIZES[protocols[0]][0],
                    "captions": SIZES[protocols[0]][1],
                    "fingerprint": sha256_bytes(b"test split of " + dataset.encode()),
                }
            },
            "options": {"seed": 7},
            "captions_per_image": 5,
        },
        "codec": "wordpiece:ab12",
        "score_precision": "float32",
        "version": "0.1.0",
        "results": {protocol: result(protocol, recalls) for protocol in protocols},
        "training": {
            "epochs": 3,
            "best_epoch": 2,
            "best_value": 80.5,
            "selected_by": "rsum",
            "first_losses": [0.4, 0.3, 0.1 + 0.2],
            "final_loss": 0.05,
        },
        "block_plan": {"images": 64, "captions": 128},
        "sidecar_sha256": sha256_bytes(pack(sidecar(seed))),
        "wall_seconds": {"train": 100.5, "evaluate": 3.25},
        "environment": {
            "python": "3.11.9",
            "system": "Linux x86_64",
            "packages": {"torch": "2.12.1"},
            "device": "cpu",
            "device_name": "a processor",
            "threads": 2,
            "precision": "float32",
            "deterministic": True,
            "git_commit": "0" * 40,
            "git_dirty": False,
        },
    }
    return fields | changes


def record(**changes: Any) -> RunRecord:
    """A sound record; arguments as for `parts`."""
    return new_record(**parts(**changes))


def member(of: RunRecord) -> dict[str, Any]:
    """The entry of an ensemble's `members` for one of its models."""
    return {
        "run": of.run,
        "seed": of.seed,
        "recipe_digest": of.recipe_digest,
        "canonical_hash": of.canonical_hash,
        "departures": of.departures,
        "compiled": compiled_mark(of.recipe),
    }


def latency(query_ms: float = 2.5) -> dict[str, Any]:
    """A latency measurement of four stages."""
    names = ("encode image", "encode caption", "score query t2i", "rank t2i")
    stage = {"batch": 1, "warmup": 5, "repeats": 30, "p95_ms": 9.0, "items_per_second": 100.0}
    return {
        "method": "wall clock, median of 30",
        "hardware": "a processor",
        "device": "cpu",
        "threads": 2,
        "precision": "float32",
        "gallery": 1000,
        "peak_memory_bytes": None,
        "parameters": 1234,
        "stages": [{**stage, "name": name, "median_ms": query_ms} for name in names],
    }
