"""Reads a published checkpoint: a list of two state dicts (user.md 8) into our names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from baselines.published.checkpoint import OfficialFile, rename_layer
from baselines.published.pooled_keys import COMPUTED, IMAGE_LAYERS, PARTS, TEXT_LAYERS
from baselines.vse_infty.model import VSEInfinity
from benchmark.errors import UserError
from benchmark.method import Baseline, OfficialWeights


def our_key(official: str) -> str | None:
    """Our name of an official entry `<part>.<key>`; one that is not VSE-infinity's comes back as it is."""
    part, _, key = official.partition(".")
    if key.endswith(COMPUTED):
        return None
    if part == "img_enc":
        return f"image_encoder.{rename_layer(key, IMAGE_LAYERS)}"
    return f"text_encoder.{rename_layer(key, TEXT_LAYERS)}" if part == "txt_enc" else official


OFFICIAL = OfficialFile("VSE-infinity", our_key, PARTS)


def translate(official: Mapping[str, Tensor], model: VSEInfinity, source: str) -> OfficialWeights:
    """Fit official entries to `model`, as `OfficialFile.fit`; also raises UserError for the other text encoder."""
    bert = any(key.startswith("txt_enc.bert.") for key in official)
    text = "bert" if bert else "bigru" if "txt_enc.embed.weight" in official else None
    if text not in (None, model.config.text):
        raise UserError(
            f"{source}: found a checkpoint of text '{text}', this recipe's model has text '{model.config.text}'"
        )
    return OFFICIAL.fit(official, model.state_dict(), source)


def read_official(path: Path, model: Baseline) -> OfficialWeights:
    """Read a published checkpoint for `model`; raises UserError as `OfficialFile` and `translate` do."""
    assert isinstance(model, VSEInfinity)
    return OFFICIAL.read(path, lambda entries, source: translate(entries, model, source))
