"""Our network as the official graph lists it: layers, what they read and write, their arrays, sizes, pads, strides.

`layer_lists.json` has the full-size graphs, and a checkpoint its own. Sizes, pads and strides are those of our
modules; the names of what a layer reads and writes are the official ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from baselines.dualpath.batch_norm import DeviationNorm
from baselines.dualpath.build import build_dualpath
from baselines.dualpath.checkpoint import (
    UNITS,
    official_names,
    read_net,
    read_params,
    read_text,
    to_official,
)
from baselines.dualpath.checks.replay import StandIn, build_recorded, load_whole
from baselines.dualpath.config import DualPathConfig
from baselines.dualpath.model import DualPath
from baselines.dualpath.text import ResidualUnit
from benchmark.errors import UserError
from benchmark.method import DataFacts, ParityCase

Layer = dict[str, Any]

SUM_NAMES = {"fc2_4": "fc3_1", "fc3_5": "fc4_1", "fc4_7": "fc5_1"}
"""Units whose output is called as if it were the next group's."""


def layer_list(model: DualPath, source: str, words: int, classes: int) -> list[Layer]:
    """All layers after the trunk, whose output is called `source`, in the official order."""
    layers = [*_head_layers(model, source), *_text_layers(model, words)]
    for side, features in (("img", "fc1_1bnxd"), ("txt", "fc5_2bnxd")):
        layers += _classifier_layers(model, side, features, classes)
    return layers


def _head_layers(model: DualPath, source: str) -> Iterator[Layer]:
    head = model.image_head
    yield from _conv(head.hidden, "fc1", source, norm=head.hidden_norm)
    yield _relu("fc1x", "fc1bn", "fc1bnx")
    yield from _conv(head.output, "fc1_1", "fc1bnx", norm=head.output_norm)
    yield _relu("fc1_1x", "fc1_1bn", "fc1_1bnx")
    yield _dropout("dropout", "fc1_1bnx", model.image_dropout)


def _text_layers(model: DualPath, words: int) -> Iterator[Layer]:
    text = model.text
    yield _layer("fc2", "Conv", ["data2"], "fc2", ["fc2f", "fc2b"]) | {
        "size": [1, 1, words, text.words.weight.shape[1]],
        "pad": [0, 0, 0, 0],
        "stride": [1, 1],
        "bias": True,
    }
    yield _norm(text.word_norm, "fc2bn", "fc2")
    source = "fc2bn"
    for names, units in zip(UNITS, text.groups, strict=True):
        for name, unit in zip(names, cast(nn.Sequential, units), strict=True):
            assert isinstance(unit, ResidualUnit)
            yield from _unit_layers(unit, name, source)
            source = f"{SUM_NAMES.get(name, name)}sumx"
    pooled = _layer("fc5_1", "Pooling", [source], "fc5_1bnx", [])
    places = text.config.positions // 4  # two strides of 2
    yield pooled | {"method": "max", "pool": [1, places], "pad": [0, 0, 0, 0], "stride": [1, 1]}
    yield from _conv(text.output, "fc5_2", "fc5_1bnx", norm=text.output_norm)
    yield _relu("fc5_2x", "fc5_2bn", "fc5_2bnx")
    yield _dropout("dropout2", "fc5_2bnx", model.text_dropout)


def _unit_layers(unit: ResidualUnit, name: str, source: str) -> Iterator[Layer]:
    projects = unit.shortcut is not None
    branch = f"{name}a" if projects and name != "fc2_1" else name
    before = source
    for k in (1, 2, 3):
        conv, norm = getattr(unit, f"conv{k}"), getattr(unit, f"norm{k}")
        # the first norm of a unit without projection has a layer name of its own
        own = f"{branch}_1bn_1" if k == 1 and not projects else None
        yield from _conv(
            conv, f"{branch}_{k}", before, norm=norm, norm_layer=own, pad_left=conv.kernel_size[0] - 1
        )
        before = f"{branch}_{k}bn"
        if k < 3:
            yield _relu(f"{branch}_{k}x", before, f"{branch}_{k}bnx")
            before = f"{branch}_{k}bnx"
    if projects:
        assert unit.shortcut is not None
        assert unit.shortcut_norm is not None
        yield from _conv(unit.shortcut, f"{name}b", source, norm=unit.shortcut_norm)
    ends = [before, f"{name}bbn"] if projects else [source, before]
    yield _layer(f"{name}sum", "Sum", ends, f"{name}sum", [])
    yield _relu(f"{name}x", f"{name}sum", f"{SUM_NAMES.get(name, name)}sumx")


