"""The codes of a whole batch, from those of the parts that several processes have encoded."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from benchmark.batches import Codes, TrainingCodes
from benchmark.distributed.gathering import gather
from benchmark.distributed.processes import Processes
from benchmark.distributed.shares import Share
from benchmark.errors import UserError


def gather_codes(codes: TrainingCodes, share: Share | None, processes: Processes) -> TrainingCodes:
    """Return the codes of the whole batch; `share`: the rows that `codes` are of, None: all of them.

    Tensors of items that differ in width are padded with zeros to the widest. Raises UserError for a tensor of `extra`
    whose kind is not known.
    """
    if share is None:
        return codes
    kinds = codes.kinds
    unknown = sorted(codes.extra.keys() - kinds.keys())
    if unknown:
        raise UserError(
            f"method: `training_codes` says nothing of the kind of extra '{unknown[0]}', and several processes have to "
            "know; expected TrainingCodes(kinds={...}) with 'item', 'statistics' or 'batch'"
        )
    items = {f"extra {name}": value for name, value in codes.extra.items() if kinds[name] == "item"}
    for title, held in (("image", codes.images), ("caption", codes.captions)):
        items |= {f"{title} {name}": value for name, value in held.tensors.items()}
    whole = _gather_items(items, share, processes)

    def side(name: str, held: Codes) -> Codes:
        return Codes({key: whole[f"{name} {key}"] for key in held.tensors})

    extra = {
        name: whole[f"extra {name}"] if kinds[name] == "item" else _same(value, kinds[name], processes)
        for name, value in codes.extra.items()
    }
    return TrainingCodes(side("image", codes.images), side("caption", codes.captions), extra, kinds)


def _gather_items(items: Mapping[str, Tensor], share: Share, processes: Processes) -> dict[str, Tensor]:
    """Join the rows of each tensor (n, ...), as wide as the widest of its kind."""
    shapes = processes.of_all({name: tuple(value.shape[1:]) for name, value in items.items()})
    whole = {}
    for name, value in items.items():
        if len(value) != share.counts[share.rank]:
            raise ValueError(f"{name}: found {len(value)} rows, expected {share.counts[share.rank]}")
        widest = [max(sizes) for sizes in zip(*(shape[name] for shape in shapes), strict=True)]
        whole[name] = gather(_widen(value, widest), share.counts, processes)
    return whole


def _widen(value: Tensor, widest: list[int]) -> Tensor:
    """Items with zeros after them, up to the sizes `widest`."""
    if list(value.shape[1:]) == widest:
        return value
    padding: list[int] = []
    for found, wanted in zip(reversed(value.shape[1:]), reversed(widest), strict=True):
        padding += [0, wanted - found]
    return torch.nn.functional.pad(value, padding)


def _same(value: Tensor, kind: str, processes: Processes) -> Tensor:
    """The first process's statistics; what is of the whole batch is alike already."""
    if kind == "batch":
        return value
    return processes.copy_of_first(value)
