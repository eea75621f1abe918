"""Scratch memory: one array a name, as large as the largest that was asked for."""

from __future__ import annotations

import torch

from baselines.attention.scratch import Scratch


def test_a_name_has_one_memory_until_more_is_asked_for() -> None:
    scratch, like = Scratch(), torch.empty(0)
    large = scratch.take("wide", (4, 5), like)
    small = scratch.take("wide", (2, 3), like)
    assert small.shape == (2, 3)
    assert small.is_contiguous()
    assert small.data_ptr() == large.data_ptr()
    assert scratch.take("other", (4, 5), like).data_ptr() != large.data_ptr()
    assert scratch.take("wide", (5, 5), like).data_ptr() != large.data_ptr()


def test_another_type_is_another_memory() -> None:
    scratch = Scratch()
    scratch.take("wide", (4, 5), torch.empty(0))
    assert scratch.take("wide", (4, 5), torch.empty(0, dtype=torch.float64)).dtype == torch.float64
    assert scratch.take("wide", (4, 5), torch.empty(0)).dtype == torch.float32
