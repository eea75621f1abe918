"""The published entries of SAF and SGR (sgraf.md 8), and checkpoints made of small models' weights."""

from __future__ import annotations

import argparse
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from baselines.sgraf.checkpoint import OFFICIAL, our_key
from baselines.sgraf.model import SGRAF, SGRAFConfig
from benchmark.method import DataFacts

PUBLISHED: dict[str, tuple[int, ...]] = {
    "img_enc.fc.weight": (1024, 2048),
    "img_enc.fc.bias": (1024,),
    "txt_enc.embed.weight": (8481, 300),
    **{f"txt_enc.cap_rnn.weight_ih_l0{way}": (3072, 300) for way in ("", "_reverse")},
    **{f"txt_enc.cap_rnn.weight_hh_l0{way}": (3072, 1024) for way in ("", "_reverse")},
    **{f"txt_enc.cap_rnn.bias_{kind}_l0{way}": (3072,) for kind in ("ih", "hh") for way in ("", "_reverse")},
    **{
        f"sim_enc.{pooling}_global_w.embedding_{branch}.0.{kind}": shape
        for pooling in "vt"
        for branch, width in (("local", 1024), ("global", 1024), ("common", 1))
        for kind, shape in (("weight", (width, 1024)), ("bias", (width,)))
    },
    **{
        f"sim_enc.v_global_w.embedding_{branch}.1.{kind}": shape
        for branch, width in (("local", 36), ("global", 1024))
        for kind, shape in (
            *((kind, (width,)) for kind in ("weight", "bias", "running_mean", "running_var")),
            ("num_batches_tracked", ()),
        )
    },
    "sim_enc.sim_tranloc_w.weight": (256, 1024),
    "sim_enc.sim_tranloc_w.bias": (256,),
    "sim_enc.sim_tranglo_w.weight": (256, 1024),
    "sim_enc.sim_tranglo_w.bias": (256,),
    "sim_enc.sim_eval_w.weight": (1, 256),
    "sim_enc.sim_eval_w.bias": (1,),
}


HEADS: dict[str, dict[str, tuple[int, ...]]] = {
    "SAF": {
        "sim_enc.SAF_module.attn_sim_w.weight": (1, 256),
        "sim_enc.SAF_module.attn_sim_w.bias": (1,),
        **{
            f"sim_enc.SAF_module.bn.{kind}": (1,)
            for kind in ("weight", "bias", "running_mean", "running_var")
        },
        "sim_enc.SAF_module.bn.num_batches_tracked": (),
    },
    "SGR": {
        f"sim_enc.SGR_module.{k}.{layer}.{kind}": shape
        for k in range(3)
        for layer in ("graph_query_w", "graph_key_w", "sim_graph_w")
        for kind, shape in (("weight", (256, 256)), ("bias", (256,)))
    },
}


"""The table of sgraf.md 8, for Flickr30K."""


def full_size(module: str) -> SGRAF:
    with torch.device("meta"):
        return SGRAF(SGRAFConfig.model_validate({"module": module}), DataFacts(vocab_size=8481))


def published_entries(module: str) -> dict[str, Tensor]:
    """The real model's entries as views of a single zero."""
    return {
        key: torch.zeros((), dtype=torch.int64 if key.endswith("tracked") else torch.float32).expand(shape)
        for key, shape in {**PUBLISHED, **HEADS[module]}.items()
    }


def official_entries(model: SGRAF) -> dict[str, Tensor]:
    """The weights of `model` under the authors' names."""
    names = {our_key(key): key for module in HEADS for key in {**PUBLISHED, **HEADS[module]}}
    return {names[name]: tensor for name, tensor in model.state_dict().items()}


def save_checkpoint(path: Path, entries: dict[str, Tensor], **more: Any) -> Path:
    """A file as the published training script writes it."""
    parts = [
        OrderedDict(
            (key.removeprefix(f"{part}."), value) for key, value in entries.items() if key.startswith(part)
        )
        for part in OFFICIAL.parts
    ]
    options = argparse.Namespace(data_name="f30k_precomp", module_name="SAF", margin=0.2)
    torch.save(
        {"epoch": 27, "model": parts, "best_rsum": 492.1, "opt": options, "Eiters": 30591, **more}, path
    )
    return path
