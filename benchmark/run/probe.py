"""A training step tried out: its time, and the bytes that it keeps, by the size of the batch.

Synthetic batches of a few pairs go forward and backward here and now; what they take is split into what grows with a
batch's items and with its pairs, so that a batch of any size can be reckoned with. Time is that of one thread, whatever
else the machine does meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor

from benchmark.batches import CaptionBatch, Codes, ImageBatch, PairBatch, TrainingCodes
from benchmark.inputs import InputSpec
from benchmark.method import Baseline, Progress
from benchmark.timing.scoring import threads_set

PROBE_SIZES = (4, 6, 8)
"""Batches that are tried: as many as a square function of their size has numbers. From 4 pairs on, a loss of hardest
negatives has a gradient in three scores a pair at most, as in larger batches; below, it has one in nearly all."""
QUICK = 0.25
"""Seconds; where a step takes less, one of twice the size is tried too, up to the recipe's batch: a part of
milliseconds says little about a square that is hundreds of times its size."""
PROBE_BYTES = 2**30
"""That a probed step may keep, those of PROBE_SIZES aside."""
TYPICAL_CAPTION = 14
"""Tokens of a typical caption, special tokens included."""


@dataclass(frozen=True)
class CostGrowth:
    """How something grows with the size of a batch: a part that does not, one an item and one a pair."""

    once: float
    item: float
    pair: float

    def items(self, size: int) -> float:
        """All but the pairs'."""
        return self.once + self.item * size

    def pairs(self, size: int) -> float:
        """Of all images with all captions."""
        return self.pair * size**2


def synthetic_batch(spec: InputSpec, vocab_size: int, pairs: int, *, ragged: bool = False) -> PairBatch:
    """`pairs` random pairs of the shapes that `spec` declares, captions of a typical length.

    ragged: captions of 3 tokens up to that length, and images with as few regions as dropping leaves.
    """
    index, image = torch.arange(pairs), spec.image
    pixels = torch.randn(pairs, *image.shape)  # (B, 3, H, W) or (B, R, D)
    guides = None if image.guide_dim is None else torch.randn(pairs, image.guide_dim)
    images = ImageBatch(pixels, index, guides=guides)
    length = min(TYPICAL_CAPTION, spec.text.max_length or TYPICAL_CAPTION)
    ids = torch.randint(1, vocab_size, (pairs, length))  # (B, L)
    lengths = torch.full((pairs,), length)
    if ragged:
        lengths = length - index * 5 % (length - 2)
        ids = ids * (torch.arange(length) < lengths[:, None])
        if image.drop:
            left = image.shape[0] - index % max(1, int(2 * image.drop * image.shape[0]))
            images = replace(images, lengths=left)
    captions = CaptionBatch(ids, lengths, index)
    if not spec.candidates:
        return PairBatch(images, captions)
    count = spec.candidates
    names = ("candidate_captions", "candidate_images")
    mined = {"candidates": torch.randint(1, vocab_size, (count, spec.text.max_length or length))}
    return PairBatch(images, captions, mined | {name: index[:1].expand(count) for name in names})


def probe(
    model: Baseline, spec: InputSpec, vocab_size: int, progress: Progress, *, largest: int
) -> tuple[CostGrowth, CostGrowth]:
    """Seconds of a training step, and bytes that autograd keeps for its backward pass, by the batch's size.

    progress: says the stage and its loss; `model` trains the stage's parameters. largest: the recipe's batch size.
    """
    model.train()

    def step(size: int) -> ProbedStep:
        return quickest_step(model, synthetic_batch(spec, vocab_size, size), progress)

    with threads_set(1):
        steps = {size: step(size) for size in PROBE_SIZES}
        kept, size = fit_growth([steps[size].kept for size in PROBE_SIZES]), PROBE_SIZES[-1]
        while steps[size].seconds < QUICK and 2 * size <= largest:
            size *= 2
            if kept.items(size) + kept.pairs(size) > PROBE_BYTES:
                break
            steps[size] = step(size)
    return time_growth(steps), kept


