"""Reads the authors' checkpoint: a list of three state dicts (sgraf.md 8) into our names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from baselines.published.checkpoint import OfficialFile, rename_layer
from baselines.sgraf.model import SGRAF
from benchmark.errors import UserError
from benchmark.method import Baseline, OfficialWeights

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
    return rename_layer(official, LAYERS)


OFFICIAL = OfficialFile("SGRAF", our_key, ("img_enc", "txt_enc", "sim_enc"))


def translate(official: Mapping[str, Tensor], model: SGRAF, source: str) -> OfficialWeights:
    """Fit official entries to `model`, as `OfficialFile.fit`; also raises UserError for the other module."""
    _check_module(official, model, source)
    return OFFICIAL.fit(official, model.state_dict(), source)


def _check_module(official: Mapping[str, Tensor], model: SGRAF, source: str) -> None:
    steps = len({key.split(".")[2] for key in official if key.startswith("sim_enc.SGR_module.")})
    saf = any(key.startswith("sim_enc.SAF_module.") for key in official)
    found = "SAF" if saf else f"SGR with {steps} steps"
    config = model.config
    expected = "SAF" if config.module == "SAF" else f"SGR with {config.sgr_steps} steps"
    if (saf or steps) and found != expected:
        raise UserError(f"{source}: found a checkpoint of {found}, this recipe's model is {expected}")


def read_official(path: Path, model: Baseline) -> OfficialWeights:
    """Read the authors' checkpoint for `model`; raises UserError as `OfficialFile` and `translate` do."""
    assert isinstance(model, SGRAF)
    return OFFICIAL.read(path, lambda entries, source: translate(entries, model, source))
