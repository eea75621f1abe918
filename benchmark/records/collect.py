"""Collection of the results of data, training and evaluation into the parts of a run record and its sidecar."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from benchmark.data.splits import Dataset, Split
from benchmark.evaluation.metrics import RetrievalMetrics
from benchmark.evaluation.protocol import ProtocolResult
from benchmark.evaluation.ranking import TopK
from benchmark.records.parts import METRICS
from benchmark.records.sidecar import Sidecar, caption_ids_hash, log_text
from benchmark.training import TrainingResult, step_losses


def dataset_part(dataset: Dataset, captions_per_image: int | None) -> dict[str, Any]:
    """The record's `dataset`: sizes and fingerprints of the splits that were loaded.

    captions_per_image: the number that was asked for; None: all captions were used.
    """
    most = max(int(np.bincount(split.caption_image).max()) for split in dataset.splits.values())
    return {
        "name": dataset.name,
        "revision": dataset.revision,
        "source": dataset.source,
        "fingerprint": dataset.fingerprint,
        "splits": {
            name: {"images": len(split), "captions": len(split.captions), "fingerprint": split.fingerprint}
            for name, split in dataset.splits.items()
        },
        "options": dict(dataset.options),
        "captions_per_image": most if captions_per_image is None else captions_per_image,
        "every_caption": captions_per_image is None,
        "features": dataset.features,
    }


def protocol_part(result: ProtocolResult) -> dict[str, Any]:
    """One of the record's `results`, from what `evaluate` returned."""
    found = result.intervals
    bounds = {name: pair for name, pair in found.bounds.items() if name in METRICS}
    return {
        "images": result.n_images,
        "captions": result.n_captions,
        "metrics": _metrics_part(result.metrics),
        "folds": [_metrics_part(fold) for fold in result.folds],
        "intervals": {name: {"low": low, "high": high} for name, (low, high) in bounds.items()},
        "interval_method": f"{100 * found.level:g} % percentile bootstrap over images, "
        f"{found.resamples} resamples, seed {found.seed}",
        "ties_i2t": result.ranks.ties_i2t,
        "ties_t2i": result.ranks.ties_t2i,
        "tie_rule": result.ranks.tie_rule,
        "chance": result.chance,
    }


def _metrics_part(metrics: RetrievalMetrics) -> dict[str, Any]:
    sides = {
        name: {f"r{k}": side.recall[k] for k in (1, 5, 10)}
        | {"median_rank": side.median_rank, "mean_rank": side.mean_rank}
        for name, side in (("i2t", metrics.i2t), ("t2i", metrics.t2i))
    }
    return {**sides, "rsum": metrics.rsum}


def training_part(result: TrainingResult, selected_by: str) -> dict[str, Any]:
    """The record's `training`; `selected_by` is the recipe's `training.select`."""
    return {
        "epochs": result.epochs,
        "best_epoch": result.best_epoch,
        "best_value": result.best_value,
        "selected_by": selected_by,
        "first_losses": step_losses(result.log, 20),
        "final_loss": result.log[-1]["loss"],
    }


def make_sidecar(
    results: Iterable[ProtocolResult], top: TopK, split: Split, log: Iterable[Mapping[str, Any]]
) -> Sidecar:
    """The sidecar of a run: ranks of every protocol, `top_k(sims, 10)` of the whole split, the training log."""
    return Sidecar(
        ranks={result.protocol.name: (result.ranks.i2t, result.ranks.t2i) for result in results},
        i2t_top=top.i2t,
        i2t_scores=top.i2t_scores.astype(np.float32),
        t2i_top=top.t2i,
        t2i_scores=top.t2i_scores.astype(np.float32),
        image_ids=list(split.image_ids),
        caption_ids_sha256=caption_ids_hash(split.caption_ids),
        caption_image=split.caption_image,
        log=log_text(log),
    )
