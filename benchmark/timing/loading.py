"""The speed with which pictures become batches: decoding alone, and with the transforms of training and evaluation.

Rates are of whole batches as a model gets them, after every loader process has handed over its first: starting the
processes takes a second once an epoch. Workers share the machine's cores with the process that trains, so more of
them than cores help nobody.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from torch import Tensor

from benchmark.data.batches import Pictures, Stacked, Work, run_batches
from benchmark.data.images.transforms import SquareTransform
from benchmark.data.splits import Images, Split
from benchmark.errors import UserError
from benchmark.inputs import PixelInput

PUBLISHED = PixelInput(224, "random_resized_crop_flip", "resize_center_crop", 256)
"""The transforms of ImageNet models (data.md 7.6)."""

Step = Literal["decode", "train", "evaluate"]


@dataclass(frozen=True)
class SpeedRow:
    """One measurement: `images` pictures in `seconds`, by `workers` loader processes (0: by this one)."""

    step: Step
    workers: int
    images: int
    seconds: float

    @property
    def rate(self) -> float:
        """Images a second in all."""
        return self.images / self.seconds

    @property
    def rate_per_worker(self) -> float:
        """Images a second for each process that decodes."""
        return self.rate / max(self.workers, 1)


@dataclass(frozen=True)
class _Decode:
    """The decoding of pictures alone, in a loader process: rows -> their number."""

    images: Images

    def __getitem__(self, work: Work) -> int | UserError:
        try:
            for row in work[0]:
                self.images[row].load()
        except UserError as error:
            return error
        return len(work[0])


def _batches(split: Split, spec: PixelInput, step: Step, work: list[Work], workers: int) -> Iterator[object]:
    """Yield a model's batches; numbers of pictures where they are decoded only."""
    if step == "decode":
        yield from run_batches(_Decode(split.images), work, workers)
        return
    transform = SquareTransform(spec)
    pictures = Pictures(split.images, transform, (0, 0) if step == "train" else None)
    made: Iterator[Tensor] = run_batches(Stacked(pictures), work, workers)
    for pixels in made:
        yield transform.finish(pixels)


def _measure(
    split: Split, spec: PixelInput, step: Step, workers: int, images: int, batch_size: int
) -> SpeedRow:
    warm_up = max(workers, 1)
    count = warm_up + max(images // batch_size, 1)
    rows = np.arange(count * batch_size) % len(split)
    if step == "train":  # as an epoch does, in random order; in evaluation files are read one after the other
        rows = np.random.default_rng(0).permutation(rows)
    work = [(part.tolist(), part.tolist()) for part in rows.reshape(count, batch_size)]
    start = 0.0
    for number, _ in enumerate(_batches(split, spec, step, work, workers), 1):
        if number == warm_up:
            start = time.perf_counter()
    return SpeedRow(step, workers, (count - warm_up) * batch_size, time.perf_counter() - start)


def loader_speed(
    split: Split,
    spec: PixelInput = PUBLISHED,
    *,
    workers: Sequence[int] = (0,),
    images: int = 1000,
    batch_size: int = 64,
    steps: Sequence[Step] = ("decode", "train", "evaluate"),
) -> list[SpeedRow]:
    """Each step with each number of loader processes, over about `images` pictures of the split.

    Where it has fewer they come again, then from the system's memory. A split of real files is worth timing twice:
    the first pass reads the disk.
    Raises UserError for numbers that cannot be, and for a picture that cannot be decoded.
    """
    if not workers or min(workers) < 0 or images < 1 or batch_size < 1 or not len(split):
        raise UserError(
            f"speed of the loader: found workers {list(workers)}, {images} images of {len(split)}, batches of "
            f"{batch_size}; expected workers of 0 or more, and at least 1 of the others"
        )
    return [_measure(split, spec, step, number, images, batch_size) for step in steps for number in workers]
