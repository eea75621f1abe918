"""Reads the authors' checkpoint: a state dict whose keys begin with `module.` (rcar.md 8) into our names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from baselines.published.archive import LazyTensor, TorchZip
from baselines.rcar.model import RCAR
from benchmark.errors import UserError
from benchmark.method import Baseline, OfficialWeights

PARTS = ("img_enc", "txt_enc", "sim_enc")
"""The published parts; a checkpoint that is a list of state dicts has them in this order."""

PARALLEL = "module."
"""Before every key of a model that was trained in data-parallel form, as the published ones were."""

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
    """Our name of an official entry, without prefix; one that isn't RCAR's comes back as it is."""
    layer, _, leaf = official.rpartition(".")
    if match := re.fullmatch(r"sim_enc\.(alv|rcr|rar)_modules\.(\d+)\.(.+)", layer):
        modules = STEPS[f"{match[1]}_modules"]
        return f"{modules}.{match[2]}.{STEP_LAYERS.get(match[3], match[3])}.{leaf}"
    return f"{LAYERS.get(layer, layer)}.{leaf}"


def translate(official: Mapping[str, Tensor], model: RCAR, source: str) -> OfficialWeights:
    """Fit official entries (without prefix) to `model`; `source` begins the error messages.

    Every entry ends in `state` or `unexpected` (official names), every weight of the model in `state` or
    `missing` (our names). Raises UserError for another setting, another shape, and where less than half of the
    model's weights are found, since that is a checkpoint of another method.
    """
    wanted = model.state_dict()
    found = {our_key(key): key for key in official}
    hits = [name for name in wanted if name in found]
    unexpected = [key for name, key in found.items() if name not in wanted]
    if not any(key.startswith("img_enc.mlp.") for key in official) or 3 * len(hits) < len(wanted):
        example = f", such as '{unexpected[0]}'" if unexpected else ""
        raise UserError(
            f"{source}: not an RCAR checkpoint: {len(hits)} of the {len(wanted)} expected weights found, "
            f"{len(unexpected)} entries are of something else{example}"
        )
    _check_setting(official, model, source)
    for name in hits:
        _check_shape(found[name], official[found[name]], wanted[name], source)
    state = {name: official[found[name]] for name in hits}
    return OfficialWeights(state, [name for name in wanted if name not in state], unexpected, [])


def _check_setting(official: Mapping[str, Tensor], model: RCAR, source: str) -> None:
    """The setting shows in the number of modules of each kind; the direction doesn't show in the weights."""
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


def _check_shape(key: str, found: Tensor, wanted: Tensor, source: str) -> None:
    if found.shape == wanted.shape:
        return
    hint = "is it an RCAR of other sizes?"
    if key == "txt_enc.embed.weight" and found.shape[1:] == wanted.shape[1:]:
        hint = f"it needs the vocabulary it was trained with, of {len(found)} entries with <mask>"
    raise UserError(
        f"{source}: '{key}' has shape {tuple(found.shape)}, this recipe's model expects {tuple(wanted.shape)}; {hint}"
    )


def read_official(path: Path, model: Baseline) -> OfficialWeights:
    """Read the authors' checkpoint for `model`, running nothing that is in it.

    The state dict may stand under `model` or alone, be a list of the three parts', and its keys may begin with
    `module.` or not. Raises UserError (one line) for a missing, truncated or damaged file, one of another method,
    setting or size.
    """
    assert isinstance(model, RCAR)
    archive = TorchZip(path)
    entries = _entries(archive.content, path)
    tensors = {key: archive.tensor(value) for key, value in entries.items() if isinstance(value, LazyTensor)}
    weights = translate(tensors, model, str(path))
    others = [key for key in entries if key not in tensors]
    return OfficialWeights(weights.state, weights.missing, [*weights.unexpected, *others], weights.dropped)


def _entries(content: Any, path: Path) -> dict[str, Any]:
    """Entries `<part>.<key>` of whatever form the checkpoint has."""
    model = content["model"] if isinstance(content, dict) and "model" in content else content
    if isinstance(model, dict):
        return {str(key).removeprefix(PARALLEL): value for key, value in model.items()}
    if isinstance(model, list) and len(model) == len(PARTS) and all(isinstance(p, dict) for p in model):
        named = zip(PARTS, model, strict=True)
        return {f"{p}.{str(key).removeprefix(PARALLEL)}": v for p, part in named for key, v in part.items()}
    found = f"a list of {len(model)}" if isinstance(model, list) else type(model).__name__
    raise UserError(
        f"{path}: not an RCAR checkpoint: found {found}, expected a state dict under 'model', or a list of three"
    )
