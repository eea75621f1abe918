"""Reads the authors' checkpoint: a PyTorch Lightning 1.3.2 file (hat.md 8) into our names (hat.md 3.3, 3.4)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from baselines.hat.model import HAT
from baselines.published.checkpoint import OfficialFile
from benchmark.method import Baseline, OfficialWeights

LEVEL_SUFFIXES = ("_1", "_2", "")
"""The published names of the three levels, shallow to deep."""


def our_key(official: str) -> str | None:
    """Our name of an official `state_dict` entry; None for a buffer that is computed here (hat.md 3.3).

    Entries that are not HAT's come back as they are, and so match nothing.
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


OFFICIAL = OfficialFile("HAT", our_key)


def translate(official: Mapping[str, Tensor], model: HAT, source: str) -> OfficialWeights:
    """Fit an official state dict to `model`, as `OfficialFile.fit` does."""
    return OFFICIAL.fit(official, model.state_dict(), source)


def read_official(path: Path, model: Baseline) -> OfficialWeights:
    """Read the authors' Lightning checkpoint for `model`; raises UserError as `OfficialFile` does."""
    assert isinstance(model, HAT)
    return OFFICIAL.read(path, lambda entries, source: translate(entries, model, source))
