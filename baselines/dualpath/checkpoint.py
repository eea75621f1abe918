"""The authors' files: names of their arrays and ours, MatConvNet checkpoints, trunks (dualpath.md 8).

Layouts differ: filters are [height, width, in, out] there. Arrays are found by name, never by their place.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from scipy.io import loadmat
from torch import Tensor, nn

from baselines.dualpath.model import DualPath
from baselines.dualpath.text import ResidualUnit
from baselines.dualpath.trunks import OfficialNames, Trunk
from benchmark.errors import UserError
from benchmark.method import Baseline, OfficialWeights

Array = np.ndarray[Any, Any]

UNITS = (
    ("fc2_1", "fc2_2", "fc2_3"),
    ("fc2_4", "fc3_2", "fc3_3", "fc3_4"),
    ("fc3_5", "fc4_2", "fc4_3", "fc4_4", "fc4_5", "fc4_6"),
    ("fc4_7",),
)
"""Official names of the residual units of the text path, group after group (dualpath.md 3.3)."""

CLASSIFIER = ("fcsharef", "fcshareb")
"""The shared classifier, whose rows are the authors' training images: no evaluation needs it (dualpath.md 3.4)."""

WORDS = "text.words.weight"
"""Our word layer, whose rows are words there too."""

SUFFIXES = {"w": "weight", "b": "bias", "m": "moments"}
"""Endings of a norm's official arrays, and our names."""


def official_names(model: DualPath) -> OfficialNames:
    """Every array of a checkpoint and our name of it, trunk first; raises UserError for text of another depth."""
    names = [(official, f"trunk.{ours}") for official, ours in model.trunk.official_names()]
    names += _layer("fc1", "image_head.hidden") + _layer("fc1_1", "image_head.output")
    names += [("fc2f", WORDS), ("fc2b", "text.words.bias"), *_norm("fc2bn", "text.word_norm")]
    for number, units in enumerate(model.text.groups):
        assert isinstance(units, nn.Sequential)
        if len(units) != len(UNITS[number]):
            raise UserError(
                f"field 'model.text.units.{number}': found {len(units)}, expected {len(UNITS[number])}: the authors' "
                "files have no other depth"
            )
        for place, unit in enumerate(units):
            assert isinstance(unit, ResidualUnit)
            names += _unit(UNITS[number][place], f"text.groups.{number}.{place}", unit)
    names += _layer("fc5_2", "text.output")
    biases = [("fcshareb", "classifier.bias")] if model.classifier.bias is not None else []
    return [*names, ("fcsharef", "classifier.weight"), *biases]


def _unit(official: str, ours: str, unit: ResidualUnit) -> OfficialNames:
    projects = unit.shortcut is not None
    # a projecting unit's branches are a and b, but for the first one's
    branch = f"{official}a" if projects and official != UNITS[0][0] else official
    names = []
    for k in (1, 2, 3):
        names.append((f"{branch}_{k}f", f"{ours}.conv{k}.weight"))
        names += _norm(f"{branch}_{k}bn", f"{ours}.norm{k}")
    if projects:
        names.append((f"{official}bf", f"{ours}.shortcut.weight"))
        names += _norm(f"{official}bbn", f"{ours}.shortcut_norm")
    return names


def _layer(official: str, ours: str) -> OfficialNames:
    return [(f"{official}f", f"{ours}.weight"), *_norm(f"{official}bn", f"{ours}_norm")]


def _norm(official: str, ours: str) -> OfficialNames:
    return [(f"{official}_{suffix}", f"{ours}.{part}") for suffix, part in SUFFIXES.items()]


# ----------------------------------------------------------------------------------------- layouts


def to_ours(array: Array, name: str, ours: Tensor) -> Tensor:
    """An official array in the shape of ours, whose name is `name`; ValueError where its size differs."""
    shape = tuple(array.shape)
    if ours.ndim >= 2 and not name.endswith(".moments"):
        array = array.reshape(shape + (1,) * (4 - array.ndim))  # what MATLAB dropped at the end
        array = array[0, 0] if name == WORDS else array.transpose(3, 2, 0, 1)
    fits = array.size == ours.numel() and (ours.ndim < 2 or array.shape[:2] == tuple(ours.shape[:2]))
    if not fits:
        raise ValueError(f"found shape {shape}, which is not that of ours, {tuple(ours.shape)}")
    return torch.from_numpy(np.ascontiguousarray(array)).reshape(ours.shape)


def to_official(name: str, ours: Tensor) -> Array:
    """One of our tensors, whose name is `name`, in the official layout."""
    value = ours.detach().numpy()
    if name == WORDS:
        return value[None, None]
    if ours.ndim < 2 or name.endswith(".moments"):
        return value
    if ours.ndim == 2:  # a linear layer
        return value.T[None, None]
    return value.transpose(2, 1, 0)[None] if ours.ndim == 3 else value.transpose(2, 3, 1, 0)


