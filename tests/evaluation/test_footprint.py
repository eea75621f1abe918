"""The memory of an evaluation is that of the codes, the matrix and the blocks, counted by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from benchmark.evaluation.footprint import measure_footprint
from benchmark.evaluation.scoring import plan_blocks
from tests.toy import ToyConfig, inputs, toy_captions, toy_images, toy_model

CPU = torch.device("cpu")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("budget", [10**9, 3000])
def test_a_footprint_is_that_of_the_codes(dtype: Any, budget: int) -> None:
    model, rows = toy_model(), torch.arange(40)
    model.train()
    state = torch.get_rng_state()
    found = measure_footprint(
        model,
        inputs(ToyConfig()),
        n_images=40,
        n_captions=40,
        longest=5,
        batch_size=7,
        memory_bytes=budget,
        dtype=dtype,
        device=CPU,
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    model.eval()
    with torch.no_grad():
        images = model.encode_images(toy_images(rows)).of_type(dtype)
        captions = model.encode_captions(toy_captions(rows)).of_type(dtype)
    plan, _ = plan_blocks(model, images, captions, budget)
    assert found.captions == captions.nbytes
    assert found.images == min(40, plan.image_block + 7) * images.nbytes // 40
    assert found.matrix == 40 * 40 * dtype.itemsize
    assert found.pairs == budget
    block = plan.image_block * images.nbytes + plan.caption_blocks[0] * captions.nbytes
    assert found.block == block // 40
    assert found.host == found.captions + found.images + found.matrix
    assert found.device == found.block + budget
