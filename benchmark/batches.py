"""Batches of images, of captions and of pairs, and their codes: the data that pass between the harness and a method."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

_numbers: MutableMapping[Tensor, tuple[int, list[int]]] = WeakTensorKeyDictionary()
"""Tensors on a GPU whose numbers the host knows, and their version at that time."""


def move(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on a device; to a GPU it goes by pinned memory, so that the host need not wait for the copy."""
    if device.type == "cuda" and tensor.device.type == "cpu" and not tensor.is_pinned():
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def move_known(tensor: Tensor, device: torch.device) -> Tensor:
    """Return integers on a device, whose numbers `numbers_of` then gives without waiting for a GPU."""
    moved = move(tensor, device)
    if tensor.device.type == "cpu":
        know(moved, tensor.tolist())
    return moved


def numbers_of(tensor: Tensor) -> list[int]:
    """Return integers (n,) as numbers. The host waits for a GPU only where they were made there, and once."""
    if tensor.device.type == "cpu":
        return [int(number) for number in tensor.tolist()]
    base = tensor._base  # a part that is the whole, such as the only chunk
    held = tensor if base is None or base.shape != tensor.shape else base
    version, found = _numbers.get(held, (-1, []))
    if version != held._version:
        found = tensor.tolist()
        know(tensor, found)
    return list(found)


def know(tensor: Tensor, numbers: list[int]) -> None:
    """Keep what the host knows of integers (n,) on a GPU, for `numbers_of`; it is forgotten once they change."""
    if tensor.device.type != "cpu":
        _numbers[tensor] = (tensor._version, numbers)


@dataclass(frozen=True)
class ImageBatch:
    """Images of a batch. `pixels`: (B, 3, H, W) or regions (B, R, D); `index`: (B,) rows of the split.

    `lengths` (B,): where regions were dropped, how many of each image are left, zeros after them; None: all.
    `guides`: (B, guide_dim), where a `RegionInput` asks for them.
    """

    pixels: Tensor
    index: Tensor
    lengths: Tensor | None = None
    guides: Tensor | None = None

    def to(self, device: torch.device) -> ImageBatch:
        lengths = None if self.lengths is None else move_known(self.lengths, device)
        guides = None if self.guides is None else move(self.guides, device)
        return ImageBatch(move(self.pixels, device), move(self.index, device), lengths, guides)

    def first(self, count: int) -> ImageBatch:
        """Return the first `count` images."""
        return self.of(slice(0, count))

    def of(self, rows: slice) -> ImageBatch:
        """Return the images of some rows."""
        lengths, guides = (None if part is None else part[rows] for part in (self.lengths, self.guides))
        return ImageBatch(self.pixels[rows], self.index[rows], lengths, guides)


@dataclass(frozen=True)
class CaptionBatch:
    """Captions of a batch. `ids`: (B, L), padded at the end; `lengths`: (B,); `index`: (B,) rows of the split."""

    ids: Tensor
    lengths: Tensor
    index: Tensor

    def to(self, device: torch.device) -> CaptionBatch:
        return CaptionBatch(
            move(self.ids, device), move_known(self.lengths, device), move(self.index, device)
        )

    def first(self, count: int) -> CaptionBatch:
        """Return the first `count` captions."""
        return self.of(slice(0, count))

    def of(self, rows: slice) -> CaptionBatch:
        """Return the captions of some rows, as wide as they are."""
        return CaptionBatch(self.ids[rows], self.lengths[rows], self.index[rows])


@dataclass(frozen=True)
class PairBatch:
    """B matching pairs: row i of `images` belongs to row i of `captions`; `images.index` are the instance ids.

    `extra` holds what `prepare_batch` added (mined captions, keys of a momentum encoder).
    """

    images: ImageBatch
    captions: CaptionBatch
    extra: Mapping[str, Tensor] = field(default_factory=dict)
    counts: tuple[int, ...] | None = None
    """How many pairs of the batch each process has, where this is the part of one; None: it is the whole batch."""

    def __len__(self) -> int:
        return len(self.images.index)

    def first(self, count: int) -> PairBatch:
        """Return the first `count` pairs; `extra`, which need not be of pairs, stays whole."""
        return PairBatch(self.images.first(count), self.captions.first(count), self.extra)

    def part(self, rows: slice, counts: tuple[int, ...]) -> PairBatch:
        """Return the part of this whole batch that a process has, which are `rows`; `extra` stays whole."""
        return PairBatch(self.images.of(rows), self.captions.of(rows), self.extra, counts)

    def to(self, device: torch.device) -> PairBatch:
        extra = {name: move(value, device) for name, value in self.extra.items()}
        return PairBatch(self.images.to(device), self.captions.to(device), extra, self.counts)


@dataclass(frozen=True)
class Codes:
    """Encoded items: named tensors whose first dimension is the item, so that the harness can store, slice, move.

    A tensor named `lengths` (n_items,) holds true lengths where sizes vary: the harness then forms
    blocks of captions of like length.
    """

    tensors: Mapping[str, Tensor]

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def rows(self, index: slice | Tensor) -> Codes:
        """Return the items at `index`."""
        return Codes({name: tensor[index] for name, tensor in self.tensors.items()})

    def to(self, device: torch.device) -> Codes:
        return Codes({name: tensor.to(device) for name, tensor in self.tensors.items()})

    def of_type(self, dtype: torch.dtype) -> Codes:
        """Return the codes with their floating tensors as `dtype`."""
        return Codes({n: t.to(dtype) if t.is_floating_point() else t for n, t in self.tensors.items()})

    @property
    def nbytes(self) -> int:
        """The bytes of all tensors."""
        return sum(tensor.nbytes for tensor in self.tensors.values())


ExtraKind = Literal["item", "statistics", "batch"]
"""The kind of a tensor of `TrainingCodes.extra`, where several processes each read a part of the batch.

`item`: a row an item, to be gathered. `statistics`: of the batch, or of its first replica: the first process's are
taken. `batch`: of the whole batch, and alike in every process."""


@dataclass(frozen=True)
class TrainingCodes:
    """The input of the objective: codes of the batch's images and captions, and all else that the method needs."""

    images: Codes
    captions: Codes
    extra: Mapping[str, Tensor] = field(default_factory=dict)
    kinds: Mapping[str, ExtraKind] = field(default_factory=dict)
    """The kind of each of `extra`; one process alone does not ask."""
