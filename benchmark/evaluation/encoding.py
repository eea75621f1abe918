"""A split -> codes of its images and captions: every item is encoded once, in evaluation mode.

Codes lie on the CPU, in the split's order, whatever the order of the batches. Those of images can also leave as soon as
a block of them is whole (`Window`), so that there are never all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import torch
from torch import Tensor
from tqdm import tqdm

from benchmark.batches import CaptionBatch, Codes, ImageBatch
from benchmark.distributed.processes import Processes, processes
from benchmark.errors import UserError
from benchmark.inputs import Codec, InputSpec
from benchmark.memory import first_fitting, halves, peak_on, ran_out
from benchmark.method import Baseline

if TYPE_CHECKING:
    from benchmark.data.splits import Split

Batch = TypeVar("Batch", ImageBatch, CaptionBatch)
Bar: TypeAlias = "tqdm[Any]"
CPU = torch.device("cpu")


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
    """Codes (n_images, ...) of image batches that hold every row once, in any order.

    Raises UserError where a row is missing or comes twice, and where a batch does not fit the device's memory.
    """
    with evaluation_mode(model), show_bar(n_images, "encode images", "image", show_progress) as bar:
        return store_codes(encode_each(model.encode_images, batches, device, bar), n_images, dtype, "images")


def encode_captions(
    model: Baseline,
    batches: Iterable[CaptionBatch],
    n_captions: int,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    show_progress: bool = False,
) -> Codes:
    """Codes (n_captions, ...) of caption batches that hold every row once, in any order; errors as `encode_images`.

    Where several processes make the run, they divide the batches, and all get all codes.
    """
    now = processes()
    with evaluation_mode(model), show_bar(n_captions, "encode captions", "caption", show_progress) as bar:
        if not now.alone:
            mine = islice(batches, now.rank, None, now.size)
            return share_codes(
                encode_each(model.encode_captions, mine, device, bar), n_captions, dtype, "captions", now
            )
        return store_codes(
            encode_each(model.encode_captions, batches, device, bar), n_captions, dtype, "captions"
        )


def share_codes(
    parts: Iterable[tuple[Tensor, Codes]], n_items: int, dtype: torch.dtype, what: str, now: Processes
) -> Codes:
    """The codes of all items in all processes, from rows and codes that each has encoded."""
    index, own = [], []
    for rows, codes in parts:
        index.append(rows)
        own.append(codes)
    mine = torch.cat([torch.zeros(0, dtype=torch.long), *index])
    store, at = Store(len(mine), dtype, what), 0
    for codes in own:
        store.put(torch.arange(at, at + len(codes)), codes)
        at += len(codes)
    own.clear()
    counts = now.of_all(len(mine))
    layout = now.of_all({name: (value.shape[1:], value.dtype) for name, value in store.tensors.items()})
    some = next((found for found in layout if found), None)
    if some is None:
        raise UserError(f"{what}: row 0 came 0 times, expected once")
    whole, order = Store(n_items, dtype, what), now.gather_rows(mine, counts)
    tensors: dict[str, Tensor] = {}
    for name in [*(("lengths",) if "lengths" in some else ()), *(key for key in some if key != "lengths")]:
        shapes = [found[name][0] for found in layout if found]
        widest = [max(sizes) for sizes in zip(*shapes, strict=True)]
        value = store.tensors.pop(name, torch.zeros(0, *widest, dtype=some[name][1]))
        if list(value.shape[1:]) != widest:
            wide = value.new_zeros(len(value), *widest)
            wide[tuple(slice(size) for size in value.shape)] = value
            value = wide
        tensors[name] = now.gather_rows(value, counts)
    whole.put(order, Codes(tensors))
    return whole.codes()


def encode_each(
    encode: Callable[[Batch], Codes], batches: Iterable[Batch], device: torch.device, bar: Bar
) -> Iterator[tuple[Tensor, Codes]]:
    """Rows (B,) and codes of each batch, on the CPU."""
    for batch in batches:
        codes = _encoded(encode, batch.to(device), device)
        bar.update(len(batch.index))
        yield batch.index.cpu(), codes.to(CPU)


def _encoded(encode: Callable[[Batch], Codes], batch: Batch, device: torch.device) -> Codes:
    """The codes of a batch; raises UserError that names a size that fits where it is too large for the memory."""
    try:
        return encode(batch)
    except (RuntimeError, MemoryError) as error:
        if not ran_out(error):
            raise
    # here, and not in the handler: the error holds all that the call had made
    peak, count = peak_on(device), len(batch.index)
    size = first_fitting(halves(count), lambda few: encode(batch.first(few)))
    advice = "not even 1 fits" if size is None else f"{size} fits"
    raise UserError(
        f"field 'evaluation.batch_size': {device} ran out of memory encoding a batch of {count}{peak}; {advice}"
    )


def store_codes(parts: Iterable[tuple[Tensor, Codes]], n_items: int, dtype: torch.dtype, what: str) -> Codes:
    """Gather rows and their codes into the codes of all items, floating ones as `dtype`."""
    store = Store(n_items, dtype, what)
    for index, codes in parts:
        store.put(index, codes)
    return store.codes()


def show_bar(total: int, what: str, unit: str, show: bool, *, scaled: bool = False) -> Bar:
    """A progress bar, which is hidden unless it is wanted and there is a terminal."""
    return tqdm(total=total, desc=what, unit=unit, unit_scale=scaled, disable=None if show else True)


class Store:
    """Codes filled batch by batch, in place: joining lists at the end would take the memory twice.

    `first`: the row of the split that the first of these items has.
    """

    def __init__(self, n_items: int, dtype: torch.dtype, what: str, first: int = 0) -> None:
        self.n_items, self.dtype, self.what, self.first = n_items, dtype, what, first
        self.tensors: dict[str, Tensor] = {}
        self.seen = torch.zeros(n_items, dtype=torch.long)

    def put(self, index: Tensor, codes: Codes) -> None:
        self.seen += torch.bincount(index, minlength=self.n_items)
        for name, value in codes.tensors.items():
            kept = value.to(self.dtype) if value.is_floating_point() else value
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
            raise UserError(
                f"{self.what}: row {self.first + row} came {int(self.seen[row])} times, expected once"
            )
        return Codes(self.tensors)


class Window:
    """Codes that wait until a block of them is whole; blocks leave in order, and nothing stays behind."""

    def __init__(self, blocks: list[slice], dtype: torch.dtype, what: str, first: int = 0) -> None:
        """`blocks`: the rows of each, of one size but for the last, counted from row `first` of the split."""
        self.blocks, self.size, self.first = blocks, blocks[0].stop if blocks else 1, first
        self.dtype, self.what = dtype, what
        self.stores: dict[int, Store] = {}
        self.done = 0

    def put(self, index: Tensor, codes: Codes) -> Iterator[tuple[slice, Codes]]:
        """Take in rows (B,) with their codes; yields the blocks that are whole now, and all before them."""
        for number in sorted(set((index // self.size).tolist())):
            here = (index // self.size == number).nonzero().squeeze(1)
            if number < self.done:
                row = self.first + int(index[here[0]])
                raise UserError(f"{self.what}: row {row} came 2 times, expected once")
            self._store(number).put(index[here] - number * self.size, codes.rows(here))
        while self.done in self.stores and int(self.stores[self.done].seen.sum()) >= self._size(self.done):
            yield self._next()

    def end(self) -> None:
        """Raise UserError where a row of a block is missing."""
        if self.done < len(self.blocks):
            self._store(self.done)
            self._next()

    def _next(self) -> tuple[slice, Codes]:
        rows, store = self.blocks[self.done], self.stores.pop(self.done)
        self.done += 1
        return rows, store.codes()

    def _size(self, number: int) -> int:
        rows = self.blocks[number]
        return int(rows.stop - rows.start)

    def _store(self, number: int) -> Store:
        if number not in self.stores:
            first = self.first + number * self.size
            self.stores[number] = Store(self._size(number), self.dtype, self.what, first)
        return self.stores[number]


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
