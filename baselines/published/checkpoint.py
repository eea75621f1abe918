"""Reads authors' checkpoints of any form and fits them to a model; nothing that is in a file runs.

A file of `torch.save`, of either format, holds a state dict, or a list of the parts' state dicts; alone, or under
`state_dict` or `model` beside other things. Prefixes that wrappers put before a key are taken off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from benchmark.errors import UserError
from benchmark.method import OfficialWeights
from benchmark.torch_files.archive import LazyTensor
from benchmark.torch_files.legacy import open_checkpoint

DOCUMENTS = ("state_dict", "model")
"""Names under which a file may hold the weights."""

WRAPPERS = ("module.", "_orig_mod.", "model.")
"""Prefixes of data-parallel training, of `torch.compile`, and of a module that holds the model."""


@dataclass(frozen=True)
class OfficialFile:
    """The checkpoint of one method's authors: how it is called in errors, and our names of its entries."""

    method: str
    our_key: Callable[[str], str | None]
    """Our name of an official entry; None for a buffer that is computed here; an unknown entry stays as it is."""
    parts: tuple[str, ...] = ()
    """Names of the state dicts where the file has a list of them; an entry is then `<part>.<key>`."""

    def read(self, path: Path, fit: Callable[[dict[str, Tensor], str], OfficialWeights]) -> OfficialWeights:
        """Read a file and fit its entries, as `fit(entries, source)` says; entries that are no tensors are unexpected.

        Raises UserError (one line) for a missing, truncated or damaged file, and as `fit` does.
        """
        archive = open_checkpoint(path)
        entries = self._entries(archive.content, path)
        tensors = {
            key: archive.tensor(value) for key, value in entries.items() if isinstance(value, LazyTensor)
        }
        weights = fit(tensors, str(path))
        others = [key for key in entries if key not in tensors]
        return OfficialWeights(
            weights.state, weights.missing, [*weights.unexpected, *others], weights.dropped
        )

    def fit(
        self, official: Mapping[str, Tensor], wanted: Mapping[str, Tensor], source: str
    ) -> OfficialWeights:
        """Fit official entries to the weights `wanted` of a model; `source` begins the error messages.

        Every entry ends in `state`, `unexpected` or `dropped` (official names), every weight in `state` or `missing`
        (our names). Raises UserError for another shape, and where less than half of the weights are found, since that
        is a checkpoint of another method; and for NaN or infinite weights. Batch norms' counters may be absent.
        """
        names = {key: self.our_key(key) for key in official}
        found = {name: key for key, name in names.items() if name is not None and name in wanted}
        dropped = [key for key, name in names.items() if name is None]
        unexpected = [key for key, name in names.items() if name is not None and name not in wanted]
        if 2 * len(found) < len(wanted):
            example = f", such as '{unexpected[0]}'" if unexpected else ""
            raise UserError(
                f"{source}: not a checkpoint of {self.method} as this recipe has it: {len(found)} of the "
                f"{len(wanted)} expected weights found, {len(unexpected)} entries are of something else{example}"
            )
        state = {name: official[found[name]] for name in wanted if name in found}
        for name, tensor in state.items():
            self._check_shape(found[name], tensor, wanted[name], source)
            if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
                bad = int((~tensor.isfinite()).sum())
                raise UserError(
                    f"{source}: '{found[name]}' holds {bad} of {tensor.numel()} numbers that are NaN or infinite, "
                    "expected finite weights"
                )
        # files from before PyTorch 0.4.1 have none; no batch norm with a momentum reads it
        counters = {name for name in wanted if name not in found and name.endswith(".num_batches_tracked")}
        state |= {name: wanted[name] for name in counters}
        missing = [name for name in wanted if name not in state]
        return OfficialWeights(state, missing, unexpected, dropped)

    def _check_shape(self, key: str, found: Tensor, wanted: Tensor, source: str) -> None:
        if found.shape == wanted.shape:
            return
        hint = f"is it {self.method} of other sizes?"
        if "embed" in key and found.shape[1:] == wanted.shape[1:]:
            hint = f"it needs the vocabulary it was trained with, of {len(found)} entries, <mask> included"
        raise UserError(
            f"{source}: '{key}' has shape {tuple(found.shape)}, this recipe's model expects {tuple(wanted.shape)}; "
            f"{hint}"
        )

    def _entries(self, content: Any, path: Path) -> dict[str, Any]:
        """Entries by their names without wrappers' prefixes, whatever form the file has."""
        for name in DOCUMENTS:
            if isinstance(content, dict) and isinstance(content.get(name), dict | list):
                content = content[name]
        entries: dict[str, Any] = {}
        for key, value in self._name_entries(content, path):
            if key in entries:
                raise UserError(f"{path}: two entries are called '{key}' without the prefixes of wrappers")
            entries[key] = value
        return entries

    def _name_entries(self, content: Any, path: Path) -> Iterator[tuple[str, Any]]:
        if isinstance(content, dict):
            yield from ((bare(str(key)), value) for key, value in content.items())
        elif isinstance(content, list) and len(content) == len(self.parts) and _all_dicts(content):
            for part, state in zip(self.parts, content, strict=True):
                yield from ((f"{part}.{bare(str(key))}", value) for key, value in state.items())
        else:
            found = f"a list of {len(content)}" if isinstance(content, list) else type(content).__name__
            expected = f", or a list of {len(self.parts)} ({', '.join(self.parts)})" if self.parts else ""
            raise UserError(
                f"{path}: not a checkpoint of {self.method}: found {found}, expected a state dict{expected}"
            )


def bare(key: str) -> str:
    """Take the prefixes of wrappers off a key, whatever their order.

    >>> bare("module._orig_mod.fc.weight")
    'fc.weight'
    """
    while key.startswith(WRAPPERS):
        key = key.partition(".")[2]
    return key


def rename_layer(key: str, layers: Mapping[str, str]) -> str:
    """Give an entry `<layer>.<leaf>` our name of the layer; one that `layers` does not have stays as it is."""
    layer, _, leaf = key.rpartition(".")
    return f"{layers.get(layer, layer)}.{leaf}"


def _all_dicts(content: list[Any]) -> bool:
    return all(isinstance(part, dict) for part in content)
