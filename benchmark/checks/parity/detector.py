"""Parity of the detector: recorded steps of the public port, from a picture to 36 regions, beside ours.

A file holds a picture and what the port made of it at every step, with the weights in it or made by a formula from the
names and shapes of the published ones (tests/golden/detector/README.md). Ours is the production path in mode `hub`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmark.data.regions.detector.boxes import BEFORE, OVERLAP
from benchmark.data.regions.detector.detector import Detector
from benchmark.data.regions.detector.formula import formula_weights
from benchmark.data.regions.detector.network import Architecture
from benchmark.data.regions.detector.pictures import prepare
from benchmark.data.regions.detector.published import build_network, sizes_of
from benchmark.data.regions.detector.selection import PORT_OVERLAPS
from benchmark.data.regions.detector.settings import DetectorSettings
from benchmark.data.regions.detector.weights import check_keys
from benchmark.errors import UserError
from benchmark.guarded import parse_json
from benchmark.method import ParityCase

Array = np.ndarray[Any, Any]

BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
"""Blocks of the stages of a ResNet, by its depth."""

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

    Raises UserError where the file was recorded with other constants than ours or cannot be replayed.
    """
    try:
        sizes = recorded_sizes(parse_json(str(content["config"])))
        tensors = _tensors(content, sizes)
        if sizes_of(tensors) != sizes:
            raise UserError(f"field 'config': found {sizes}, expected the weights' {sizes_of(tensors)}")
        detector = Detector(build_network(tensors), recorded_settings(content), torch.device("cpu"))
        cases = [*weight_cases(content, tensors), *step_cases(content, detector)]
    except (KeyError, ValueError, IndexError, TypeError, RuntimeError) as error:
        raise UserError(f"the recorded detector cannot be replayed: {error!r}"[:300]) from error
    known = GIVEN | {word for case in cases for word in case.name.split()}
    given = ("weights/", "weight_checks/")
    return cases, [key for key in content if key not in known and not key.startswith(given)]


def _tensors(content: Mapping[str, Array], sizes: Architecture) -> dict[str, Tensor]:
    """Return the weights of a file, or those by formula where it has none."""
    arrays = {key.removeprefix("weights/"): content[key] for key in content if key.startswith("weights/")}
    if not arrays:
        return formula_weights(sizes, float(content["cls_score_scale"]), content["cls_score_bias"])
    tensors = {key: torch.from_numpy(array) for key, array in arrays.items()}
    check_keys(tensors, "recorded weights")
    return tensors


def weight_cases(content: Mapping[str, Array], tensors: Mapping[str, Tensor]) -> Iterator[ParityCase]:
    """Yield the recorded sums and first three numbers of weights by formula beside ours, in one case."""
    checks = {key: content[key] for key in content if key.startswith("weight_checks/")}
    flat = [tensors[key.removeprefix("weight_checks/")].double().flatten() for key in checks]
    if checks:
        ours = np.array([[float(tensor.sum()), *tensor[:3].tolist()] for tensor in flat])
        yield ParityCase("weight_checks", np.stack(list(checks.values())), ours, 1e-9, share=1e-9)


def step_cases(content: Mapping[str, Array], detector: Detector) -> Iterator[ParityCase]:
    """Yield every recorded step from picture to regions beside that of a detector."""
    thinned = "cls_score_scale" in content
    close = 1e-3 if thinned else 1e-4
    for name, ours in steps(content["image_bgr"], detector):
        key = f"outputs/{name}"
        if key in content:
            exact, share = TOLERANCES.get(name, (close, close))
            kept = ours[THINNED[name]] if thinned and name in THINNED else ours
            yield ParityCase(key, content[key], kept, exact, share=share)


def recorded_settings(content: Mapping[str, Array]) -> DetectorSettings:
    """Return the settings that a file was recorded with."""
    config = parse_json(str(content["config"]))
    return DetectorSettings(
        mode="hub",
        regions=config["detections"],
        short_side=int(content["short_side"]),
        longest_side=int(content["longest_side"]),
        proposals=config["post_nms_top"],
    )


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


def steps(picture_bgr: Array, detector: Detector) -> Iterator[tuple[str, Array]]:
    """Yield the steps from a picture to its regions, as the production path makes them."""
    network, picture = detector.network, np.ascontiguousarray(picture_bgr[..., ::-1])
    pixels = prepare(picture, detector.settings)[None].contiguous(memory_format=torch.channels_last)
    yield "input", pixels[0].numpy()
    with torch.no_grad():
        maps = network.backbone(pixels)
        logits, deltas = (part[0].view(*maps.shape[2:], -1) for part in network.region_head(maps))
        bounds = detector.bounds_of(picture, pixels)
        (seen,) = detector.look(pixels, bounds)
        found = detector.regions(seen, bounds, attributes=True)
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
    yield "kept_obj_ids", found.objects[None]
    yield "kept_obj_probs", found.scores[None]
    yield "kept_attr_ids", np.asarray(found.attributes)[None]
    yield "kept_attr_probs", np.asarray(found.attribute_scores)[None]
    yield "kept_boxes", found.boxes[None]
    yield "kept_roi_features", found.features[None]
