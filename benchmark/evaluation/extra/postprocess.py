"""A protocol over post-processed scores (hubness.py): each direction has its own matrix, each fold its own gallery."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np

from benchmark.errors import UserError, nearest
from benchmark.evaluation.extra.hubness import PostProcess
from benchmark.evaluation.metrics import DirectionMetrics
from benchmark.evaluation.protocol import Protocol, ProtocolResult, evaluate
from benchmark.evaluation.ranking import Floats, Ints, TieRule, check_matrix

Direction = Literal["i2t", "t2i"]
Role = Literal["images", "captions", "gallery-images", "gallery-captions"]
ROLES: tuple[Role, ...] = get_args(Role)

SHAPES: Mapping[Role, str] = {
    "images": "bank images x test captions",
    "captions": "test images x bank captions",
    "gallery-images": "bank images x test images",
    "gallery-captions": "bank captions x test captions",
}
"""The content of each bank: queries of i2t, queries of t2i, and items like the galleries of t2i and i2t."""

PREFIX = 16
"""The number of scores by which a query of a bank is first looked for among the test queries."""


@dataclass(frozen=True, eq=False)
class Banks:
    """Scores of training items against the test split, by role; or the test queries themselves."""

    matrices: Mapping[Role, Floats] = field(default_factory=dict)
    transductive: bool = False
    """True where the test queries replace a missing bank of queries; the banks may then hold some of them too."""

    def size(self, direction: Direction, n_queries: int) -> int:
        """Queries of the bank of a direction."""
        matrix = self.matrices.get("images" if direction == "i2t" else "captions")
        if matrix is None:
            return n_queries
        return int(matrix.shape[0 if direction == "i2t" else 1])

    def directions(self, method: PostProcess) -> list[Direction]:
        """The directions that can be processed with these banks; raises UserError where there is none."""
        found: list[Direction] = []
        for direction, queries, gallery in (
            ("i2t", "images", "gallery-captions"),
            ("t2i", "captions", "gallery-images"),
        ):
            has_queries = self.transductive or queries in self.matrices
            if has_queries and (not method.needs_gallery_bank or gallery in self.matrices):
                found.append("i2t" if direction == "i2t" else "t2i")
        if not found:
            needed = "'images' (for i2t) or 'captions' (for t2i)"
            if method.needs_gallery_bank:
                needed = (
                    "'images' and 'gallery-captions' (for i2t), or 'captions' and 'gallery-images' (for t2i)"
                )
            raise UserError(
                f"post-processing {method.name} needs a bank: --bank ROLE=FILE with role {needed}; "
                "or --transductive, to take the test queries"
            )
        return found


@dataclass(frozen=True)
class ProcessedResult:
    """The result of a protocol on post-processed scores; a direction without a bank is None."""

    protocol: Protocol
    method: PostProcess
    n_images: int
    n_captions: int
    tie_rule: TieRule
    transductive: bool
    sides: Mapping[Direction, DirectionMetrics]
    intervals: Mapping[Direction, Mapping[str, tuple[float, float]]]
    bank_sizes: Mapping[Direction, int]


def evaluate_processed(
    sims: Floats,
    caption_image: Ints,
    protocol: Protocol,
    method: PostProcess,
    banks: Banks,
    tie_rule: TieRule = "lower_index",
    *,
    n_images: int | None = None,
    resamples: int = 1000,
) -> ProcessedResult:
    """Post-process each direction and fold, then rank as `evaluate` does.

    sims: (n_images, n_captions). Raises UserError as `evaluate`, for banks that do not fit, and for a bank that holds
    test queries without saying so.
    """
    check_matrix(sims)
    _check_banks(sims, banks)
    results: dict[Direction, ProtocolResult] = {}
    for direction in banks.directions(method):
        processed = _processed(sims, caption_image, protocol.folds, method, banks, direction)
        results[direction] = evaluate(
            processed, caption_image, protocol, tie_rule, n_images=n_images, resamples=resamples
        )
    n_rows, n_columns = sims.shape
    queries: dict[Direction, int] = {"i2t": n_rows // protocol.folds, "t2i": n_columns // protocol.folds}
    return ProcessedResult(
        protocol,
        method,
        n_rows,
        n_columns,
        tie_rule,
        banks.transductive,
        {name: getattr(result.metrics, name) for name, result in results.items()},
        {
            name: {key: pair for key, pair in result.intervals.bounds.items() if key.startswith(name)}
            for name, result in results.items()
        },
        {name: banks.size(name, queries[name]) for name in results},
    )


def _processed(
    sims: Floats, caption_image: Ints, folds: int, method: PostProcess, banks: Banks, direction: Direction
) -> Floats:
    """The matrix (n_images, n_captions) float64 with each fold's block processed; what no fold looks at stays 0."""
    result = np.zeros(sims.shape)
    size = len(sims) // folds
    for fold in range(folds):
        rows = np.arange(fold * size, (fold + 1) * size)
        columns = np.flatnonzero(caption_image // size == fold) if folds > 1 else np.arange(sims.shape[1])
        block = sims[rows[0] : rows[-1] + 1][:, columns] if folds > 1 else sims
        own = {role: _part(role, matrix, rows, columns) for role, matrix in banks.matrices.items()}
        if direction == "i2t":
            found = method.apply(block, *_needed(method, own, "images", "gallery-captions", block))
        else:
            found = method.apply(block.T, *_needed(method, own, "captions", "gallery-images", block.T)).T
        result[np.ix_(rows, columns)] = found
    return result


def _part(role: Role, matrix: Floats, rows: Ints, columns: Ints) -> Floats:
    """A bank against a fold's gallery, that in columns."""
    if role == "captions":
        return matrix[rows].T
    return matrix[:, rows if role == "gallery-images" else columns]


def _needed(
    method: PostProcess, own: Mapping[Role, Floats], queries: Role, gallery: Role, test: Floats
) -> list[Floats]:
    bank = own.get(queries, test)
    return [bank, own[gallery]] if method.needs_gallery_bank else [bank]


# ------------------------------------------------------------------------------------------ checks


def parse_role(text: str) -> tuple[Role, str]:
    """`captions=bank.npy` -> role and file; raises UserError for an unknown role."""
    name, equals, file = text.partition("=")
    for role in ROLES:
        if role == name and equals and file:
            return role, file
    if not equals:
        raise UserError(
            f"option '--bank': found '{text}', expected ROLE=FILE with a role of: {', '.join(ROLES)}"
        )
    raise UserError(f"option '--bank': unknown role '{name}'{nearest(name, ROLES)}")


def _check_banks(sims: Floats, banks: Banks) -> None:
    n_images, n_captions = sims.shape
    for role, matrix in banks.matrices.items():
        where = f"bank '{role}'"
        try:
            check_matrix(matrix)
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
        found = matrix.shape[0] if role == "captions" else matrix.shape[1]
        expected = n_captions if role in ("images", "gallery-captions") else n_images
        if found != expected:
            raise UserError(
                f"{where}: found shape {matrix.shape}, expected {SHAPES[role]}, {expected:,} of these"
            )
        if role in ("images", "captions") and not banks.transductive:
            own, other = (sims, matrix) if role == "images" else (sims.T, matrix.T)
            _check_apart(role, own, other)


def _check_apart(role: Role, test: Floats, bank: Floats) -> None:
    """Raise UserError where a query of the bank (m, g) has a test query's scores (n, g), to the last bit."""
    keys = {row.tobytes(): number for number, row in enumerate(_starts(test))}
    for number, row in enumerate(_starts(bank)):
        same = keys.get(row.tobytes())
        if same is not None and np.array_equal(test[same], bank[number]):
            what = role.removesuffix("s")
            raise UserError(
                f"bank '{role}': its {what} {number} has the scores of test {what} {same}: a bank of test queries "
                "makes the evaluation transductive; take one of the training split, or say --transductive"
            )


def _starts(matrix: Floats) -> Floats:
    return np.ascontiguousarray(matrix[:, :PREFIX], np.float64)
