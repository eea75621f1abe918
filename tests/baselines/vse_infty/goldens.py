"""The golden files of VSE-infinity that are parts of USER's: which arrays, and under which names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray[Any, Any]]

GOLDEN = Path("tests/golden")
COPIES = {"gpo.npz": "user", "text_encoder.npz": "user", "loss_cases.npz": "rcar"}
"""Files that are the same in both folders, and whose they are."""
SELECTIONS = {"region_encoder.npz": "image_encoder.npz", "region_encoder_5.npz": "image_encoder_lambda.npz"}
"""Files with a selection of the arrays of one of USER's."""
AFTER_ENHANCEMENT = ("fc_out", "mlp_out", "pool_weights", "pooled", "embedding")


def load(path: Path) -> Arrays:
    with np.load(path) as file:
        return {key: file[key] for key in file.files}


def selection(whole: Arrays) -> Arrays:
    """Select what USER's encoder does after the enhancement, whose output is the input here: its host's encoder."""
    own = {
        key: value
        for key, value in whole.items()
        if key.startswith(("weights/", "grads/", "outputs/bn_after_train/")) and "v_sa" not in key
    }
    for mode in ("eval", "train"):
        own[f"inputs/{mode}/regions"] = whole[f"outputs/{mode}/enhanced_regions"]
        own |= {f"outputs/{mode}/{name}": whole[f"outputs/{mode}/{name}"] for name in AFTER_ENHANCEMENT}
    config = json.loads(str(whole["config"]))
    kept = {name: config[name] for name in ("img_dim", "embed_size", "gpo_dim", "params_without_grad")}
    return {**own, "inputs/cotangent": whole["inputs/cotangent"], "config": np.array(json.dumps(kept))}
