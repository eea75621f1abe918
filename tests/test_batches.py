"""Batches on their way to a GPU: what the host knows of them it need not ask for again."""

from __future__ import annotations

import gc

import torch

from benchmark import batches
from benchmark.batches import CaptionBatch, ImageBatch, know, move, numbers_of
from tests.pretend_cuda import GPU, pretended_gpu

LENGTHS = torch.tensor([3, 5, 2])


def test_numbers_on_the_cpu_are_read() -> None:
    lengths = LENGTHS.clone()
    assert numbers_of(lengths) == [3, 5, 2]
    lengths[0] = 7
    assert numbers_of(lengths) == [7, 5, 2]


def test_lengths_that_came_from_the_host_are_not_asked_for() -> None:
    captions = CaptionBatch(torch.ones(3, 5, dtype=torch.long), LENGTHS, torch.arange(3))
    images = ImageBatch(torch.ones(3, 6, 2), torch.arange(3), LENGTHS)
    with pretended_gpu() as gpu:
        there, beside = captions.to(GPU), images.to(GPU)
        assert beside.lengths is not None
        assert numbers_of(there.lengths) == numbers_of(beside.lengths) == [3, 5, 2]
        assert numbers_of(beside.lengths.chunk(1)[0]) == [3, 5, 2], "a part that is the whole"
        assert sum(gpu.waits.values()) == 0
        assert numbers_of(there.lengths[:2]) == [3, 5], "another tensor is asked"
        assert sum(gpu.waits.values()) == 1


def test_what_was_made_on_the_gpu_is_asked_for_once() -> None:
    with pretended_gpu() as gpu:
        lengths = move(LENGTHS, GPU) + 1
        assert numbers_of(lengths) == numbers_of(lengths) == [4, 6, 3]
        assert sum(gpu.waits.values()) == 1


def test_numbers_that_change_are_asked_for_again() -> None:
    with pretended_gpu():
        lengths = move(LENGTHS, GPU)
        know(lengths, [3, 5, 2])
        lengths[0] = 9
        assert numbers_of(lengths) == [9, 5, 2]


def test_what_the_host_knows_goes_with_the_tensor() -> None:
    with pretended_gpu():
        before = len(batches._numbers)
        lengths = move(LENGTHS, GPU)
        know(lengths, [3, 5, 2])
        assert len(batches._numbers) == before + 1
        del lengths
        gc.collect()
        assert len(batches._numbers) == before