def count_products(model: Baseline, spec: InputSpec, vocab_size: int, progress: Progress) -> CostGrowth:
    """FLOPs of the matrix products of a training step, forward and backward, by the batch's size."""
    from torch.utils.flop_counter import FlopCounterMode  # brings a compiler along

    counts = list[float]()
    with threads_set(1):
        for size in PROBE_SIZES:
            batch = synthetic_batch(spec, vocab_size, size)
            with FlopCounterMode(display=False) as counter:
                probe_step(model, batch, progress)
            counts.append(counter.get_total_flops())
    return fit_growth(counts)


def fit_growth(counts: Sequence[float]) -> CostGrowth:
    """The growth of what was counted at PROBE_SIZES, no part of it below 0."""
    pair, item, once = (max(0.0, float(value)) for value in np.polyfit(PROBE_SIZES, counts, 2))
    return CostGrowth(once, item, pair)


def time_growth(steps: Mapping[int, ProbedStep]) -> CostGrowth:
    """Nowhere falling, and nearest to the steps in proportion; encoding alone has no part that grows with pairs."""
    sizes = np.array(list(steps), dtype=float)  # (n,)
    powers = np.stack([sizes**0, sizes, sizes**2], 1)  # (n, 3)
    encoding, scoring = (
        np.array([max(value, 1e-9) for value in values])
        for values in ([s.encoding for s in steps.values()], [s.scoring for s in steps.values()])
    )
    encoded = nnls(powers[:, :2] / encoding[:, None], np.ones(len(sizes)))[0]
    once, item, pair = nnls(powers / scoring[:, None], np.ones(len(sizes)))[0]
    return CostGrowth(float(encoded[0] + once), float(encoded[1] + item), float(pair))


@dataclass(frozen=True)
class ProbedStep:
    """Seconds forward and backward, of encoding and of scoring pairs; bytes kept in between, weights not counted."""

    encoding: float
    scoring: float
    kept: int

    @property
    def seconds(self) -> float:
        return self.encoding + self.scoring


def quickest_step(model: Baseline, batch: PairBatch, progress: Progress) -> ProbedStep:
    """Probe a step twice and take the shorter times: a first call may plan and allocate, any call may be held up."""
    first, second = (probe_step(model, batch, progress) for _ in range(2))
    encoding, scoring = min(first.encoding, second.encoding), min(first.scoring, second.scoring)
    return ProbedStep(encoding, scoring, second.kept)


def probe_step(model: Baseline, batch: PairBatch, progress: Progress) -> ProbedStep:
    """One step, its backward pass in two parts, so that the time of the pairs is known by itself."""
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    start = time.process_time()
    with torch.no_grad():
        prepared = model.prepare_batch(batch, progress)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        codes = model.training_codes(prepared)
        encoded = time.process_time()
        leaves: dict[Tensor, Tensor] = {}
        loss = model.objective(_cut(codes, leaves), progress, None)
    torch.autograd.backward(loss)
    scored = time.process_time()
    reached = {tensor: leaf.grad for tensor, leaf in leaves.items() if leaf.grad is not None}
    torch.autograd.backward(list(reached), list(reached.values()))
    end = time.process_time()
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    total = sum(size for pointer, size in kept.items() if pointer not in own)
    return ProbedStep(encoded - start + end - scored, scored - encoded, total)


def _cut(codes: TrainingCodes, leaves: dict[Tensor, Tensor]) -> TrainingCodes:
    """The codes without their history; `leaves` has the new tensor of each that has one."""

    def cut(tensor: Tensor) -> Tensor:
        if not tensor.requires_grad:
            return tensor
        if tensor not in leaves:
            leaves[tensor] = tensor.detach().requires_grad_()
        return leaves[tensor]

    images, captions = (
        Codes({name: cut(tensor) for name, tensor in side.tensors.items()})
        for side in (codes.images, codes.captions)
    )
    return TrainingCodes(images, captions, {name: cut(tensor) for name, tensor in codes.extra.items()})
