"""Sequences of several lengths for a recurrent network, packed and unpacked without a question to the GPU.

PyTorch's own functions ask it twice: for lengths that the host had before the batch was moved, and for the order of
the sequences, to return lengths that nobody reads.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence


def pack(values: Tensor, lengths: Sequence[int]) -> PackedSequence:
    """Pack values (B, L, D), of which each sequence has so many."""
    return pack_padded_sequence(values, torch.tensor(lengths), batch_first=True, enforce_sorted=False)


def unpack(packed: PackedSequence, total_length: int | None = None) -> Tensor:
    """The values (B, L, D) in the order in which they were packed, zeros after each; L: None for the longest."""
    in_order = PackedSequence(packed.data, packed.batch_sizes)
    padded, _ = pad_packed_sequence(in_order, batch_first=True, total_length=total_length)
    back = packed.unsorted_indices
    return padded if back is None else padded.index_select(0, back)
