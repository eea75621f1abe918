"""Parity of the detector: recorded steps of the public port, from a picture to 36 regions, beside ours.

A file holds a picture and what the port made of it at every step, with the weights in it or made by a formula from the
names and shapes of the published ones (tests/golden/detector/README.md). Ours is the production path in mode `hub`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmark.data.regions.detector.boxes import BEFORE, OVERLAP
from benchmark.data.regions.detector.detector import Detector
from benchmark.data.regions.detector.network import Architecture
from benchmark.data.regions.detector.pictures import prepare
from benchmark.data.regions.detector.published import build_network, manifest, sizes_of
from benchmark.data.regions.detector.selection import PORT_OVERLAPS
from benchmark.data.regions.detector.settings import DetectorSettings
from benchmark.data.regions.detector.weights import check_keys
from benchmark.errors import UserError
from benchmark.guarded import parse_json
from benchmark.method import ParityCase

Array = np.ndarray[Any, Any]

BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
"""Blocks of the stages of a ResNet, by its depth."""

KEPT = ("obj_ids", "obj_probs", "attr_ids", "attr_probs", "boxes", "roi_features")
"""The recorded parts of the regions that are kept."""

TOLERANCES = {
    "input": (1e-4, 0.0),
    "proposals": (0.02, 0.0),
    "kept_boxes": (0.02, 0.0),
    "kept_obj_ids": (0.0, 0.0),
    "kept_attr_ids": (0.0, 0.0),
}
"""What may differ, absolute and of each number; 1e-4 of both where nothing is said, 1e-3 with weights by formula."""

THINNED: Mapping[str, Any] = {
    "res4": np.s_[::16],
    "obj_logits": np.s_[:, ::8],
    "box_deltas": np.s_[:, ::64],
}
"""The channels or columns that recordings with weights by formula keep, to be small."""

GAINS = {"anchor_deltas": 0.3, "objectness_logits": 1.5, "bbox_pred": 0.7, "fc_attr": 1.5, "attr_score": 1.5}
"""The size of weights by formula, where it is not that of convolutions."""

GIVEN = {"config", "image_bgr", "short_side", "longest_side", "cls_score_scale", "cls_score_bias"}


def is_detector_file(content: Mapping[str, Any]) -> bool:
    """A picture with the regions that the public port found in it."""
    return {
        "config",
        "image_bgr",
        "short_side",
        "longest_side",
        "outputs/kept_roi_features",
    } <= content.keys()


def detector_cases(content: Mapping[str, Array]) -> tuple[list[ParityCase], list[str]]:
    """Every recorded step beside ours; also the names of arrays that are not known.

    Raises UserError where the file was recorded with other constants than ours, or with weights of another network.
    """
    config = parse_json(str(content["config"]))
    sizes = recorded_sizes(config)
    weights = {key: content[key] for key in content if key.startswith("weights/")}
    checks = {key: content[key] for key in content if key.startswith("weight_checks/")}
    if weights:
        tensors = {key.removeprefix("weights/"): torch.from_numpy(array) for key, array in weights.items()}
        check_keys(tensors, "recorded weights")
        if sizes_of(tensors) != sizes:
            raise UserError(
                f"field 'config': found {sizes}, expected those of the weights, {sizes_of(tensors)}"
            )
        cases, tolerance = [], 1e-4
    else:
        tensors = formula_weights(sizes, float(content["cls_score_scale"]), content["cls_score_bias"])
        cases, tolerance = [_check_case(tensors, checks)], 1e-3
    for name, ours in steps(content, config, tensors):
        key = f"outputs/{name}"
        if key in content:
            kept = ours if weights else ours[THINNED.get(name, ...)]
            exact, share = TOLERANCES.get(name, (tolerance, tolerance))
            cases.append(ParityCase(key, content[key], kept, exact, share=share))
    known = GIVEN | weights.keys() | checks.keys() | {case.name for case in cases}
    return cases, [key for key in content if key not in known]


def recorded_sizes(config: Mapping[str, Any]) -> Architecture:
    """Return the sizes of the recorded network; UserError where the port's constants were not ours."""
    ours = {"pre_nms_top": BEFORE, "rpn_nms": OVERLAP, "roi_nms": list(PORT_OVERLAPS)}
    for field, value in ours.items():
        if config[field] != value:
            raise UserError(f"field 'config.{field}': found {config[field]}, expected {value}")
    outer = config["res2_out"]
    return Architecture(
        stem=config["stem"],
        inner=config["width_per_group"],
        outer=outer,
        blocks=BLOCKS[config["depth"]],
        hidden=config["rpn_hidden"],
        anchors=len(config["anchor_sizes"]) * len(config["anchor_ratios"]),
        classes=config["classes"],
        embedding=outer,
        attribute_hidden=2 * outer,
        attributes=config["attributes"],
    )


