"""Batches: shuffled pairs for training, images and captions in order for evaluation.

Randomness of sample i in epoch e comes from (seed, e, i) alone, so neither the number of loader processes nor a
restart changes what a model sees.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from benchmark.baseline import CaptionBatch, ImageBatch, InputSpec, PairBatch, PixelInput
from benchmark.data.captions import Codec
from benchmark.data.images import as_pixels, evaluation_image, normalise, training_image
from benchmark.data.splits import Images, Split
from benchmark.errors import UserError

TABLE_BYTES = 768 * 2**20
"""Pixels that don't change from epoch to epoch are made once and kept, as many splits as fit in this together: MSCOCO's
5,000 validation images are 753 MB at 224 pixels."""

_ORDER, _CAPTION, _PIXELS = 0, 1, 2  # what a random number is for: part of its key

_tables: WeakKeyDictionary[Split, dict[PixelInput, Tensor]] = WeakKeyDictionary()
_captions: WeakKeyDictionary[Split, dict[str, tuple[Tensor, Tensor]]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Pixels:
    """What a loader process does: rows of the split (and sample numbers) -> (B, 3, S, S) uint8."""

    images: Images
    spec: PixelInput
    key: tuple[int, ...] | None = None
    """(seed, epoch) in training, None in evaluation."""

    def __getitem__(self, batch: tuple[list[int], list[int]]) -> Tensor | UserError:
        rows, samples = batch
        try:
            if self.key is None:
                images = [evaluation_image(self.images[row], self.spec) for row in rows]
            else:
                keys = ((*self.key, _PIXELS, sample) for sample in samples)
                images = [
                    training_image(self.images[row], self.spec, key)
                    for row, key in zip(rows, keys, strict=True)
                ]
        except UserError as error:  # handed over, for a loader process would wrap it in its traceback
            return error
        return as_pixels(images, self.spec.size)  # (B, 3, S, S)


def pixel_batches(
    pixels: Pixels, batches: Sequence[tuple[list[int], list[int]]], workers: int
) -> Iterator[Tensor]:
    """uint8 pixels of each batch in turn, made by `workers` processes (0: by this one).

    Raises UserError, in one line also from a loader process, for a picture that is broken or missing.
    """
    loader: DataLoader[Tensor | UserError] = DataLoader(
        pixels,  # type: ignore[arg-type]  # a map from batches, not from rows
        sampler=batches,
        batch_size=None,
        num_workers=workers,
        generator=torch.Generator(),  # else a loader draws from the generator that dropout uses
    )
    for found in loader:
        if isinstance(found, UserError):
            raise found
        yield found


def _in_order(count: int, batch_size: int) -> list[list[int]]:
    return [list(range(start, min(start + batch_size, count))) for start in range(0, count, batch_size)]


def _table(split: Split, spec: PixelInput, workers: int) -> Tensor | None:
    """Evaluation pixels of a whole split, (n, 3, S, S) uint8, made once; None where they are too many."""
    kept = _tables.setdefault(split, {})
    if spec not in kept:
        shape = (len(split), 3, spec.size, spec.size)
        others = sum(table.nbytes for tables in _tables.values() for table in tables.values())
        if others + math.prod(shape) > TABLE_BYTES:
            return None
        table = torch.empty(shape, dtype=torch.uint8)
        work = [(rows, rows) for rows in _in_order(len(split), 64)]
        made = pixel_batches(Pixels(split.images, spec), work, workers)
        for (rows, _), pixels in zip(work, made, strict=True):
            table[rows[0] : rows[-1] + 1] = pixels
        kept[spec] = table
    return kept[spec]


def encoded(split: Split, codec: Codec) -> tuple[Tensor, Tensor]:
    """All captions of a split as ids (n_captions, L) and lengths (n_captions,), made once."""
    kept = _captions.setdefault(split, {})
    if codec.identity not in kept:
        kept[codec.identity] = codec.encode(split.captions)
    return kept[codec.identity]


def _pixel_input(spec: InputSpec) -> PixelInput:
    if not isinstance(spec.image, PixelInput):
        raise UserError("input 'image': found region features, expected pixels; no dataset here has regions")
    return spec.image


@dataclass(frozen=True)
class PairLoader:
    """Training batches of one epoch, in seeded random order; may be iterated again."""

    split: Split
    spec: InputSpec
    codec: Codec
    seed: int
    epoch: int
    batch_size: int
    workers: int = 0

    @property
    def samples(self) -> int:
        """What an epoch runs over: captions, or images."""
        return len(self.split.captions) if self.spec.unit == "caption" else len(self.split)

    def __len__(self) -> int:
        full, rest = divmod(self.samples, self.batch_size)
        return full + (1 if rest and self.spec.last_batch == "keep" else 0)

    def _random(self, purpose: int) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64([self.seed, self.epoch, purpose]))

    def _caption_rows(self) -> np.ndarray:
        """The caption of each sample: itself, or one of its image's at random."""
        if self.spec.unit == "caption":
            return np.arange(self.samples)
        counts = np.bincount(self.split.caption_image, minlength=len(self.split))
        first = np.cumsum(counts) - counts
        return first + np.floor(self._random(_CAPTION).random(self.samples) * counts).astype(np.int64)

    def __iter__(self) -> Iterator[PairBatch]:
        image_spec = _pixel_input(self.spec)
        ids, lengths = encoded(self.split, self.codec)
        captions = self._caption_rows()
        images = self.split.caption_image[captions]
        order = self._random(_ORDER).permutation(self.samples)
        batches = [order[k * self.batch_size : (k + 1) * self.batch_size] for k in range(len(self))]
        table = _table(self.split, image_spec, self.workers) if image_spec.train == "plain" else None
        if table is None:
            pixels = Pixels(self.split.images, image_spec, (self.seed, self.epoch))
            work = [(images[batch].tolist(), batch.tolist()) for batch in batches]
            decoded = pixel_batches(pixels, work, self.workers)
        else:
            decoded = (table[torch.from_numpy(images[batch])] for batch in batches)
        for batch, raw in zip(batches, decoded, strict=True):
            rows = torch.from_numpy(captions[batch])
            yield PairBatch(
                ImageBatch(normalise(raw, image_spec), torch.from_numpy(images[batch])),
                CaptionBatch(ids[rows], lengths[rows], rows),
            )


