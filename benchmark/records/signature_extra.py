"""Signatures of extra metrics: a protocol's signature with more fields before it, which no plain number has.

`relevance:cxc|labels:0f1e2d3c|dataset:mscoco|...`, `postprocess:qbnorm(b=20,k=1)|bank:t2i=20000|transductive:no|...`;
`signature.parse` refuses them, so that no table can put them in a column with others.
"""

from __future__ import annotations

from benchmark import __version__
from benchmark.evaluation.extra.postprocess import ProcessedResult
from benchmark.evaluation.extra.relevance import RelevanceResult
from benchmark.records.signature import Signature


def relevance_line(result: RelevanceResult, base: Signature) -> str:
    """`base`: of the same scores under the whole gallery, one fold."""
    return f"relevance:{result.relevance.name}|labels:{result.relevance.digest[:8]}|{base}"


def processed_line(result: ProcessedResult, base: Signature) -> str:
    """`base`: of the same scores under the same protocol, plain."""
    banks = ",".join(f"{direction}={size}" for direction, size in result.bank_sizes.items())
    transductive = "yes" if result.transductive else "no"
    return f"postprocess:{result.method}|bank:{banks}|transductive:{transductive}|{base}"


def unknown_origin(
    dataset: str, n_images: int, n_captions: int, folds: int, ties: str, precision: str
) -> Signature:
    """The plain signature of scores from elsewhere, as `foreign_signature` has it."""
    unknown = "unknown"
    return Signature(
        dataset, unknown, unknown, n_images, n_captions, unknown, folds, ties, unknown, precision, __version__
    )
