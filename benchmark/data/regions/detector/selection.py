"""The choice of a picture's regions among its proposals, in two ways: the public port's and the original's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import box_iou, nms

PORT_OVERLAPS = (0.5, 0.6, 0.7)
"""Overlaps that are tried in turn, until enough boxes are left (data.md 3.3)."""

CLASS_OVERLAP = 0.3
"""The overlap from which the worse box of a class is left out (data.md 3.1)."""

THRESHOLD = 0.2
"""Where exactly as many boxes as wanted exceed it, they stay in the order of the proposals (data.md 3.1)."""

PART = 4_096


class Choice(NamedTuple):
    """The kept proposals, in order, with their scores and classes."""

    rows: Tensor
    """(K,) int64."""
    scores: Tensor
    """(K,) probability of the class."""
    objects: Tensor
    """(K,) int64, classes from 0; background is none of them."""


def select_as_port(probabilities: Tensor, boxes: Tensor, count: int) -> Choice:
    """Keep the best of each heap of regressed boxes (P, 4) of the best class, whichever class that is.

    probabilities: (P, classes). Where too few boxes are left at every overlap, the `count` best by score are kept,
    whatever their overlap (the port leaves its result unset).
    """
    scores, objects = probabilities.max(dim=1)
    for overlap in PORT_OVERLAPS:
        rows = nms(boxes, scores, overlap)
        if len(rows) >= count:
            break
    else:
        rows = scores.sort(descending=True, stable=True).indices
    rows = rows[:count]
    return Choice(rows, scores[rows], objects[rows])


def select_as_original(probabilities: Tensor, proposals: Tensor, count: int) -> Choice:
    """Keep the proposals (P, 4) whose best class that non-maximum suppression leaves them is the most probable.

    probabilities: (P, classes); suppression is class by class. Pairs of a proposal and a class are looked at from
    the most to the least probable, so that all that can suppress a pair comes before it, and the first pair that a
    proposal keeps is its best. Where every class of a proposal is suppressed, it comes after all others, by its most
    probable class.
    """
    overlapping = (box_iou(proposals, proposals) > CLASS_OVERLAP).cpu().numpy()  # (P, P)
    flat, classes = probabilities.flatten(), probabilities.shape[1]
    enough = min(count + 1, len(proposals))  # one more than wanted, since the threshold asks for it
    suppressed: dict[int, np.ndarray[Any, Any]] = {}
    best: dict[int, int] = {}  # proposal -> its best pair, in the order of their probabilities
    for pair in _descending(flat):
        row, group = divmod(pair, classes)
        hidden = suppressed.get(group)
        if hidden is None or not hidden[row]:
            suppressed[group] = overlapping[row] if hidden is None else hidden | overlapping[row]
            best.setdefault(row, pair)
            if len(best) == enough:
                break
    pairs = list(best.values())
    if len(pairs) < count:
        for pair in _descending(flat):
            best.setdefault(pair // classes, pair)
        pairs = list(best.values())[:count]
    elif int((flat[pairs] > THRESHOLD).sum()) == count:
        pairs = sorted(pairs[:count])
    kept = torch.tensor(pairs[:count], dtype=torch.int64, device=flat.device)
    return Choice(kept // classes, flat[kept], kept % classes)


def _descending(values: Tensor) -> Iterator[int]:
    """Yield the places of values (N,), the largest first; they are handed over in parts, since few are looked at."""
    for part in values.sort(descending=True, stable=True).indices.split(PART):
        yield from part.tolist()