def steps(
    content: Mapping[str, Array], config: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> Iterator[tuple[str, Array]]:
    """Yield the steps from the recorded picture to its regions, as the production path makes them."""
    settings = DetectorSettings(
        mode="hub",
        regions=config["detections"],
        short_side=int(content["short_side"]),
        longest_side=int(content["longest_side"]),
        proposals=config["post_nms_top"],
    )
    detector = Detector(build_network(tensors), settings, torch.device("cpu"))
    network, picture = detector.network, np.ascontiguousarray(content["image_bgr"][..., ::-1])
    pixels = prepare(picture, settings)[None].contiguous(memory_format=torch.channels_last)
    yield "input", pixels[0].numpy()
    with torch.no_grad():
        maps = network.backbone(pixels)
        logits, deltas = (part[0].view(*maps.shape[2:], -1) for part in network.region_head(maps))
        bounds = detector.bounds_of(*picture.shape[:2], *pixels.shape[2:])
        (seen,) = detector.look(pixels, bounds)
        found = detector.regions(seen, bounds, picture.shape, attributes=True)
        attributes = network.box_head.attributes(seen.pooled, seen.logits.argmax(dim=1))
        boxes = network.box_head.bbox_pred(seen.pooled)
    yield "res4", maps[0].numpy()
    yield "objectness_logits", logits.movedim(-1, 0).numpy()
    yield "anchor_deltas", deltas.movedim(-1, 0).numpy()
    yield "proposals", seen.proposals.numpy()
    yield "proposal_logits", seen.objectness.numpy()
    yield "pooled", seen.pooled.numpy()
    yield "obj_logits", seen.logits.numpy()
    yield "attr_logits", attributes.numpy()
    yield "box_deltas", boxes.numpy()
    assert found.attributes is not None, "asked for"
    assert found.attribute_scores is not None, "asked for"
    kept = (
        found.objects,
        found.scores,
        found.attributes,
        found.attribute_scores,
        found.boxes,
        found.features,
    )
    for name, array in zip(KEPT, kept, strict=True):
        yield f"kept_{name}", array[None]


# ------------------------------------------------------------------------------ weights by formula


def formula_weights(sizes: Architecture, scale: float, bias: Array) -> dict[str, Tensor]:
    """Return the weights that the recordings without weights were made with.

    scale: of the weights of classes; bias: of classes. Each tensor is drawn by a generator of its own, whose seed is in
    the sha256 of its name; numbers of batches, which nothing reads, are 0.
    """
    return {key: _formula(key, shape, scale, bias) for key, shape in manifest(sizes).items()}


def _formula(key: str, shape: tuple[int, ...], scale: float, bias: Array) -> Tensor:
    if key.endswith("num_batches_tracked"):
        return torch.tensor(0)
    if key.endswith("cell_anchors.0"):
        return torch.from_numpy(cell_anchors().astype(np.float32))
    if key.endswith("cls_score.bias"):
        return torch.from_numpy(bias)
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "little")
    x = np.random.Generator(np.random.PCG64(seed)).standard_normal(shape)
    fan = np.prod(shape[1:])
    if key.endswith("norm.weight"):
        x = (0.35 if ".conv3." in key else 1.0) * (1 + 0.1 * x)
    elif key.endswith("norm.running_var"):
        x = (5000.0 if "stem" in key else 1.0) * (1 + 0.2 * np.abs(x))
    elif len(shape) == 1:  # biases and means
        x = 0.1 * x
    elif key.endswith("cls_score.weight"):
        x = scale * (8 * (x - x.mean(axis=1, keepdims=True)) / np.sqrt(fan)).astype(np.float32)
    elif key.endswith("cls_embedding.weight"):
        pass
    else:
        gain = next((gain for part, gain in GAINS.items() if f"{part}.weight" in key), np.sqrt(2))
        x = gain * x / np.sqrt(fan)
    return torch.from_numpy(x.astype(np.float32))


def cell_anchors() -> Array:
    """Return the anchors (12, 4) around a place: sides of 64 to 512 pixels, in three shapes (data.md 3.3)."""
    sides, ratios = np.meshgrid([64.0, 128.0, 256.0, 512.0], [0.5, 1.0, 2.0], indexing="ij")
    width = np.sqrt(sides**2 / ratios).ravel()  # (12,)
    height = width * ratios.ravel()
    return np.stack([-width, -height, width, height], axis=1) / 2


def _check_case(tensors: Mapping[str, Tensor], checks: Mapping[str, Array]) -> ParityCase:
    """Put the recorded sum and first three numbers of each weight beside ours."""
    ours = []
    for key in checks:
        flat = tensors[key.removeprefix("weight_checks/")].double().flatten()
        ours.append([float(flat.sum()), *flat[:3].tolist()])
    return ParityCase("weight_checks", np.stack(list(checks.values())), np.array(ours), 1e-9, share=1e-9)
