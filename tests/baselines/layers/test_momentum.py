"""Momentum copies: the step by hand, buffers left alone, nothing for an optimiser to move."""

from __future__ import annotations

import torch
from torch import nn

from baselines.layers.momentum import follow, momentum_copy


def test_a_copy_moves_by_its_share_of_the_way() -> None:
    leader = nn.BatchNorm1d(3).double()
    copied = momentum_copy(leader)
    with torch.no_grad():
        leader.weight.add_(torch.tensor([1.0, -2.0, 0.5]))
        leader.bias.add_(4)
        assert leader.running_mean is not None
        leader.running_mean += 8
    expected = {"weight": [1.0, 1.0, 1.0], "bias": [0.0, 0.0, 0.0]}
    for _ in range(3):
        follow(copied, leader, 0.75)
        for name, values in expected.items():
            goal = getattr(leader, name).tolist()
            expected[name] = [0.75 * value + 0.25 * end for value, end in zip(values, goal, strict=True)]
            assert getattr(copied, name).tolist() == expected[name], name
    assert copied.running_mean is not None
    assert copied.running_mean.tolist() == [0, 0, 0]
    assert not any(parameter.requires_grad for parameter in copied.parameters())
    assert all(parameter.requires_grad for parameter in leader.parameters())
