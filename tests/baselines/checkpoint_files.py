"""Authors' checkpoints for the tests: the entries of small models under official names, in every form of a file."""

from __future__ import annotations

import os
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from baselines.hat.checks.parity import official_key
from baselines.published.pooled_keys import IMAGE_LAYERS, TEXT_LAYERS
from baselines.user.checkpoint import ENHANCEMENT_LAYERS
from benchmark.errors import UserError
from benchmark.method import Baseline
from benchmark.registry import get_method
from tests.baselines.hat.models import tiny_hat
from tests.baselines.rcar.models import tiny_rcar
from tests.baselines.rcar.official import official_entries as rcar_entries
from tests.baselines.sgraf.models import tiny_sgraf
from tests.baselines.sgraf.official import official_entries as sgraf_entries
from tests.baselines.user.models import tiny_user, tiny_vse

Entries = dict[str, Tensor]


@dataclass(frozen=True)
class Family:
    """The checkpoints of one method: a small model of a seed, its official entries, the parts of a list."""

    method: str
    model: Callable[[int], Baseline]
    entries: Callable[[Any], Entries]
    parts: tuple[str, ...] = ()


def hat_entries(model: Baseline) -> Entries:
    """The weights of a HAT under the authors' names."""
    return {official_key(name): tensor for name, tensor in model.state_dict().items()}


def pooled_entries(model: Baseline) -> Entries:
    """The weights of a USER or a VSE-infinity under the authors' names; momentum encoders and queues are not saved."""
    tables = {
        "image_encoder.": ("img_enc", {ours: theirs for theirs, ours in IMAGE_LAYERS.items()}),
        "image_encoder.pooled.": ("img_enc", {ours: theirs for theirs, ours in IMAGE_LAYERS.items()}),
        "image_encoder.enhancement.": (
            "img_enc",
            {ours: theirs for theirs, ours in ENHANCEMENT_LAYERS.items()},
        ),
        "text_encoder.": ("txt_enc", {ours: theirs for theirs, ours in TEXT_LAYERS.items()}),
    }
    entries = {}
    for name, value in model.state_dict().items():
        sides = [side for side in tables if name.startswith(side)]
        if sides:
            part, table = tables[max(sides, key=len)]
            layer, _, leaf = name.removeprefix(max(sides, key=len)).rpartition(".")
            entries[f"{part}.{table.get(layer, layer)}.{leaf}"] = value.clone()
    return entries


POOLED = ("img_enc", "txt_enc")
THREE = ("img_enc", "txt_enc", "sim_enc")
FAMILIES = {
    "hat": Family("hat", lambda seed: tiny_hat(seed=seed), hat_entries),
    "saf": Family("sgraf", lambda seed: tiny_sgraf("SAF", seed=seed), sgraf_entries, THREE),
    "sgr": Family("sgraf", lambda seed: tiny_sgraf("SGR", seed=seed), sgraf_entries, THREE),
    "rcar": Family("rcar", lambda seed: tiny_rcar("i2t", "rcar", 3, seed=seed), rcar_entries, THREE),
    "user": Family("user", lambda seed: tiny_user(seed=seed), pooled_entries, POOLED),
    "vse-bert": Family("vse_infty", lambda seed: tiny_vse(seed=seed), pooled_entries, POOLED),
    "vse-bigru": Family("vse_infty", lambda seed: tiny_vse(seed=seed, text="bigru"), pooled_entries, POOLED),
}


def as_list(entries: Entries, parts: tuple[str, ...], prefix: str = "") -> list[Entries]:
    """Entries `<part>.<key>` as the list of the parts' state dicts."""
    return [
        OrderedDict(
            (prefix + key.removeprefix(f"{part}."), value)
            for key, value in entries.items()
            if key.startswith(f"{part}.")
        )
        for part in parts
    ]


def pooled_parts(model: Baseline) -> list[Entries]:
    """The weights of a USER or a VSE-infinity as the two state dicts of a checkpoint."""
    return as_list(pooled_entries(model), POOLED)


def save_parts(path: Path, parts: Any) -> Path:
    """Write a file as the published training scripts do, their options included."""
    return save(path, {"epoch": 3, "model": parts, "opt": Namespace(batch_size=128), "Eiters": 7})


def document(family: Family, entries: Entries, form: str, prefix: str = "") -> Any:
    """Make the content of a file: `bare`, under `model`, under `state_dict`, or a `list` of parts under `model`."""
    if form == "list":
        return {"epoch": 3, "model": as_list(entries, family.parts, prefix), "best_rsum": 492.1}
    state = OrderedDict((prefix + key, value) for key, value in entries.items())
    return state if form == "bare" else {"epoch": 3, form: state, "Eiters": 7}


def save(path: Path, content: Any, *, old: bool = False) -> Path:
    """Write a file as `torch.save` does today, or did before 1.6."""
    torch.save(content, path, _use_new_zipfile_serialization=not old)
    return path


def one_line_error(method: str, path: Path, model: Baseline) -> str:
    """The error of reading a file, which names it."""
    read = get_method(method).read_official
    assert read is not None
    with pytest.raises(UserError) as caught:
        read(path, model)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


class Evil:
    """Runs a command when an ordinary unpickler reads it."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.victim}",)
