"""Signatures: one line that names everything two numbers must share before they may stand in one column.

In the manner of sacreBLEU:
`dataset:scenes|fingerprint:ab12cd34|split:test|images:400|captions:2000|rule:first5|folds:1|ties:lower_index|`
`ensemble:no|precision:float32|version:0.1.0`. Two more fields come last, which no other number has: region features
that the project's detector made, `features:detector-caffe-0a1b2c3d`, and a training whose parts torch.compile
compiled, `compiled:training`.

Extra metrics have more fields before these, which no plain number has:
`relevance:cxc|labels:0f1e2d3c|dataset:mscoco|...`, `postprocess:qbnorm(b=20,k=1)|bank:t2i=20000|transductive:no|...`.
`parse` refuses them, so that no table can put them in a column with others.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache
from typing import TYPE_CHECKING

from benchmark import __version__
from benchmark.errors import UserError, nearest, shown

if TYPE_CHECKING:
    from benchmark.evaluation.extra.postprocess import ProcessedResult
    from benchmark.evaluation.extra.relevance import RelevanceResult
    from benchmark.evaluation.protocol import ProtocolResult


@dataclass(frozen=True)
class Signature:
    """The data and the settings of a measured number; every field is part of the line."""

    dataset: str
    fingerprint: str
    """First 8 hexadecimal digits of the split's sha256."""
    split: str
    images: int
    captions: int
    rule: str
    """The rule that selects the captions of an image: `first5`."""
    folds: int
    ties: str
    ensemble: str
    """`no`, or the number of models whose similarity matrices were averaged."""
    precision: str
    version: str
    features: str | None = None
    """The maker of the region features, where it is the project's detector; else the line lacks the field."""
    compiled: str | None = None
    """`training` where the recipe of the weights compiles; else the line lacks the field."""

    def __post_init__(self) -> None:
        for name, value in self.told().items():
            if not value or set("|:\n") & set(value):
                raise ValueError(
                    f"signature field '{name}': {shown(value)} is empty or holds '|', ':' or a line end"
                )

    def told(self) -> dict[str, str]:
        """Return the fields of the line with their values."""
        values = {part.name: getattr(self, part.name) for part in fields(self)}
        return {name: str(value) for name, value in values.items() if value is not None}

    def __str__(self) -> str:
        return "|".join(f"{name}:{value}" for name, value in self.told().items())


@lru_cache(maxsize=1024)  # the leaderboard compares all pairs of rows
def parse(line: str) -> Signature:
    """Read a signature line; raises UserError that names the field at fault."""
    found: dict[str, str] = {}
    known = [part.name for part in fields(Signature)]
    for item in line.strip().split("|"):
        name, colon, value = item.partition(":")
        if name not in known:
            raise UserError(f"signature: field '{name}' is not known{nearest(name, known)}")
        if not colon or not value or name in found:
            raise UserError(f"signature: field '{name}': found {shown(item)}, expected '{name}:<value>' once")
        found[name] = value
    values: dict[str, str | int] = {}
    for part in fields(Signature):
        if part.name not in found:
            if part.default is None:
                continue
            raise UserError(f"signature: field '{part.name}' is missing")
        text = found[part.name]
        if part.type == "int" and not text.isdecimal():
            raise UserError(f"signature: field '{part.name}': found {shown(text)}, expected a whole number")
        values[part.name] = int(text) if part.type == "int" else text
    return Signature(**values)  # type: ignore[arg-type]


def differences(a: Signature, b: Signature) -> list[str]:
    """Names of the fields in which two signatures differ, in the line's order; empty: comparable numbers."""
    return [part.name for part in fields(Signature) if getattr(a, part.name) != getattr(b, part.name)]


def foreign_signature(result: ProtocolResult, precision: str) -> Signature:
    """Return the signature of scores from elsewhere: what Rematch cannot vouch for stands as `unknown`."""
    folds, ties = result.protocol.folds, result.ranks.tie_rule
    return unknown_origin(result.protocol.dataset, result.n_images, result.n_captions, folds, ties, precision)


# ---------------------------------------------------------------------------------- extra metrics


def relevance_line(result: RelevanceResult, base: Signature) -> str:
    """`base`: of the same scores under the whole gallery, one fold."""
    return f"relevance:{result.relevance.name}|labels:{result.relevance.digest[:8]}|{base}"


def processed_line(result: ProcessedResult, base: Signature) -> str:
    """`base`: of the same scores under the same protocol, plain."""
    banks = ",".join(f"{direction}={size}" for direction, size in result.bank_sizes.items())
    transductive = "yes" if result.transductive else "no"
    return f"postprocess:{result.method}|bank:{banks}|transductive:{transductive}|{base}"


def unknown_origin(
    dataset: str,
    n_images: int,
    n_captions: int,
    folds: int,
    ties: str,
    precision: str,
    version: str = __version__,
) -> Signature:
    """Return the plain signature of scores from elsewhere, of which only sizes, folds, ties and precision are known."""
    unknown = "unknown"
    return Signature(
        dataset, unknown, unknown, n_images, n_captions, unknown, folds, ties, unknown, precision, version
    )
