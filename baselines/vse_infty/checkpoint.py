"""Reads a published checkpoint: a list of two state dicts, with or without `module.` (user.md 8) into our names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from baselines.published.pooled_keys import IMAGE_LAYERS, TEXT_LAYERS, fit, read_parts, renamed
from baselines.vse_infty.model import VSEInfinity
from benchmark.errors import UserError
from benchmark.method import Baseline, OfficialWeights

METHOD = "VSE-infinity"


def our_key(official: str) -> str:
    """Our name of an official entry `<part>.<key>`; one that isn't VSE-infinity's comes back as it is."""
    part, _, key = official.partition(".")
    if part == "img_enc":
        return f"image_encoder.{renamed(key, IMAGE_LAYERS)}"
    return f"text_encoder.{renamed(key, TEXT_LAYERS)}" if part == "txt_enc" else official


def translate(official: Mapping[str, Tensor], model: VSEInfinity, source: str) -> OfficialWeights:
    """Fit official entries to `model`, as `fit` does; also raises UserError for the other text encoder."""
    bert = any(key.startswith("txt_enc.bert.") for key in official)
    text = "bert" if bert else "bigru" if "txt_enc.embed.weight" in official else None
    if text not in (None, model.config.text):
        raise UserError(
            f"{source}: found a checkpoint of text '{text}', this recipe's model has text '{model.config.text}'"
        )
    return fit(official, model.state_dict(), our_key, method=METHOD, source=source)


def read_official(path: Path, model: Baseline) -> OfficialWeights:
    """Read a published checkpoint for `model`, running nothing that is in it.

    Raises UserError (one line) for a missing, truncated or damaged file, one of another method, text encoder or size.
    """
    assert isinstance(model, VSEInfinity)
    tensors, others = read_parts(path, METHOD)
    weights = translate(tensors, model, str(path))
    return OfficialWeights(weights.state, weights.missing, [*weights.unexpected, *others], weights.dropped)