def train_batches(
    split: Split, spec: InputSpec, codec: Codec, *, seed: int, epoch: int, batch_size: int, workers: int = 0
) -> PairLoader:
    """Pairs of one epoch, shuffled by (seed, epoch). `images.index`: image rows; `captions.index`: caption rows.

    `spec.unit` says whether every caption comes once, or every image with one of its captions at random.
    """
    return PairLoader(split, spec, codec, seed, epoch, batch_size, workers)


def image_batches(
    split: Split, spec: InputSpec, *, batch_size: int, workers: int = 0
) -> Iterator[ImageBatch]:
    """Images of a split in order, as they are evaluated: pixels (B, 3, S, S) float32 and rows (B,)."""
    image_spec = _pixel_input(spec)
    rows = _in_order(len(split), batch_size)
    table = _table(split, image_spec, workers)
    if table is None:
        work = [(batch, batch) for batch in rows]
        decoded = pixel_batches(Pixels(split.images, image_spec), work, workers)
    else:
        decoded = (table[batch[0] : batch[-1] + 1] for batch in rows)
    for batch, raw in zip(rows, decoded, strict=True):
        yield ImageBatch(normalise(raw, image_spec), torch.tensor(batch))


def caption_batches(
    split: Split, spec: InputSpec, codec: Codec, *, batch_size: int
) -> Iterator[CaptionBatch]:
    """Captions of a split in order: ids (B, L), lengths (B,) and rows (B,). `spec` is the method's, unused so far."""
    del spec
    ids, lengths = encoded(split, codec)
    for batch in _in_order(len(split.captions), batch_size):
        rows = slice(batch[0], batch[-1] + 1)
        yield CaptionBatch(ids[rows], lengths[rows], torch.tensor(batch))
