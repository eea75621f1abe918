"""A split -> codes -> similarity matrix: every item is encoded once, pairs are scored in blocks that fit a budget.

What grows with images x captions x tokens lives per block only, and so do the codes of images: a block of them is
scored with all captions as soon as it is encoded, and forgotten. Captions are scored in order of length, longest
first, so that a block holds captions of like length and a method that cuts its block to the longest caption
computes little padding; the matrix comes back in the split's order. The plan depends on the codes and the
budget alone, never on the device or on free memory, and is part of the run record. Where a device runs out of memory
nevertheless, a block is scored in halves, and the plan says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from math import isqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmark.batches import Codes, ImageBatch
from benchmark.distributed.processes import Processes
from benchmark.distributed.shares import divide_evenly
from benchmark.errors import UserError
from benchmark.evaluation.encoding import (
    Bar,
    Store,
    Window,
    encode_each,
    evaluation_mode,
    share_codes,
    show_bar,
    store_codes,
)
from benchmark.evaluation.ranking import Floats, Ints
from benchmark.evaluation.strips import Strip
from benchmark.memory import MEGABYTE, first_fitting, give_back, halves, peak_on, ran_out
from benchmark.method import Baseline


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
    halvings: int = 0
    """How often captions of a block were halved, from the block on that first ran out of memory."""

    def image_rows(self) -> Iterator[slice]:
        """The rows of each block of images."""
        for start in range(0, self.n_images, self.image_block):
            yield slice(start, min(start + self.image_block, self.n_images))

    def summary(self) -> dict[str, int | str]:
        """The plan in a few numbers, for the run record; of halvings where there were some."""
        halved = {"halvings": self.halvings} if self.halvings else {}
        return {
            "memory_bytes": self.memory_bytes,
            "pair_bytes": self.pair_bytes,
            "order": self.order,
            "image_block": self.image_block,
            "image_blocks": -(-self.n_images // self.image_block),
            "caption_blocks": len(self.caption_blocks),
            "smallest_caption_block": min(self.caption_blocks),
            "largest_caption_block": max(self.caption_blocks),
            **halved,
        }


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
    scoring = _Scoring(model, captions, plan, order, device)
    images = move_near(images, device, memory_bytes)
    with evaluation_mode(model), show_bar(scoring.pairs, "score", "pair", show_progress, scaled=True) as bar:
        for rows in plan.image_rows():
            scoring.strip(rows, images.rows(rows), bar)
    return scoring.result()


def score_batches(
    model: Baseline,
    batches: Iterable[ImageBatch],
    n_images: int,
    captions: Codes,
    *,
    memory_bytes: int,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    keep_bytes: int = 0,
    show_progress: bool = False,
) -> tuple[Floats, BlockPlan, Codes]:
    """Encode images and score each block of them with all captions: matrix and plan of `score`, to the bit.

    The codes of a block are forgotten once it is scored; those of the first images come back, as many as fit into
    `keep_bytes`. Errors as `encode_images` and `score`.
    """
    with (
        evaluation_mode(model),
        show_bar(n_images, "encode images", "image", show_progress) as encoded,
        show_bar(n_images * len(captions), "score", "pair", show_progress, scaled=True) as scored,
    ):
        parts = encode_each(model.encode_images, batches, device, encoded)
        begin = next(parts, None)
        if begin is None:
            raise UserError("images: row 0 came 0 times, expected once")
        parts, one = chain([begin], parts), begin[1].rows(slice(0, 1)).of_type(dtype)
        if "lengths" in one.tensors:  # padded to the longest of all, which is not known before the last
            images = store_codes(parts, n_images, dtype, "images")
            return (*score(model, images, captions, memory_bytes=memory_bytes, device=device), images)
        plan, order = plan_blocks(model, one, captions, memory_bytes, n_images)
        scoring, window = (
            _Scoring(model, captions, plan, order, device),
            Window(list(plan.image_rows()), dtype, "images"),
        )
        kept = Store(min(n_images, -(-keep_bytes // one.nbytes)), dtype, "images")
        for index, codes in parts:
            first = (index < kept.n_items).nonzero().squeeze(1)
            kept.put(index[first], codes.rows(first))
            for rows, block in window.put(index, codes):
                scoring.strip(rows, block, scored)
        window.end()
    return (*scoring.result(), kept.codes())


Load = Callable[[Callable[[int, Sequence[int]], bool]], Iterable[ImageBatch]]
"""Loads the batches of images that are wanted, by the number of a batch and its rows."""


def score_together(
    model: Baseline,
    load: Load,
    n_images: int,
    captions: Codes,
    *,
    now: Processes,
    memory_bytes: int,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    keep_bytes: int = 0,
    show_progress: bool = False,
) -> tuple[Strip, BlockPlan, Codes]:
    """Score as `score_batches` does, each process some of the image blocks: of the same batches and plan, to the bit.

    A process encodes the batches that its blocks take part in. Where there are fewer blocks than processes, all encode
    a share of the batches, and tell each other the codes.
    """
    with (
        evaluation_mode(model),
        show_bar(n_images, "encode images", "image", show_progress) as encoded,
        show_bar(n_images * len(captions), "score", "pair", show_progress, scaled=True) as scored,
    ):
        begin = next(iter(load(lambda number, _: number == 0)))
        _, some = next(encode_each(model.encode_images, [begin], device, encoded))
        one = some.rows(slice(0, 1)).of_type(dtype)
        padded = "lengths" in one.tensors  # to the longest of all, which is not known before the last
        plan, order = plan_blocks(model, one, captions, memory_bytes, n_images)
        blocks = list(plan.image_rows())
        counts = divide_evenly(len(blocks), now.size)
        mine = blocks[sum(counts[: now.rank]) :][: counts[now.rank]]
        rows = slice(mine[0].start, mine[-1].stop) if mine else slice(n_images, n_images)
        parts: Iterator[tuple[Tensor, Codes]]
        if padded or len(blocks) < now.size:
            share = load(lambda number, _: number % now.size == now.rank)
            encoding = encode_each(model.encode_images, share, device, encoded)
            codes = share_codes(encoding, n_images, dtype, "images", now)
            if padded:
                plan, order = plan_blocks(model, codes, captions, memory_bytes)
            parts = iter([(torch.arange(rows.start, rows.stop), codes.rows(rows))] if mine else [])
        else:
            touching = load(lambda _, found: any(rows.start <= row < rows.stop for row in found))
            parts = encode_each(model.encode_images, touching, device, encoded)
        scoring = _Scoring(model, captions, plan, order, device, rows)
        kept = Store(min(rows.stop - rows.start, -(-keep_bytes // one.nbytes)), dtype, "images", rows.start)
        own_blocks = [slice(block.start - rows.start, block.stop - rows.start) for block in mine]
        window = Window(own_blocks, dtype, "images", rows.start)
        for index, found in parts:
            here = ((index >= rows.start) & (index < rows.stop)).nonzero().squeeze(1)
            own, codes = index[here] - rows.start, found.rows(here)
            first = (own < kept.n_items).nonzero().squeeze(1)
            kept.put(own[first], codes.rows(first))
            for block, whole in window.put(own, codes):
                scoring.strip(slice(block.start + rows.start, block.stop + rows.start), whole, scored)
        window.end()
    halvings = now.largest(scoring.plan.halvings)
    kinds = now.of_all(None if scoring.sims is None else scoring.sims.dtype)
    kind = next(kind for kind in kinds if kind is not None)
    values = np.empty((0, len(captions)), kind) if scoring.sims is None else scoring.sims
    return Strip(values, rows.start, n_images, now), replace(plan, halvings=halvings), kept.codes()


class _Scoring:
    """A matrix that is being filled, block by block: images outside, their codes are the larger to move.

    `rows`: those of the images that are scored here; None: all.
    """

    def __init__(
        self,
        model: Baseline,
        captions: Codes,
        plan: BlockPlan,
        order: Ints,
        device: torch.device,
        rows: slice | None = None,
    ) -> None:
        self.model, self.plan, self.order, self.device = model, plan, order, device
        self.rows = slice(0, plan.n_images) if rows is None else rows
        self.captions = move_near(captions, device, plan.memory_bytes)
        self.sims: Floats | None = None

    @property
    def pairs(self) -> int:
        return self.plan.n_images * self.plan.n_captions

    def result(self) -> tuple[Floats, BlockPlan]:
        """The whole matrix, and the plan as it was followed."""
        assert self.sims is not None
        return self.sims, self.plan

    def strip(self, rows: slice, images: Codes, bar: Bar) -> None:
        """Score a block of images, of these rows, with all captions."""
        images = images.to(self.device)
        with similarity_in(self.model, images):
            for columns in caption_blocks(self.plan, self.order):
                self._fill(rows, images, columns)
                bar.update((rows.stop - rows.start) * len(columns))

    def _fill(self, rows: slice, images: Codes, columns: Tensor, halved: int = 0) -> None:
        """Score a block, or its halves where the memory was too small for one before; `halved`: how often it was."""
        if halved < self.plan.halvings and len(columns) > 1:
            for half in columns.tensor_split(2):
                self._fill(rows, images, half, halved + 1)
            return
        values = self._scores(rows, images, columns)
        if values is None:
            give_back()
            if len(columns) == 1:
                raise self._no_room(images, columns)
            self.plan = replace(self.plan, halvings=halved + 1)
            self._fill(rows, images, columns, halved)
            return
        if self.sims is None:
            self.sims = np.empty((self.rows.stop - self.rows.start, self.plan.n_captions), values.dtype)
        first = self.rows.start
        self.sims[rows.start - first : rows.stop - first, columns.numpy()] = values

    def _scores(self, rows: slice, images: Codes, columns: Tensor) -> Floats | None:
        """Scores (image rows, caption rows) of a block; None where the memory is too small for it."""
        try:
            captions = self.captions.rows(columns).to(self.device)
            return _checked(self.model.similarity(images, captions), rows, columns)
        except (RuntimeError, MemoryError) as error:
            if not ran_out(error):
                raise
            return None

    def _no_room(self, images: Codes, column: Tensor) -> UserError:
        """The error of a block of images that is too large even with one caption, with a budget that is not."""
        peak, caption = peak_on(self.device), self.captions.rows(column).to(self.device)
        rows = first_fitting(
            halves(len(images)), lambda few: self.model.similarity(images.rows(slice(0, few)), caption)
        )
        budget = max(16, (rows or 0) ** 2 * self.plan.pair_bytes // MEGABYTE)
        advice = "not even one pair fits" if rows is None else f"{budget} makes blocks that fit"
        return UserError(
            f"field 'evaluation.memory_mb': {self.device} ran out of memory scoring {len(images)} images with one "
            f"caption{peak}; {advice}"
        )


def plan_blocks(
    model: Baseline, images: Codes, captions: Codes, memory_bytes: int, n_images: int | None = None
) -> tuple[BlockPlan, Ints]:
    """Divide the pairs into nearly square blocks, so that work done once an item (Gram matrices) pays.

    Returns the plan and the order of captions (n_captions,) that its blocks follow. A method's temporary
    bytes a pair grow with caption length; the longest caption of a block stands for all of them. `n_images`: how
    many there will be, where `images` are not all of them.
    """
    n_images, n_captions = len(images) if n_images is None else n_images, len(captions)
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
    image_block = block_of_images(n_images, n_captions, memory_bytes // largest)
    sizes: list[int] = []
    while (start := sum(sizes)) < n_captions:
        fitting = memory_bytes // pair_bytes(start) // image_block
        sizes.append(min(n_captions - start, max(1, fitting)))
    ordered = "longest_first" if "lengths" in captions.tensors else "as_given"
    plan = BlockPlan(n_images, n_captions, memory_bytes, largest, ordered, image_block, tuple(sizes))
    return plan, order


def block_of_images(n_images: int, n_captions: int, pairs: int) -> int:
    """Count the images of a nearly square block of so many pairs, more where there are few captions."""
    return min(n_images, max(isqrt(pairs), pairs // n_captions))


def caption_blocks(plan: BlockPlan, order: Ints) -> Iterator[Tensor]:
    """The caption rows of every block."""
    position = 0
    for size in plan.caption_blocks:
        yield torch.from_numpy(order[position : position + size])
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
def similarity_in(model: Baseline, codes: Codes) -> Iterator[None]:
    """Hold the similarity's parameters in float64 where the codes are; afterwards they are where they were.

    Where they were, and not only as they were: cuDNN wants the weights of a recurrent network in one piece of memory.
    """
    wide = any(value.dtype == torch.float64 for value in codes.tensors.values())
    kept: list[tuple[Tensor, Tensor]] = []
    if wide and isinstance(model, nn.Module):
        tensors: Iterable[Any] = chain(model.parameters(), model.buffers())
        kept = [(tensor, tensor.data) for tensor in tensors if tensor.dtype == torch.float32]
    for tensor, data in kept:
        tensor.data = data.double()
    try:
        yield
    finally:
        for tensor, data in kept:
            tensor.data = data


def move_near(codes: Codes, device: torch.device, reserved: int) -> Codes:
    """Move all codes to a GPU at once if they take less than half of the memory left beside the budget."""
    if device.type != "cuda":
        return codes
    size = sum(tensor.nbytes for tensor in codes.tensors.values() if tensor.device.type != device.type)
    free, _ = torch.cuda.mem_get_info(device)
    return codes.to(device) if size < (free - reserved) // 2 else codes
