"""Reads a checkpoint of the authors' code: a list of two state dicts (user.md 8) into our names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from baselines.published.checkpoint import OfficialFile, rename_layer
from baselines.published.pooled_keys import COMPUTED, IMAGE_LAYERS, PARTS, TEXT_LAYERS
from baselines.user.model import USER
from benchmark.errors import UserError
from benchmark.method import Baseline, OfficialWeights

ENHANCEMENT_LAYERS = {
    "v_sa.embedding_local.0": "attention.local",
    "v_sa.embedding_local.1": "attention.local_norm",
    "v_sa.embedding_global.0": "attention.query",
    "v_sa.embedding_global.1": "attention.query_norm",
    "v_sa.embedding_common.0": "attention.score",
}
"""Published layers of SGE, and ours."""

KEYS = {"image_keys.": "image_encoder.", "text_keys.": "text_encoder."}
"""The momentum encoders, which no published file holds, and whose copies they begin as."""


def our_key(official: str) -> str | None:
    """Our name of an official entry `<part>.<key>`; one that is not USER's comes back as it is."""
    part, _, key = official.partition(".")
    if key.endswith(COMPUTED):
        return None
    if part == "txt_enc":
        return f"text_encoder.{rename_layer(key, TEXT_LAYERS)}"
    if part == "img_enc" and key.startswith("v_sa."):
        return f"image_encoder.enhancement.{rename_layer(key, ENHANCEMENT_LAYERS)}"
    return f"image_encoder.pooled.{rename_layer(key, IMAGE_LAYERS)}" if part == "img_enc" else official


OFFICIAL = OfficialFile("USER", our_key, PARTS)


def translate(official: Mapping[str, Tensor], model: USER, source: str) -> OfficialWeights:
    """Fit official entries to `model`, as `OfficialFile.fit`; the momentum encoders become copies, the queues stay.

    Also raises UserError where one has SGE and the other has not, and for CGE, which no published file has.
    """
    if model.config.enhancement == "cge":
        raise UserError(
            f"{source}: this recipe's model has enhancement 'cge', a reconstruction (user.md 3.5): the authors' code "
            "has none, so no checkpoint of theirs fits it; take a recipe with enhancement 'sge'"
        )
    sge = any(key.startswith("img_enc.v_sa.") for key in official)
    if sge != (model.config.enhancement == "sge") and "img_enc.fc.weight" in official:
        found = "with" if sge else "without"
        raise UserError(
            f"{source}: found a checkpoint {found} self-guided enhancement, this recipe's model has "
            f"enhancement '{model.config.enhancement}'"
        )
    whole = model.state_dict()
    wanted = {name: value for name, value in whole.items() if not name.startswith((*KEYS, "queues."))}
    weights = OFFICIAL.fit(official, wanted, source)
    for ours, theirs in KEYS.items():
        copied = {name: theirs + name.removeprefix(ours) for name in whole if name.startswith(ours)}
        weights.state.update({n: weights.state[of] for n, of in copied.items() if of in weights.state})
    weights.state.update({name: value for name, value in whole.items() if name.startswith("queues.")})
    return weights


def read_official(path: Path, model: Baseline) -> OfficialWeights:
    """Read a checkpoint of the authors' code for `model`; raises UserError as `OfficialFile` and `translate` do."""
    assert isinstance(model, USER)
    return OFFICIAL.read(path, lambda entries, source: translate(entries, model, source))