def _classifier_layers(model: DualPath, side: str, features: str, classes: int) -> Iterator[Layer]:
    layer, output = model.classifier, f"prediction_{side}"
    bias = layer.bias is not None
    arrays = ["fcsharef", "fcshareb"] if bias else ["fcsharef"]
    plain = {"pad": [0, 0, 0, 0], "stride": [1, 1], "bias": bias}
    yield _layer(f"fc_{side}", "Conv", [features], output, arrays) | {
        "size": [1, 1, layer.in_features, classes],
        **plain,
    }
    for name, kind, written in (
        ("softmaxloss", "softmaxlog", "objective"),
        ("top1err", "classerror", "top1err"),
        ("top5err", "topkerror", "top5err"),
    ):
        inputs = [output, f"label_{side}"]
        yield _layer(f"{name}_{side}", "Loss", inputs, f"{written}_{side}", []) | {"loss": kind}


def _layer(name: str, kind: str, inputs: list[str], output: str, arrays: list[str]) -> Layer:
    return {"name": name, "type": kind, "inputs": inputs, "outputs": [output], "params": arrays}


def _conv(
    conv: nn.Conv1d | nn.Conv2d,
    name: str,
    source: str,
    *,
    norm: DeviationNorm,
    norm_layer: str | None = None,
    pad_left: int = 0,
) -> Iterator[Layer]:
    out, channels, *kernel = conv.weight.shape
    high, wide = kernel if len(kernel) == 2 else (1, kernel[0])
    stride = conv.stride[0]
    yield _layer(name, "Conv", [source], name, [f"{name}f"]) | {
        "size": [high, wide, channels, out],
        "pad": [0, 0, pad_left, 0],
        "stride": [stride, stride],
        "bias": conv.bias is not None,
    }
    yield _norm(norm, norm_layer or f"{name}bn", name)


def _norm(norm: DeviationNorm, layer: str, source: str) -> Layer:
    output = f"{source}bn"
    arrays = [f"{output}_{suffix}" for suffix in "wbm"]
    return _layer(layer, "BatchNorm", [source], output, arrays) | {
        "eps": norm.eps,
        "channels": len(norm.weight),
    }


def _relu(name: str, source: str, output: str) -> Layer:
    return _layer(name, "ReLU", [source], output, []) | {"leak": 0.0}


def _dropout(name: str, source: str, layer: nn.Dropout) -> Layer:
    return _layer(name, "DropOut", [source], f"{source}d", []) | {"rate": layer.p}


# --------------------------------------------------------------------------- full-size graphs


def is_graph_file(document: Any) -> bool:
    """Layers of several networks, and their parameter counts."""
    return (
        isinstance(document, dict)
        and bool(document)
        and all(
            isinstance(net, dict) and {"layers", "trainable_parameter_counts"} <= net.keys()
            for net in document.values()
        )
    )


def graph_cases(document: dict[str, Any]) -> Iterator[ParityCase]:
    """Compare each network's layers, by name, and its parameter counts; the model is built without numbers."""
    if not is_graph_file(document):
        return
    for name, net in document.items():
        sizes = {layer["name"]: layer["size"] for layer in net["layers"] if "size" in layer}
        words, classes = sizes["fc2"][2], sizes["fc_img"][3]
        model = full_size(name, words, classes)
        source = "pool5" if model.trunk.width == 2048 else "x40"
        ours = {layer["name"]: layer for layer in layer_list(model, source, words, classes)}
        listed = [layer["name"] for layer in net["layers"]]
        yield _text_case(f"{name}/names", sorted(listed), sorted(ours))
        for layer in net["layers"]:
            found = ours.get(layer["name"], {})
            described = [{key: value.get(key) for key in layer} for value in (layer, found)]
            yield _text_case(f"{name}/{layer['name']}", *map(str, described))
        counts = parameter_counts(model)
        for part, count in net["trainable_parameter_counts"].items():
            yield ParityCase(f"{name}/parameters/{part}", np.array(count), np.array(counts[part]), 0.0)


