"""Against hubs: similarity matrix -> similarity matrix, with the help of a bank of other queries (data.md 5).

A hub is a gallery item that is near to most queries. Inverted softmax, QB-Norm, DBNorm and NNN take from every gallery
item what it gives to the queries of a bank. The bank comes from the training split; one of test queries makes the
evaluation transductive, and a result says so. Results are post-processed ones: never in a column with plain ones.

Queries are in rows throughout, so text to image takes transposed views. What comes out orders a query's gallery and
nothing else: softmaxes are given as their logarithms, which neither overflow nor make ties. Everything is float64, and
temporaries live for a block of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import UserError, nearest
from benchmark.evaluation.ranking import Floats, check_finite, check_matrix

Wide = NDArray[np.float64]

ROWS = 128
"""The rows of a block: 26 MB of float64 at 25,000 items."""


# ----------------------------------------------------------------------------------------- methods


def inverted_softmax(sims: Floats, bank: Floats, b: float = 20.0) -> Wide:
    r"""Inverted softmax of queries (n, g), given a bank of queries (m, g): its logarithm.

    $$ \mathrm{IS}(q, g) = \exp(b\, s(q, g)) \,/ \sum_{q' \in B} \exp(b\, s(q', g)) $$
    """
    _check(sims, bank, b=b)
    shift = log_sums(bank, b)  # (g,)
    return _by_rows(sims, lambda block: b * block - shift)


def qb_norm(sims: Floats, bank: Floats, b: float = 20.0, k: float = 1) -> Wide:
    """QB-Norm (arXiv 2112.12777), dynamic: inverted softmax, but only for queries that a hub would answer.

    Those are the queries whose best item is among the k best of some query of the bank; the others keep their scores.
    """
    _check(sims, bank, b=b, k=k)
    shift, hubs = log_sums(bank, b), popular(bank, int(k))  # (g,) each

    def process(block: Wide) -> Wide:
        active = hubs[block.argmax(axis=1)]  # (rows,)
        return np.where(active[:, None], b * block - shift, block)

    return _by_rows(sims, process)


def db_norm(sims: Floats, bank: Floats, gallery_bank: Floats, b1: float = 1 / 1.99, b2: float = 3.0) -> Wide:
    r"""DBNorm (arXiv 2310.11612), dual inverted softmax: that of the query bank times that of a gallery bank.

    $$ \frac{\exp(b_1 s(q, g))}{\sum_{q' \in B} \exp(b_1 s(q', g))}
       \cdot \frac{\exp(b_2 s(q, g))}{\sum_{g' \in G} \exp(b_2 s(g', g))} $$

    gallery_bank: (m', g), scores of items of the gallery's own kind, images with images, against the gallery. This is
    the paper's; the function that its authors published takes the gallery bank's scores for those of the test queries.
    """
    _check(sims, bank, b1=b1, b2=b2)
    _check(sims, gallery_bank)
    shift = log_sums(bank, b1) + log_sums(gallery_bank, b2)  # (g,)
    return _by_rows(sims, lambda block: (b1 + b2) * block - shift)


def nnn(sims: Floats, bank: Floats, a: float, k: float) -> Wide:
    r"""Nearest neighbour normalisation (EMNLP 2024): less `a` times the mean of an item's k best scores in the bank.

    $$ s(q, g) - \frac{a}{k} \sum_{q' \in \mathrm{top}_k(B, g)} s(q', g) $$
    """
    _check(sims, bank, a=a, k=k)
    if k > len(bank):
        raise UserError(f"nnn: k = {k:g}, but the bank has {len(bank)} queries")
    shift = a * best_means(bank, int(k))  # (g,)
    return _by_rows(sims, lambda block: block - shift)


# ----------------------------------------------------------------------------- what a bank says of an item


def log_sums(bank: Floats, b: float) -> Wide:
    """The logarithm of the sum over the bank (m, g) of exp(b s): (g,), block by block, whatever the size of b s."""
    highest = np.full(bank.shape[1], -np.inf)
    total = np.zeros(bank.shape[1])
    for _, block in _blocks(bank):
        scaled = b * block
        former, highest = highest, np.maximum(highest, scaled.max(axis=0))
        total = total * np.exp(former - highest) + np.exp(scaled - highest).sum(axis=0)
    result: Wide = highest + np.log(total)
    return result


def popular(bank: Floats, k: int) -> NDArray[np.bool_]:
    """Mark the items among the k best of some query of the bank (m, g), equal scores in gallery order: (g,)."""
    found = np.zeros(bank.shape[1], bool)
    for _, block in _blocks(bank):
        order = np.argsort(-block, axis=1, kind="stable")[:, :k] if k > 1 else block.argmax(axis=1)
        found[order] = True
    return found


def best_means(bank: Floats, k: int) -> Wide:
    """Mean of each item's k best scores in the bank (m, g): (g,)."""
    means = np.empty(bank.shape[1])
    for start, block in _blocks(bank.T):  # (items, m)
        best = np.partition(block, block.shape[1] - k, axis=1)[:, block.shape[1] - k :]
        means[start : start + len(block)] = best.mean(axis=1)
    return means


def _blocks(matrix: Floats) -> Iterator[tuple[int, Wide]]:
    """Rows of a matrix as float64, contiguous, with the first one's number."""
    for start in range(0, len(matrix), ROWS):
        yield start, np.ascontiguousarray(matrix[start : start + ROWS], np.float64)


def _by_rows(sims: Floats, process: Callable[[Wide], Wide]) -> Wide:
    result = np.empty(sims.shape)
    for start, block in _blocks(sims):
        result[start : start + len(block)] = process(block)
    return result


def _check(sims: Floats, bank: Floats, **numbers: float) -> None:
    """Raise UserError for the bank of another gallery, scores that are not finite and numbers out of range."""
    check_matrix(sims)
    check_matrix(bank)
    if bank.shape[1] != sims.shape[1]:
        raise UserError(
            f"bank: found scores of {bank.shape[1]:,} gallery items, expected {sims.shape[1]:,} as in the test matrix"
        )
    check_finite(sims)
    check_finite(bank)
    for name, value in numbers.items():
        if name == "k" and not (1 <= value < np.inf and value == int(value)):
            raise UserError(f"post-processing: field 'k': found {value:g}, expected a whole number from 1 on")
        if not 0 < value < np.inf:
            raise UserError(f"post-processing: field '{name}': found {value:g}, expected a number above 0")


# ---------------------------------------------------------------------------------------- by name

Process = Callable[..., Wide]

METHODS: Mapping[str, tuple[Process, Mapping[str, float | None]]] = {
    "inverted-softmax": (inverted_softmax, {"b": 20.0}),
    "qbnorm": (qb_norm, {"b": 20.0, "k": 1}),
    "dbnorm": (db_norm, {"b1": 1 / 1.99, "b2": 3.0}),
    "nnn": (nnn, {"a": None, "k": None}),  # its paper chooses both on validation data
}
"""Functions and the defaults of their numbers; None: there is none."""


@dataclass(frozen=True)
class PostProcess:
    """A method with its numbers; as text `qbnorm(b=20,k=1)`."""

    name: str
    numbers: Mapping[str, float]

    def __str__(self) -> str:
        return f"{self.name}({','.join(f'{name}={value:.6g}' for name, value in self.numbers.items())})"

    @property
    def needs_gallery_bank(self) -> bool:
        return self.name == "dbnorm"

    def apply(self, sims: Floats, *banks: Floats) -> Wide:
        """Queries (n, g) with a bank (m, g), and a gallery bank where the method needs one -> (n, g) float64."""
        extra: dict[str, Any] = dict(self.numbers)
        return METHODS[self.name][0](sims, *banks, **extra)


def parse_postprocess(text: str) -> PostProcess:
    """`qbnorm` or `qbnorm:b=10,k=2`; raises UserError that names the part at fault."""
    name, _, rest = text.partition(":")
    if name not in METHODS:
        raise UserError(f"unknown post-processing '{name}'{nearest(name, METHODS)}")
    numbers = dict(METHODS[name][1])
    for part in filter(None, rest.split(",")):
        key, _, value = part.partition("=")
        if key not in numbers:
            raise UserError(f"post-processing {name}: number '{key}' is not known{nearest(key, numbers)}")
        try:
            numbers[key] = float(value)
        except ValueError:
            raise UserError(f"post-processing {name}: '{key}': found '{value}', expected a number") from None
    missing = [key for key, value in numbers.items() if value is None]
    if missing:
        example = ",".join(f"{key}=..." for key in numbers)
        raise UserError(
            f"post-processing {name} has no default for '{missing[0]}': name it ({name}:{example})"
        )
    return PostProcess(name, {key: value for key, value in numbers.items() if value is not None})