def translate(arrays: Mapping[str, Array], model: DualPath) -> OfficialWeights:
    """Official arrays as our state; those of an unknown name are `unexpected`.

    A classifier that is missing, or of another number of images, leaves the model's own in its place. Raises
    UserError where any other array has a shape that does not fit.
    """
    names, state, dropped = official_names(model), model.state_dict(), []
    found: dict[str, Tensor] = {}
    missing = []
    for official, ours in names:
        if official not in arrays and official in CLASSIFIER:
            found[ours] = state[ours].clone()
            continue
        if official not in arrays:
            missing.append(ours)
            continue
        try:
            found[ours] = to_ours(arrays[official], ours, state[ours])
        except ValueError as error:
            if official not in CLASSIFIER:
                raise UserError(f"array '{official}': {error}; is the recipe's model of this size?") from None
            found[ours] = state[ours].clone()
            dropped.append(official)
    known = {official for official, _ in names}
    extra = [name for name in arrays if name not in known]
    dropped += [name for name in extra if name in CLASSIFIER]
    return OfficialWeights(found, missing, [name for name in extra if name not in CLASSIFIER], dropped)


# ------------------------------------------------------------------------------------------- files


def read_official(path: Path, model: Baseline) -> OfficialWeights:
    """The weights of a `net-epoch-K.mat`; raises UserError where the file is another or does not fit the model."""
    assert isinstance(model, DualPath)
    try:
        weights = translate(read_params(path), model)
    except UserError as error:
        raise UserError(f"{path.as_posix()}: {error}") from None
    dtypes = {name: tensor.dtype for name, tensor in model.state_dict().items()}
    return OfficialWeights(
        {name: tensor.to(dtypes[name]) for name, tensor in weights.state.items()},
        weights.missing,
        weights.unexpected,
        weights.dropped,
    )


def load_trunk(path: Path, trunk: nn.Module) -> None:
    """Put MatConvNet's ImageNet weights into a trunk; layers that it does not have (the last, fc8) are passed over.

    Raises UserError where the file is missing or lacks an array of the trunk.
    """
    if not path.is_file():
        raise UserError(
            f"{path.as_posix()}: no such file: MatConvNet's pretrained network (field model.trunk.name); put it there, "
            "or take timm_resnet50"
        )
    arrays, state = read_params(path), trunk.state_dict()
    for official, ours in cast(Trunk, trunk).official_names():
        if official not in arrays:
            raise UserError(f"{path.as_posix()}: found no array '{official}', which the trunk needs")
        try:
            state[ours].copy_(to_ours(arrays[official], ours, state[ours]))
        except ValueError as error:
            raise UserError(f"{path.as_posix()}: array '{official}': {error}") from None


def read_params(path: Path) -> dict[str, Array]:
    """Name -> array of a MatConvNet network, a DagNN alone or in a checkpoint, or a SimpleNN; unsqueezed.

    Raises UserError where the file is no such.
    """
    net = read_net(path)
    if "params" in (net.dtype.names or ()):
        return {read_text(param["name"]): param["value"] for param in net["params"].flat}
    arrays = {}
    for layer in (cell[0, 0] for cell in net["layers"].flat):  # filters and biases of each layer
        if "weights" in (layer.dtype.names or ()):
            for kind, value in zip("fb", layer["weights"].flat, strict=False):
                arrays[f"{read_text(layer['name'])}{kind}"] = value.reshape(-1) if kind == "b" else value
    return arrays


def read_net(path: Path) -> Any:
    """The struct `net` of a .mat file, or its top level where it is a network itself."""
    try:
        document = loadmat(path)
    except FileNotFoundError:
        raise UserError(f"{path.as_posix()}: no such file") from None
    except NotImplementedError:
        raise UserError(f"{path.as_posix()}: a .mat file of version 7.3; save it as version 7") from None
    except Exception as error:  # scipy raises nearly anything on a damaged file
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path.as_posix()}: not a readable .mat file: {reason}") from None
    if "net" in document:
        return document["net"][0, 0]
    parts = [name for name in ("params", "layers") if name in document]
    if not parts:
        names = sorted(name for name in document if not name.startswith("__"))
        raise UserError(f"{path.as_posix()}: found {names}, expected a variable net, params or layers")
    net = np.empty(1, dtype=[(name, object) for name in parts])
    net[0] = tuple(document[name] for name in parts)
    return net[0]


def read_text(cell: Any) -> str:
    """A MATLAB string as scipy reads it."""
    return str(np.asarray(cell).reshape(-1)[0]) if np.asarray(cell).size else ""
