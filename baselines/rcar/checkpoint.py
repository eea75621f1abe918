"""Reads the authors' checkpoint: a state dict whose keys begin with `module.` (rcar.md 8) into our names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from baselines.published.checkpoint import OfficialFile, rename_layer
from baselines.rcar.model import RCAR
from benchmark.errors import UserError
from benchmark.method import Baseline, OfficialWeights

LAYERS = {
    "img_enc.fc": "image_encoder.projection",
    "img_enc.mlp.layers.0": "image_encoder.hidden",
    "img_enc.mlp.layers.1": "image_encoder.output",
    "img_enc.mlp.bns.0": "image_encoder.hidden_norm",
    "img_enc.mlp.bns.1": "image_encoder.output_norm",
    "txt_enc.embed": "text_encoder.embedding",
    "txt_enc.rnn": "text_encoder.gru",
    "sim_enc.sim_eval_w": "score",
}
"""Published layers and ours."""
STEPS = {"alv_modules": "alignments", "rcr_modules": "correspondences", "rar_modules": "aggregations"}
STEP_LAYERS = {
    "sim_transform_w": "projection",
    "rcr_matrix_w.0": "modulation_hidden",
    "rcr_matrix_w.2": "modulation_step",
    "rcr_smooth_w.0": "temperature_hidden",
    "rcr_smooth_w.2": "temperature_step",
    "rar_q_w.0": "query",
    "rar_k_w.0": "key",
    "rar_v_w.0": "score",
}
"""Layers of a step; steps are numbered alike."""


def our_key(official: str) -> str:
    """Our name of an official entry; one that is not RCAR's comes back as it is."""
    layer, _, leaf = official.rpartition(".")
    if match := re.fullmatch(r"sim_enc\.(alv|rcr|rar)_modules\.(\d+)\.(.+)", layer):
        modules = STEPS[f"{match[1]}_modules"]
        return f"{modules}.{match[2]}.{STEP_LAYERS.get(match[3], match[3])}.{leaf}"
    return rename_layer(official, LAYERS)


OFFICIAL = OfficialFile("RCAR", our_key, ("img_enc", "txt_enc", "sim_enc"))


def translate(official: Mapping[str, Tensor], model: RCAR, source: str) -> OfficialWeights:
    """Fit official entries to `model`, as `OfficialFile.fit`; also raises UserError for another setting."""
    if any(key.startswith("img_enc.mlp.") for key in official):  # another method's file has other faults
        _check_setting(official, model, source)
    return OFFICIAL.fit(official, model.state_dict(), source)


def _check_setting(official: Mapping[str, Tensor], model: RCAR, source: str) -> None:
    """The setting shows in the number of modules of each kind; the direction does not show in the weights."""
    counts = {
        name: len({key.split(".")[2] for key in official if key.startswith(f"sim_enc.{kind}.")})
        for kind, name in STEPS.items()
    }
    expected = model.config.counts
    if counts != expected:
        raise UserError(
            f"{source}: found a checkpoint of {_setting(counts)}, this recipe's model is {_setting(expected)}"
        )


def _setting(counts: Mapping[str, int]) -> str:
    """The name of a setting, by its number of modules (rcar.md 3.7)."""
    alignments, correspondences, aggregations = (counts[name] for name in STEPS.values())
    if counts == {"alignments": 0, "correspondences": 0, "aggregations": 0}:
        return "BASELINE"
    if (alignments, aggregations) == (correspondences, 0):
        return f"RCR with {correspondences} steps"
    if (alignments, correspondences) == (aggregations, aggregations - 1):
        return f"RCAR with {aggregations} steps"  # with one step, that is RAR too
    if (alignments, correspondences) == (1, 0):
        return f"RAR with {aggregations} steps"
    return f"{alignments} alignment vectors, {correspondences} RCR and {aggregations} RAR modules"


def read_official(path: Path, model: Baseline) -> OfficialWeights:
    """Read the authors' checkpoint for `model`; raises UserError as `OfficialFile` and `translate` do."""
    assert isinstance(model, RCAR)
    return OFFICIAL.read(path, lambda entries, source: translate(entries, model, source))
