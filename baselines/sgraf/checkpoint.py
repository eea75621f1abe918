"""Reads the authors' checkpoint: a list of three state dicts (sgraf.md 8) into our names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from baselines.published.archive import LazyTensor
from baselines.published.legacy import open_checkpoint
from baselines.sgraf.model import SGRAF
from benchmark.errors import UserError
from benchmark.method import Baseline, OfficialWeights

PARTS = ("img_enc", "txt_enc", "sim_enc")
"""The published parts, in the order of the checkpoint's list; an official key begins with its part's name here."""

POOLINGS = {"v_global_w": "global_branch.image_pooling", "t_global_w": "global_branch.caption_pooling"}
BRANCHES = {
    "embedding_local.0": "local",
    "embedding_local.1": "local_norm",
    "embedding_global.0": "query",
    "embedding_global.1": "query_norm",
    "embedding_common.0": "score",
}
LAYERS = {
    "img_enc.fc": "image_encoder.projection",
    "txt_enc.embed": "text_encoder.embedding",
    "txt_enc.cap_rnn": "text_encoder.gru",
    "sim_enc.sim_tranloc_w": "local_similarity",
    "sim_enc.sim_tranglo_w": "global_branch.similarity",
    "sim_enc.sim_eval_w": "score",
    "sim_enc.SAF_module.attn_sim_w": "head.attention",
    "sim_enc.SAF_module.bn": "head.norm",
    **{
        f"sim_enc.{pooling}.{branch}": f"{POOLINGS[pooling]}.{BRANCHES[branch]}"
        for pooling in POOLINGS
        for branch in BRANCHES
    },
}
"""Published layers and ours; SGR's steps are numbered alike."""
STEP_LAYERS = {"graph_query_w": "query", "graph_key_w": "key", "sim_graph_w": "graph"}


def our_key(official: str) -> str:
    """Our name of an official entry `<part>.<key>`; one that is neither SAF's nor SGR's comes back as it is."""
    layer, _, leaf = official.rpartition(".")
    if match := re.fullmatch(r"sim_enc\.SGR_module\.(\d+)\.(\w+)", layer):
        return f"head.steps.{match[1]}.{STEP_LAYERS.get(match[2], match[2])}.{leaf}"
    return f"{LAYERS.get(layer, layer)}.{leaf}"


def translate(official: Mapping[str, Tensor], model: SGRAF, source: str) -> OfficialWeights:
    """Fit official entries `<part>.<key>` to `model`; `source` begins the error messages.

    Every entry ends in `state` or `unexpected` (official names), every weight of the model in `state` or
    `missing` (our names). Raises UserError for the other module, another shape, and where less than half of the
    model's weights are found, since that is a checkpoint of another method.
    """
    wanted = model.state_dict()
    found = {our_key(key): key for key in official}
    hits = [name for name in wanted if name in found]
    unexpected = [key for name, key in found.items() if name not in wanted]
    if 2 * len(hits) < len(wanted):
        example = f", such as '{unexpected[0]}'" if unexpected else ""
        raise UserError(
            f"{source}: not an SGRAF checkpoint: {len(hits)} of the {len(wanted)} expected weights found, "
            f"{len(unexpected)} entries are of something else{example}"
        )
    _check_module(official, model, source)
    for name in hits:
        _check_shape(found[name], official[found[name]], wanted[name], source)
    state = {name: official[found[name]] for name in hits}
    return OfficialWeights(state, [name for name in wanted if name not in state], unexpected, [])


def _check_module(official: Mapping[str, Tensor], model: SGRAF, source: str) -> None:
    steps = len({key.split(".")[2] for key in official if key.startswith("sim_enc.SGR_module.")})
    saf = any(key.startswith("sim_enc.SAF_module.") for key in official)
    found = "SAF" if saf else f"SGR with {steps} steps"
    config = model.config
    expected = "SAF" if config.module == "SAF" else f"SGR with {config.sgr_steps} steps"
    if (saf or steps) and found != expected:
        raise UserError(f"{source}: found a checkpoint of {found}, this recipe's model is {expected}")


def _check_shape(key: str, found: Tensor, wanted: Tensor, source: str) -> None:
    if found.shape == wanted.shape:
        return
    hint = "is it an SGRAF of other sizes?"
    if key == "txt_enc.embed.weight" and found.shape[1:] == wanted.shape[1:]:
        hint = f"it needs the vocabulary it was trained with, of {len(found)} entries"
    raise UserError(
        f"{source}: '{key}' has shape {tuple(found.shape)}, this recipe's model expects {tuple(wanted.shape)}; {hint}"
    )


def read_official(path: Path, model: Baseline) -> OfficialWeights:
    """Read the authors' checkpoint for `model`, running nothing that is in it.

    Raises UserError (one line) for a missing, truncated or damaged file, one of another method, module or size.
    """
    assert isinstance(model, SGRAF)
    archive = open_checkpoint(path)
    content: Any = archive.content
    parts = content.get("model") if isinstance(content, dict) else content
    if not (isinstance(parts, list) and len(parts) == len(PARTS) and all(isinstance(p, dict) for p in parts)):
        found = f"{len(parts)} parts" if isinstance(parts, list) else type(parts).__name__
        raise UserError(
            f"{path}: not an SGRAF checkpoint: found {found}, expected a list of three state dicts under 'model'"
        )
    entries = {
        f"{name}.{key}": value for name, part in zip(PARTS, parts, strict=True) for key, value in part.items()
    }
    tensors = {key: archive.tensor(value) for key, value in entries.items() if isinstance(value, LazyTensor)}
    weights = translate(tensors, model, str(path))
    others = [key for key in entries if key not in tensors]
    return OfficialWeights(weights.state, weights.missing, [*weights.unexpected, *others], weights.dropped)
