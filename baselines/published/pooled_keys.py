"""Reads checkpoints of VSE-infinity and of what is built on it: lists of two state dicts (user.md 8)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from baselines.published.archive import LazyTensor
from baselines.published.legacy import open_checkpoint
from benchmark.errors import UserError
from benchmark.method import OfficialWeights

PARTS = ("img_enc", "txt_enc")
"""The published parts, in the order of the checkpoint's list; an official key begins with its part's name here."""

PARALLEL = "module."
"""Before every key of a part that was trained in data-parallel form."""

_POOLING = {"gpool.gru": "pooling.gru", "gpool.linear": "pooling.linear"}
IMAGE_LAYERS = {
    "fc": "perceptron.projection",
    "mlp.layers.0": "perceptron.hidden",
    "mlp.layers.1": "perceptron.output",
    "mlp.bns.0": "perceptron.hidden_norm",
    "mlp.bns.1": "perceptron.output_norm",
    **_POOLING,
}
"""Published layers of `PooledRegions`, and ours."""
TEXT_LAYERS = {"linear": "projection", "embed": "words.embedding", "rnn": "words.gru", **_POOLING}
"""Of `PooledBERT`, whose BERT has the same names, and of `PooledGRU`."""


def renamed(key: str, layers: Mapping[str, str]) -> str:
    """An entry `<layer>.<leaf>` with our name of the layer; one that `layers` doesn't have stays as it is."""
    layer, _, leaf = key.rpartition(".")
    return f"{layers.get(layer, layer)}.{leaf}"


def fit(
    official: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    our_key: Callable[[str], str],
    *,
    method: str,
    source: str,
) -> OfficialWeights:
    """Fit official entries `<part>.<key>` to the weights `wanted` of a model; `source` begins the error messages.

    Every entry ends in `state`, `unexpected` or `dropped` (official names), every weight in `state` or `missing`
    (our names). Raises UserError for another shape, and where less than half of the weights are found, since that is
    a checkpoint of another method.
    """
    dropped = [
        key for key in official if key.endswith("bert.embeddings.position_ids")
    ]  # transformers counts itself
    found = {our_key(key): key for key in official if key not in dropped}
    hits = [name for name in wanted if name in found]
    unexpected = [key for name, key in found.items() if name not in wanted]
    if 2 * len(hits) < len(wanted):
        example = f", such as '{unexpected[0]}'" if unexpected else ""
        raise UserError(
            f"{source}: not a checkpoint of {method} as this recipe has it: {len(hits)} of the {len(wanted)} expected "
            f"weights found, {len(unexpected)} entries are of something else{example}"
        )
    for name in hits:
        _check_shape(found[name], official[found[name]], wanted[name], method, source)
    state = {name: official[found[name]] for name in hits}
    return OfficialWeights(state, [name for name in wanted if name not in state], unexpected, dropped)


def _check_shape(key: str, found: Tensor, wanted: Tensor, method: str, source: str) -> None:
    if found.shape == wanted.shape:
        return
    hint = f"is it a {method} of other sizes?"
    if "embed" in key and found.shape[1:] == wanted.shape[1:]:
        hint = f"it needs the vocabulary it was trained with, of {len(found)} entries"
    raise UserError(
        f"{source}: '{key}' has shape {tuple(found.shape)}, this recipe's model expects {tuple(wanted.shape)}; {hint}"
    )


def read_parts(path: Path, method: str) -> tuple[dict[str, Tensor], list[str]]:
    """Tensors `<part>.<key>` of a checkpoint, running nothing that is in it, and the names of other entries.

    The list of state dicts may stand under `model` or alone. Raises UserError (one line) for a missing, truncated
    or damaged file, and for anything else than a list of two.
    """
    archive = open_checkpoint(path)
    content: Any = archive.content
    parts = content.get("model") if isinstance(content, dict) else content
    if not (isinstance(parts, list) and len(parts) == len(PARTS) and all(isinstance(p, dict) for p in parts)):
        found = f"{len(parts)} parts" if isinstance(parts, list) else type(parts).__name__
        raise UserError(
            f"{path}: not a checkpoint of {method}: found {found}, expected a list of two state dicts under 'model'"
        )
    entries = {
        f"{name}.{str(key).removeprefix(PARALLEL)}": value
        for name, part in zip(PARTS, parts, strict=True)
        for key, value in part.items()
    }
    tensors = {key: archive.tensor(value) for key, value in entries.items() if isinstance(value, LazyTensor)}
    return tensors, [key for key in entries if key not in tensors]
