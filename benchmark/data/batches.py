"""Batches: shuffled pairs for training, images and captions in order for evaluation.

Randomness of sample i in epoch e comes from (seed, e, i) alone, so neither the number of loader processes nor a
restart changes what a model sees.

Decoded pictures are not kept on disk. For training, cutting them out of a file of decoded pixels took 1.35 ms of
processor time an image instead of 2.5 ms, for 5.6 times the bytes: 16 GB for Flickr30K and 100 GB for MSCOCO, more than
most machines keep in memory; read from disk, an image took 2.7 ms instead of 3.6 ms. One or two more workers do the
same. For evaluation, a file of pixels takes 0.03 ms instead of 3.2 ms, but all that is evaluated more than once in a
run, the validation images, is kept in memory, and a file that outlives the run would also outlive the version of Pillow
that made it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from benchmark.batches import CaptionBatch, ImageBatch, PairBatch, move
from benchmark.data.images.transforms import PictureTransform, transform_of
from benchmark.data.inputs import check_input
from benchmark.data.splits import Images, Regions, Split
from benchmark.data.text.augmentation import drop_regions, drop_words, seeded_random, shift_words
from benchmark.distributed.processes import processes
from benchmark.distributed.shares import share_of_batch
from benchmark.errors import UserError
from benchmark.inputs import Codec, InputSpec

TABLE_BYTES = 768 * 2**20
"""Pixels that stay the same from epoch to epoch are made once and kept, as many splits as fit in this together;
MSCOCO has 5,000 validation images, 753 MB at 224 pixels."""

_ORDER, _CAPTION, _PIXELS, _WORDS, _REGIONS, _CANDIDATES = range(
    6
)  # what a random number is for: part of its key

WAITING = 512
"""Pictures of different shapes that wait for others of theirs, 130 MB at a shorter side of 256."""

_PLAIN = (0, 0)
"""Seed and epoch of training pictures that do not change: nothing is drawn for them."""

_tables: WeakKeyDictionary[Split, dict[PictureTransform, Tensor]] = WeakKeyDictionary()
_captions: WeakKeyDictionary[Split, dict[str, tuple[Tensor, Tensor]]] = WeakKeyDictionary()


Work = tuple[list[int], list[int]]
"""A batch: rows of the split, and the numbers of the samples that they are for."""

Made = TypeVar("Made")
Result = TypeVar("Result", covariant=True)


class Task(Protocol[Result]):
    """The work of a loader process on a batch. It returns a UserError, since a raised one would carry a traceback."""

    def __getitem__(self, work: Work, /) -> Result | UserError: ...


@dataclass(frozen=True)
class Pictures:
    """The loading of pictures: rows of the split (and sample numbers) -> a tensor of each."""

    images: Images
    transform: PictureTransform
    key: tuple[int, ...] | None = None
    """(seed, epoch) in training, None in evaluation."""

    def __getitem__(self, work: Work) -> list[Tensor] | UserError:
        try:
            if self.key is None:
                return [self.transform.evaluate(self.images[row]) for row in work[0]]
            return [
                self.transform.train(self.images[row], (*self.key, _PIXELS, sample))
                for row, sample in zip(*work, strict=True)
            ]
        except UserError as error:
            return error


@dataclass(frozen=True)
class Stacked:
    """The loading of pictures of one shape, as one tensor (B, ...)."""

    pictures: Pictures

    def __getitem__(self, work: Work) -> Tensor | UserError:
        found = self.pictures[work]
        return found if isinstance(found, UserError) else torch.stack(found)


@dataclass(frozen=True)
class RegionRows:
    """The loading of region features: rows of the split -> (B, R, D) float32."""

    regions: Regions

    def __getitem__(self, work: Work) -> Tensor | UserError:
        try:
            return torch.from_numpy(self.regions.regions(work[0]))
        except UserError as error:
            return error


CPU = torch.device("cpu")


def run_batches(
    task: Task[Made], batches: Sequence[Work], workers: int, device: torch.device = CPU
) -> Iterator[Made]:
    """Yield the result of `task` for each batch in turn, computed in `workers` processes (0: in this one).

    Tensors that will go to a GPU, the `device`, come in pinned memory: they are copied while the host goes on.
    Raises the UserError that the task returned, in one line also where it comes from another process.
    """
    loader: DataLoader[Made | UserError] = DataLoader(
        task,  # type: ignore[arg-type]  # a map from batches, not from rows
        sampler=batches,
        batch_size=None,
        num_workers=workers,
        pin_memory=device.type == "cuda",
        generator=torch.Generator(),  # else a loader draws from the generator that dropout uses
    )
    for found in loader:
        if isinstance(found, UserError):
            raise found
        yield found


def _in_order(count: int, batch_size: int) -> list[list[int]]:
    return [list(range(start, min(start + batch_size, count))) for start in range(0, count, batch_size)]


def _table(split: Split, shape: tuple[int, ...], transform: PictureTransform, workers: int) -> Tensor | None:
    """Make the pixels of a whole split that stay the same, (n, 3, S, S) uint8, once; None: they are too many."""
    kept = _tables.setdefault(split, {})
    if transform not in kept:
        shape = (len(split), *shape)
        others = sum(table.nbytes for tables in _tables.values() for table in tables.values())
        if others + math.prod(shape) > TABLE_BYTES:
            return None
        table = torch.empty(shape, dtype=torch.uint8)
        work = [(rows, rows) for rows in _in_order(len(split), 64)]
        task = Stacked(Pictures(split.images, transform, _PLAIN if transform.fixed else None))
        for (rows, _), pixels in zip(work, run_batches(task, work, workers), strict=True):
            table[rows[0] : rows[-1] + 1] = pixels
        kept[transform] = table
    return kept[transform]


def encoded(split: Split, codec: Codec) -> tuple[Tensor, Tensor]:
    """Return all captions of a split as ids (n_captions, L) and lengths (n_captions,), made once."""
    kept = _captions.setdefault(split, {})
    if codec.identity not in kept:
        kept[codec.identity] = codec.encode(split.captions)
    return kept[codec.identity]


def _guides(split: Split, rows: Sequence[int]) -> Tensor | None:
    """Return vectors (B, D) of some images."""
    return None if split.guides is None else torch.from_numpy(split.guides.vectors[np.asarray(rows)])


def _inputs(
    split: Split,
    spec: InputSpec,
    batches: Sequence[Work],
    workers: int,
    device: torch.device,
    key: tuple[int, int] | None = None,
) -> Iterator[Tensor]:
    """Yield the model's input for the images of each batch (rows, samples); `key`: (seed, epoch) in training.

    Pictures go to the device as whole numbers, a quarter of the bytes, and are normalised there; regions stay here.
    """
    check_input(split, spec)
    transform = transform_of(spec.image)
    if transform is None:
        assert split.regions is not None
        yield from run_batches(RegionRows(split.regions), batches, workers, device)
        return
    unchanging = key is None or transform.fixed
    table = _table(split, spec.image.shape, transform, workers) if unchanging else None
    if table is None:
        raws = run_batches(Stacked(Pictures(split.images, transform, key)), batches, workers, device)
    else:
        raws = (table[torch.tensor(rows)] for rows, _ in batches)
    for raw in raws:
        yield transform.finish(move(raw, device))


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
    device: torch.device = CPU
    rank: int = 0
    processes: int = 1
    """The number of processes that divide each batch; that of `rank` loads its own images alone."""

    @property
    def samples(self) -> int:
        """The number of samples of an epoch: captions, or images."""
        return len(self.split.captions) if self.spec.unit == "caption" else len(self.split)

    def __len__(self) -> int:
        full, rest = divmod(self.samples, self.batch_size)
        return full + (1 if rest and self.spec.last_batch == "keep" else 0)

    def _random(self, *purpose: int) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64([self.seed, self.epoch, *purpose]))

    def _first_captions(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the first caption of each image, and how many it has."""
        counts = np.bincount(self.split.caption_image, minlength=len(self.split))
        return np.cumsum(counts) - counts, counts

    def _caption_rows(self) -> np.ndarray:
        """Return the caption of each sample: itself, or one of its image's at random."""
        if self.spec.unit == "caption":
            return np.arange(self.samples)
        first, counts = self._first_captions()
        chosen = np.floor(self._random(_CAPTION).random(self.samples) * counts).astype(np.int64)
        return np.asarray(first + chosen)

    def __iter__(self) -> Iterator[PairBatch]:
        ids, lengths = encoded(self.split, self.codec)
        captions = self._caption_rows()
        images = self.split.caption_image[captions]
        order = self._random(_ORDER).permutation(self.samples)
        batches = [order[k * self.batch_size : (k + 1) * self.batch_size] for k in range(len(self))]
        shares = [share_of_batch(len(batch), self.rank, self.processes) for batch in batches]
        owned = [
            batch if share is None else batch[share.rows]
            for batch, share in zip(batches, shares, strict=True)
        ]
        work = [(images[own].tolist(), own.tolist()) for own in owned]
        inputs = _inputs(self.split, self.spec, work, self.workers, self.device, (self.seed, self.epoch))
        for number, (own, pixels) in enumerate(zip(owned, inputs, strict=True)):
            batch, share = batches[number], shares[number]
            rows = torch.from_numpy(captions[batch])
            read = CaptionBatch(
                *self._as_read(ids[rows], lengths[rows], self._keys(_WORDS, batch.tolist())), rows
            )
            yield PairBatch(
                self._as_seen(pixels, torch.from_numpy(images[own]), own.tolist()),
                read if share is None else read.of(share.rows),  # as wide as the longest of the batch
                self._candidates(number, images[batch]) if self.spec.candidates else {},
                None if share is None else share.counts,
            )

    def _candidates(self, number: int, in_batch: np.ndarray) -> dict[str, Tensor]:
        """Draw captions of random images, with replacement, that the batch of that number does not hold."""
        ids, lengths = encoded(self.split, self.codec)
        count, generator = self.spec.candidates, self._random(_CANDIDATES, number)
        barred = np.unique(in_batch if self.spec.exclude == "batch" else in_batch[: len(in_batch) // 2])
        if len(self.split) <= len(barred):
            raise UserError(
                f"field 'training.batch_size': found {self.batch_size}, which leaves no image of {len(self.split)} to "
                "take candidate captions from"
            )
        # numbered among the images that are not barred: every barred one before it moves an image up by one
        images = generator.integers(len(self.split) - len(barred), size=count)
        images += np.searchsorted(barred - np.arange(len(barred)), images, side="right")
        first, counts = self._first_captions()
        rows = torch.from_numpy(
            first[images] + np.floor(generator.random(count) * counts[images]).astype(np.int64)
        )
        text = self.spec.text
        read = ids[rows]
        if text.augment == "position_shift":
            assert text.max_length is not None, "a shift needs the number of places"
            read = shift_words(read, lengths[rows], generator.random(count).tolist(), text.max_length)
        return {
            "candidates": read,
            "candidate_captions": rows,
            "candidate_images": torch.from_numpy(images),
        }

    def _as_seen(self, pixels: Tensor, rows: Tensor, samples: list[int]) -> ImageBatch:
        """Return images as the method trains on them: some regions dropped."""
        guides = _guides(self.split, rows.tolist())
        if not self.spec.image.drop:
            return ImageBatch(pixels, rows, guides=guides)
        left, lengths = drop_regions(pixels, self._keys(_REGIONS, samples), self.spec.image.drop)
        return ImageBatch(left, rows, lengths, guides)

    def _as_read(
        self, ids: Tensor, lengths: Tensor, keys: Sequence[tuple[int, ...]]
    ) -> tuple[Tensor, Tensor]:
        """Return captions (B, L) as the method trains on them: padded to the batch's longest, words dropped."""
        text, codec = self.spec.text, self.codec
        if text.augment == "position_shift":
            assert text.max_length is not None, "a shift needs the number of places"
            draws = [seeded_random(*key).random() for key in keys]
            return shift_words(ids, lengths, draws, text.max_length), lengths
        if text.augment == "none":
            return (ids[:, : int(lengths.max())] if text.cut_to_longest else ids), lengths
        assert codec.mask_id is not None, f"{text.augment} needs a mask token"
        return drop_words(
            ids,
            lengths,
            keys,
            codec.mask_id,
            codec.vocab_size,
            inside=codec.inside,
            ends=text.augment == "word_drop_ends",
        )

    def _keys(self, purpose: int, samples: list[int]) -> list[tuple[int, ...]]:
        return [(self.seed, self.epoch, purpose, sample) for sample in samples]


def train_batches(
    split: Split,
    spec: InputSpec,
    codec: Codec,
    *,
    seed: int,
    epoch: int,
    batch_size: int,
    workers: int = 0,
    device: torch.device = CPU,
) -> PairLoader:
    """Return pairs of one epoch, shuffled by (seed, epoch). `images.index`: image rows; `captions.index`: caption rows.

    `spec.unit` says whether every caption comes once, or every image with one of its captions at random. `device`:
    where pixels are normalised, and lie; all else comes on the CPU. Where several processes make the run, this one's
    part of each batch comes.
    """
    now = processes()
    return PairLoader(split, spec, codec, seed, epoch, batch_size, workers, device, now.rank, now.size)


Wanted = Callable[[int, Sequence[int]], bool]
"""Whether a process wants a batch, by its number among all and its rows of the split."""


def every_batch(number: int, rows: Sequence[int]) -> bool:  # noqa: ARG001
    """Want all batches."""
    return True


def image_batches(
    split: Split,
    spec: InputSpec,
    *,
    batch_size: int,
    workers: int = 0,
    device: torch.device = CPU,
    wanted: Wanted = every_batch,
) -> Iterator[ImageBatch]:
    """Yield images of a split as they are evaluated: pixels (B, 3, H, W) or regions (B, R, D), and rows (B,).

    They come in order, but for pictures that differ in shape: those of one shape come together. `device`: as in
    `train_batches`. Batches are the same whichever of them are `wanted`.
    """
    transform = transform_of(spec.image)
    if transform is not None and not transform.one_shape:
        check_input(split, spec)
        for number, found in enumerate(_batches_by_shape(split, transform, batch_size, workers, device)):
            if wanted(number, found.index.tolist()):
                yield found
        return
    rows = [batch for at, batch in enumerate(_in_order(len(split), batch_size)) if wanted(at, batch)]
    inputs = _inputs(split, spec, [(batch, batch) for batch in rows], workers, device)
    for batch, pixels in zip(rows, inputs, strict=True):
        yield ImageBatch(pixels, torch.tensor(batch), guides=_guides(split, batch))


def _batches_by_shape(
    split: Split, transform: PictureTransform, batch_size: int, workers: int, device: torch.device
) -> Iterator[ImageBatch]:
    """Yield pictures that differ in shape, in batches of one shape."""
    work = [(rows, rows) for rows in _in_order(len(split), 16)]
    waiting: dict[torch.Size, list[tuple[int, Tensor]]] = {}

    def batch_of(shape: torch.Size) -> ImageBatch:
        rows, pixels = zip(*waiting.pop(shape), strict=True)
        return ImageBatch(transform.finish(move(torch.stack(pixels), device)), torch.tensor(rows))

    made = run_batches(Pictures(split.images, transform), work, workers)
    for (rows, _), pictures in zip(work, made, strict=True):
        for row, pixels in zip(rows, pictures, strict=True):
            alike = waiting.setdefault(pixels.shape, [])
            alike.append((row, pixels))
            if len(alike) == batch_size:
                yield batch_of(pixels.shape)
            elif sum(map(len, waiting.values())) >= WAITING:
                yield batch_of(max(waiting, key=lambda shape: len(waiting[shape])))
    for shape in list(waiting):
        yield batch_of(shape)


def caption_batches(
    split: Split, spec: InputSpec, codec: Codec, *, batch_size: int
) -> Iterator[CaptionBatch]:
    """Yield captions of a split in order: ids (B, L), lengths (B,) and rows (B,). `spec` is not used so far."""
    del spec
    ids, lengths = encoded(split, codec)
    for batch in _in_order(len(split.captions), batch_size):
        rows = slice(batch[0], batch[-1] + 1)
        yield CaptionBatch(ids[rows], lengths[rows], torch.tensor(batch))
