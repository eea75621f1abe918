"""A split -> codes -> similarity matrix: every item is encoded once, pairs are scored in blocks that fit a budget.

What grows with images x captions x tokens lives per block only. Captions are scored in order of length, longest
first, so that a block holds captions of like length and a method that cuts its block to the longest caption
computes little padding; the matrix comes back in the split's order. The plan depends on the codes and the
budget alone, never on the device or on free memory, and is part of the run record.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from math import isqrt
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from benchmark.batches import CaptionBatch, Codes, ImageBatch
from benchmark.errors import UserError
from benchmark.evaluation.ranking import Floats, Ints
from benchmark.inputs import Codec, InputSpec
from benchmark.method import Baseline

if TYPE_CHECKING:
    from benchmark.data.splits import Split


@dataclass(frozen=True)
class BlockPlan:
    """The division of the pairs into blocks; same codes and budget, same plan."""

    n_images: int
    n_captions: int
    memory_bytes: int
    pair_bytes: int
    """The memory of a pair with the longest caption, in bytes."""
    order: str
    """`longest_first` (stable), or `as_given` where the codes have no lengths."""
    image_block: int
    """Images of a block; the last block may have fewer."""
    caption_blocks: tuple[int, ...]
    """Captions of each block, in that order."""

    def summary(self) -> dict[str, int | str]:
        """The plan in a few numbers, for the run record."""
        return {
            "memory_bytes": self.memory_bytes,
            "pair_bytes": self.pair_bytes,
            "order": self.order,
            "image_block": self.image_block,
            "image_blocks": -(-self.n_images // self.image_block),
            "caption_blocks": len(self.caption_blocks),
            "smallest_caption_block": min(self.caption_blocks),
            "largest_caption_block": max(self.caption_blocks),
        }


# --------------------------------------------------------------------------------------- encoding


def encode_split(
    model: Baseline,
    split: Split,
    spec: InputSpec,
    codec: Codec,
    *,
    batch_size: int,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    workers: int = 0,
    show_progress: bool = False,
) -> tuple[Codes, Codes]:
    """Codes of a split's images and captions, on the CPU, in the split's order.

    The encoders run in float32, in evaluation mode, without gradient; floating tensors are then kept as
    `dtype` (float32 or float64: the precision of the scores). `model` is on `device` already.
    """
    from benchmark.data.batches import caption_batches, image_batches

    images = image_batches(split, spec, batch_size=batch_size, workers=workers)
    captions = caption_batches(split, spec, codec, batch_size=batch_size)
    image_codes = encode_images(model, images, len(split.image_ids), device, dtype, show_progress)
    caption_codes = encode_captions(model, captions, len(split.captions), device, dtype, show_progress)
    return image_codes, caption_codes


def encode_images(
    model: Baseline,
    batches: Iterable[ImageBatch],
    n_images: int,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    show_progress: bool = False,
) -> Codes:
    """Codes (n_images, ...) of image batches that hold every row once, in any order."""
    store = _Store(n_images, dtype, "images")
    progress = tqdm(
        total=n_images, desc="encode images", unit="image", disable=None if show_progress else True
    )
    with evaluation_mode(model), progress as bar:
        for batch in batches:
            store.put(batch.index, model.encode_images(batch.to(device)))
            bar.update(len(batch.index))
    return store.codes()


def encode_captions(
    model: Baseline,
    batches: Iterable[CaptionBatch],
    n_captions: int,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    show_progress: bool = False,
) -> Codes:
    """Codes (n_captions, ...) of caption batches that hold every row once, in any order."""
    store = _Store(n_captions, dtype, "captions")
    progress = tqdm(
        total=n_captions, desc="encode captions", unit="caption", disable=None if show_progress else True
    )
    with evaluation_mode(model), progress as bar:
        for batch in batches:
            store.put(batch.index, model.encode_captions(batch.to(device)))
            bar.update(len(batch.index))
    return store.codes()


class _Store:
    """Codes filled batch by batch, in place: joining lists at the end would take the memory twice."""

    def __init__(self, n_items: int, dtype: torch.dtype, what: str) -> None:
        self.n_items, self.dtype, self.what = n_items, dtype, what
        self.tensors: dict[str, Tensor] = {}
        self.seen = torch.zeros(n_items, dtype=torch.long)

    def put(self, index: Tensor, codes: Codes) -> None:
        index = index.cpu()
        self.seen += torch.bincount(index, minlength=self.n_items)
        for name, value in codes.tensors.items():
            kept = value.to("cpu", self.dtype if value.is_floating_point() else value.dtype)
            self._room(name, kept)
            if kept.ndim > 1 and kept.shape[1] < self.tensors[name].shape[1]:
                self.tensors[name][index, : kept.shape[1]] = kept
            else:
                self.tensors[name][index] = kept

    def _room(self, name: str, value: Tensor) -> None:
        """Make space for `value`; batches may be padded to different lengths (dimension 1), the rest is 0."""
        held = self.tensors.get(name)
        if held is None:
            self.tensors[name] = value.new_zeros(self.n_items, *value.shape[1:])
            return
        fits = held.shape[2:] == value.shape[2:] and held.ndim == value.ndim
        if not fits or (held.shape[1:] != value.shape[1:] and "lengths" not in self.tensors):
            found, expected = tuple(value.shape[1:]), tuple(held.shape[1:])
            raise UserError(
                f"codes of {self.what}: '{name}' has items of shape {found}, before it was {expected}"
            )
        if value.ndim > 1 and value.shape[1] > held.shape[1]:
            wider = held.new_zeros(self.n_items, *value.shape[1:])
            wider[:, : held.shape[1]] = held
            self.tensors[name] = wider

    def codes(self) -> Codes:
        if not (self.seen == 1).all():
            row = int((self.seen != 1).nonzero()[0])
            raise UserError(f"{self.what}: row {row} came {int(self.seen[row])} times, expected once")
        return Codes(self.tensors)


# ---------------------------------------------------------------------------------------- scoring


def score(
    model: Baseline,
    images: Codes,
    captions: Codes,
    *,
    memory_bytes: int,
    device: torch.device,
    show_progress: bool = False,
) -> tuple[Floats, BlockPlan]:
    """The similarity matrix (n_images, n_captions), in blocks whose temporaries fit `memory_bytes`.

    Scores have the precision of the codes. Another budget changes them by rounding at most (1e-6). Codes may
    lie anywhere; on a GPU they are moved once where they fit beside the budget, else block by block.
    Raises UserError where a single pair is over the budget, and for scores of a wrong shape, NaN or infinite.
    """
    plan, order = plan_blocks(model, images, captions, memory_bytes)
    images = _near(images, device, memory_bytes)
    captions = _near(captions, device, memory_bytes)
    sims: Floats | None = None
    total = plan.n_images * plan.n_captions
    with (
        evaluation_mode(model),
        _precision(model, images),
        tqdm(
            total=total, desc="score", unit="pair", unit_scale=True, disable=None if show_progress else True
        ) as bar,
    ):
        for rows, columns in _blocks(plan, order):
            block = model.similarity(images.rows(rows).to(device), captions.rows(columns).to(device))
            values = _checked(block, rows, columns)
            if sims is None:
                sims = np.empty((plan.n_images, plan.n_captions), values.dtype)
            sims[rows, columns.numpy()] = values
            bar.update(values.size)
    assert sims is not None
    return sims, plan


def plan_blocks(model: Baseline, images: Codes, captions: Codes, memory_bytes: int) -> tuple[BlockPlan, Ints]:
    """Divide the pairs into nearly square blocks, so that work done once an item (Gram matrices) pays.

    Returns the plan and the order of captions (n_captions,) that its blocks follow. A method's temporary
    bytes a pair grow with caption length; the longest caption of a block stands for all of them.
    """
    n_images, n_captions = len(images), len(captions)
    if not n_images or not n_captions:
        raise UserError(f"scoring: found {n_images} images and {n_captions} captions, expected some of both")
    order = np.arange(n_captions)
    if "lengths" in captions.tensors:
        order = np.argsort(-captions["lengths"].cpu().numpy(), kind="stable")
    image = images.rows(slice(0, 1))

    def pair_bytes(position: int) -> int:
        """Bytes of a pair with the caption at `position`."""
        caption = captions.rows(torch.from_numpy(order[position : position + 1]))
        return max(1, model.pair_bytes(image, caption))

    largest = pair_bytes(0)
    if largest > memory_bytes:
        raise UserError(
            f"evaluation.memory_mb: one pair takes {largest / 2**20:.1f} MB, "
            f"the budget is {memory_bytes / 2**20:.1f} MB"
        )
    cells = memory_bytes // largest
    image_block = min(n_images, max(isqrt(cells), cells // n_captions))
    sizes: list[int] = []
    while (start := sum(sizes)) < n_captions:
        fitting = memory_bytes // pair_bytes(start) // image_block
        sizes.append(min(n_captions - start, max(1, fitting)))
    ordered = "longest_first" if "lengths" in captions.tensors else "as_given"
    plan = BlockPlan(n_images, n_captions, memory_bytes, largest, ordered, image_block, tuple(sizes))
    return plan, order


def _blocks(plan: BlockPlan, order: Ints) -> Iterator[tuple[slice, Tensor]]:
    """Image rows and caption rows of every block; images outside: their codes are the larger to move."""
    for start in range(0, plan.n_images, plan.image_block):
        rows = slice(start, min(start + plan.image_block, plan.n_images))
        position = 0
        for size in plan.caption_blocks:
            yield rows, torch.from_numpy(order[position : position + size])
            position += size


def _checked(block: Tensor, rows: slice, columns: Tensor) -> Floats:
    """The block as an array (image rows, caption rows), after a look at its shape and values."""
    expected = (rows.stop - rows.start, len(columns))
    if tuple(block.shape) != expected:
        raise UserError(f"scores: the method returned shape {tuple(block.shape)}, expected {expected}")
    values: Floats = block.to(torch.promote_types(block.dtype, torch.float32)).cpu().numpy()
    finite = np.isfinite(values)
    if not finite.all():
        row, column = np.argwhere(~finite)[0]
        raise UserError(
            f"scores: the method returned {values[row, column]} for image {rows.start + int(row)}, "
            f"caption {int(columns[int(column)])}, expected finite numbers"
        )
    return values


@contextmanager
def evaluation_mode(model: Baseline) -> Iterator[None]:
    """Evaluation mode without gradient; training goes on as before afterwards."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        if was_training:
            model.train()


@contextmanager
def _precision(model: Baseline, codes: Codes) -> Iterator[None]:
    """Hold the similarity's parameters in float64 where the codes are; they come back in float32 unchanged."""
    wide = any(value.dtype == torch.float64 for value in codes.tensors.values())
    changed: list[Tensor] = []
    if wide and isinstance(model, nn.Module):
        tensors: Iterable[Any] = chain(model.parameters(), model.buffers())
        changed = [tensor for tensor in tensors if tensor.dtype == torch.float32]
    for tensor in changed:
        tensor.data = tensor.data.double()
    try:
        yield
    finally:
        for tensor in changed:
            tensor.data = tensor.data.float()


def _near(codes: Codes, device: torch.device, reserved: int) -> Codes:
    """Move all codes to a GPU at once if they take less than half of the memory left beside the budget."""
    if device.type != "cuda":
        return codes
    size = sum(tensor.nbytes for tensor in codes.tensors.values() if tensor.device != device)
    free, _ = torch.cuda.mem_get_info(device)
    return codes.to(device) if size < (free - reserved) // 2 else codes