def full_size(name: str, words: int, classes: int) -> DualPath:
    """The published model that is called `<dataset>_<trunk>`, without numbers."""
    dataset, trunk = name.split("_")
    resnet, flickr = trunk == "resnet50", dataset == "flickr30k"
    config = DualPathConfig.model_validate(
        {
            "trunk": {"name": "caffe_resnet50" if resnet else "vgg19"},
            "dropout": 0.75 if flickr else 0.5,
            "classifier_bias": resnet and flickr,
        }
    )
    with torch.device("meta"):
        return build_dualpath(config, DataFacts(vocab_size=words, n_train_images=classes))


def parameter_counts(model: DualPath) -> dict[str, int]:
    """Count the parameters of the parts, by their official names."""
    parts = {
        "text_branch_incl_word_layer": model.text,
        "word_layer": model.text.words,
        "image_head": model.image_head,
        "shared_classifier": model.classifier,
    }
    return {name: sum(value.numel() for value in part.parameters()) for name, part in parts.items()}


def _text_case(name: str, expected: object, ours: object) -> ParityCase:
    return ParityCase(name, np.array(str(expected)), np.array(str(ours)), 0.0)


# --------------------------------------------------------------------------------- checkpoints


def mat_cases(path: Path) -> list[ParityCase]:
    """A checkpoint with the golden files' stand-in trunk: its layers beside ours, its arrays through the importer.

    [] for a .mat file of anything else.
    """
    try:
        net, arrays = read_net(path), read_params(path)
    except UserError:
        return []
    if not {"fc2f", "fcsharef", "conv1_filter", "res5c_filter"} <= arrays.keys():
        return []
    model = _build_model(arrays)
    load_whole(model, arrays)
    state, cases = model.state_dict(), []
    for official, ours in official_names(model):
        back = to_official(ours, state[ours])
        cases.append(
            ParityCase(f"params/{official}", arrays[official], back.reshape(arrays[official].shape), 0.0)
        )
    words, classes = arrays["fc2f"].shape[2], arrays["fcsharef"].shape[3]
    ours_by_name = {layer["name"]: layer for layer in layer_list(model, "pool5", words, classes)}
    recorded = {layer["name"]: layer for layer in map(_recorded_layer, net["layers"].flat)}
    for name, layer in ours_by_name.items():
        described = [
            {key: value.get(key) for key in recorded.get(name, layer)}
            for value in (recorded.get(name, {}), layer)
        ]
        cases.append(_text_case(f"layers/{name}", *described))
    return cases


def _build_model(arrays: dict[str, np.ndarray[Any, Any]]) -> DualPath:
    outs = {name: value.shape[-1] for name, value in arrays.items() if value.ndim == 4}
    widths = {
        64: "fc2_2_1f",
        128: "fc2_1_1f",
        256: "fc2_1_3f",
        512: "fc2_4a_3f",
        1024: "fc3_5a_3f",
        2048: "fc5_2f",
    }
    config = {f"c{width}": outs[name] for width, name in widths.items()}
    model = build_recorded(
        config
        | {
            "word_dim": outs["fc2f"],
            "positions": 32,
            "share_bias": "fcshareb" in arrays,
            "img_c": outs["conv1_filter"],
        }
        | {"vocab": arrays["fc2f"].shape[2], "classes": outs["fcsharef"], "trunk_bn_eps": 1e-5}
    ).float()
    assert isinstance(model.trunk, StandIn)
    return model


def _recorded_layer(layer: Any) -> Layer:
    """A layer of a checkpoint in the words of `layer_list`."""
    kind = read_text(layer["type"]).removeprefix("dagnn.")
    names = [[read_text(cell) for cell in layer[field].flat] for field in ("inputs", "outputs", "params")]
    found = dict(zip(("inputs", "outputs", "params"), names, strict=True))
    whole: Layer = {"name": read_text(layer["name"]), "type": kind, **found}
    block = layer["block"][0, 0]
    if kind == "Conv":
        whole |= {field: [int(value) for value in block[field].flat] for field in ("size", "pad", "stride")}
        whole["size"] += [1] * (4 - len(whole["size"]))
        whole["bias"] = bool(block["hasBias"].flat[0])
    elif kind == "BatchNorm":
        whole["eps"] = float(block["epsilon"].flat[0])
    elif kind == "Pooling":
        whole |= {
            "method": read_text(block["method"]),
            "pool": [int(value) for value in block["poolSize"].flat],
        }
    elif kind == "Loss":
        whole["loss"] = read_text(block["loss"])
    return whole
