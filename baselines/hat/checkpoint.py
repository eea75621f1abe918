"""Reads the authors' checkpoint: a PyTorch Lightning 1.3.2 file (hat.md 8) into our names (hat.md 3.3, 3.4)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from baselines.hat.model import HAT
from baselines.published.archive import LazyTensor, TorchZip
from benchmark.errors import UserError
from benchmark.method import Baseline, OfficialWeights

LEVEL_SUFFIXES = ("_1", "_2", "")
"""The published names of the three levels, shallow to deep."""


def our_key(official: str) -> str | None:
    """Our name of an official `state_dict` entry; None for a buffer that is computed here (hat.md 3.3).

    Entries that aren't HAT's come back as they are, and so match nothing.
    """
    if official.endswith((".relative_position_index", ".attn_mask")):
        return None
    if match := re.fullmatch(r"cross_modal_(image|text)_transform(_1|_2|)\.(weight|bias)", official):
        side, suffix, kind = match.groups()
        return f"{side}_projections.{LEVEL_SUFFIXES.index(suffix)}.{kind}"
    if match := re.fullmatch(r"vit_model\.norm_(\d)\.(\w+)", official):
        return f"image_encoder.norms.{match[1]}.{match[2]}"
    if match := re.fullmatch(r"vit_model\.layers\.(\d)\.downsample\.(.+)", official):
        # the patch merging ends stage i in timm 0.4.12 and begins stage i + 1 in timm 1.x
        return f"image_encoder.swin.layers.{int(match[1]) + 1}.downsample.{match[2]}"
    for theirs, ours in (("vit_model.", "image_encoder.swin."), ("text_transformer.", "text_encoder.")):
        if official.startswith(theirs):
            return ours + official.removeprefix(theirs)
    return official


def translate(official: Mapping[str, Tensor], model: HAT, source: str) -> OfficialWeights:
    """Fit an official state dict to `model`; `source` begins the error messages.

    Every entry ends in `state`, `dropped` or `unexpected` (official names), every weight of the model in
    `state` or `missing` (our names). Raises UserError where a shape differs, and where less than half of
    the model's weights are found, since that is a checkpoint of another method.
    """
    wanted = model.state_dict()
    state: dict[str, Tensor] = {}
    dropped, unexpected = [], []
    for key, tensor in official.items():
        name = our_key(key)
        if name is None:
            dropped.append(key)
        elif name not in wanted:
            unexpected.append(key)
        elif tensor.shape != wanted[name].shape:
            raise UserError(
                f"{source}: '{key}' has shape {tuple(tensor.shape)}, this recipe's model expects "
                f"{tuple(wanted[name].shape)}; is it a HAT of other sizes?"
            )
        else:
            state[name] = tensor
    missing = [name for name in wanted if name not in state]
    if 2 * len(state) < len(wanted):
        example = f", such as '{unexpected[0]}'" if unexpected else ""
        raise UserError(
            f"{source}: not a HAT checkpoint: {len(state)} of the {len(wanted)} expected weights found, "
            f"{len(unexpected)} entries are of something else{example}"
        )
    return OfficialWeights(state, missing, unexpected, dropped)


def read_official(path: Path, model: Baseline) -> OfficialWeights:
    """Read the authors' Lightning checkpoint (or a bare state dict) for `model`, running nothing that is in it.

    Raises UserError (one line) for a missing, truncated or damaged file, one of another method or size.
    """
    assert isinstance(model, HAT)
    archive = TorchZip(path)
    content: Any = archive.content
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict):
        raise UserError(
            f"{path}: not a HAT checkpoint: found {type(content).__name__}, expected a state_dict"
        )
    lazy = {str(key): value for key, value in content.items() if isinstance(value, LazyTensor)}
    others = [str(key) for key, value in content.items() if not isinstance(value, LazyTensor)]
    weights = translate({key: archive.tensor(value) for key, value in lazy.items()}, model, str(path))
    return OfficialWeights(weights.state, weights.missing, [*weights.unexpected, *others], weights.dropped)
