"""The published entries of RCAR (rcar.md 8), and checkpoints made of small models' weights."""

from __future__ import annotations

import argparse
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from baselines.rcar.checkpoint import our_key
from baselines.rcar.model import RCAR

NORM = ("weight", "bias", "running_mean", "running_var")


ENCODERS: dict[str, tuple[int, ...]] = {
    "img_enc.fc.weight": (1024, 2048),
    "img_enc.fc.bias": (1024,),
    "img_enc.mlp.layers.0.weight": (512, 2048),
    "img_enc.mlp.layers.0.bias": (512,),
    "img_enc.mlp.layers.1.weight": (1024, 512),
    "img_enc.mlp.layers.1.bias": (1024,),
    **{f"img_enc.mlp.bns.0.{kind}": (512,) for kind in NORM},
    **{f"img_enc.mlp.bns.1.{kind}": (1024,) for kind in NORM},
    **{f"img_enc.mlp.bns.{k}.num_batches_tracked": () for k in (0, 1)},
    "txt_enc.embed.weight": (8482, 300),
    **{f"txt_enc.rnn.weight_ih_l0{way}": (3072, 300) for way in ("", "_reverse")},
    **{f"txt_enc.rnn.weight_hh_l0{way}": (3072, 1024) for way in ("", "_reverse")},
    **{f"txt_enc.rnn.bias_{kind}_l0{way}": (3072,) for kind in ("ih", "hh") for way in ("", "_reverse")},
    "sim_enc.sim_eval_w.weight": (1, 256),
    "sim_enc.sim_eval_w.bias": (1,),
}


STEPS: dict[str, dict[str, tuple[int, ...]]] = {
    "rar": {"rar_q_w.0": (256, 256), "rar_k_w.0": (256, 256), "rar_v_w.0": (1, 256)},
    "rcr": {
        "rcr_smooth_w.0": (128, 256),
        "rcr_smooth_w.2": (1, 128),
        "rcr_matrix_w.0": (512, 256),
        "rcr_matrix_w.2": (1024, 512),
    },
    "alv": {"sim_transform_w": (256, 1024)},
}


"""The table of rcar.md 8, for Flickr30K; how many of each kind is in the table of rcar.md 3.7."""


COUNTS = [
    ("none", 1, 0, 0, 0),
    ("rar", 3, 1, 0, 3),
    ("rcr", 2, 2, 2, 0),
    ("rcar", 2, 2, 1, 2),
    ("rcar", 1, 1, 0, 1),
]


def published_shapes(alignments: int, correspondences: int, aggregations: int) -> dict[str, tuple[int, ...]]:
    shapes = dict(ENCODERS)
    for kind, count in (("alv", alignments), ("rcr", correspondences), ("rar", aggregations)):
        for k in range(count):
            for layer, shape in STEPS[kind].items():
                shapes[f"sim_enc.{kind}_modules.{k}.{layer}.weight"] = shape
                shapes[f"sim_enc.{kind}_modules.{k}.{layer}.bias"] = shape[:1]
    return shapes


def official_entries(model: RCAR) -> dict[str, Tensor]:
    """The weights of `model` under the authors' names."""
    names = {our_key(key): key for key in published_shapes(4, 4, 4)}
    return {names[name]: tensor for name, tensor in model.state_dict().items()}


def save_checkpoint(path: Path, entries: dict[str, Tensor], **more: Any) -> Path:
    """A file as the published training script writes it."""
    state = OrderedDict((f"module.{key}", value) for key, value in entries.items())
    options = argparse.Namespace(data_name="f30k_precomp", attn_type="t2i", margin=0.2, vocab_size=8482)
    torch.save(
        {"epoch": 27, "model": state, "best_rsum": 492.1, "opt": options, "Eiters": 30591, **more}, path
    )
    return path
