"""Signatures: one line that names everything two numbers must share before they may stand in one column.

In the manner of sacreBLEU:
`dataset:scenes|fingerprint:ab12cd34|split:test|images:400|captions:2000|rule:first5|folds:1|ties:lower_index|`
`ensemble:no|precision:float32|version:0.1.0`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from benchmark import __version__
from benchmark.errors import UserError, nearest

if TYPE_CHECKING:
    from benchmark.evaluation.protocol import ProtocolResult


@dataclass(frozen=True)
class Signature:
    """What a number was measured on and how; every field is part of the line."""

    dataset: str
    fingerprint: str
    """First 8 hexadecimal digits of the split's sha256."""
    split: str
    images: int
    captions: int
    rule: str
    """Which captions of an image count: `first5`."""
    folds: int
    ties: str
    ensemble: str
    """`no`, or the number of models whose similarity matrices were averaged."""
    precision: str
    version: str

    def __post_init__(self) -> None:
        for part in fields(self):
            value = str(getattr(self, part.name))
            if not value or set("|:\n") & set(value):
                raise ValueError(
                    f"signature field '{part.name}': {value!r} is empty or holds '|', ':' or a line end"
                )

    def __str__(self) -> str:
        return "|".join(f"{part.name}:{getattr(self, part.name)}" for part in fields(self))


def parse(line: str) -> Signature:
    """Read a signature line; raises UserError that names the field at fault."""
    found: dict[str, str] = {}
    known = [part.name for part in fields(Signature)]
    for item in line.strip().split("|"):
        name, colon, value = item.partition(":")
        if name not in known:
            raise UserError(f"signature: field '{name}' is not known{nearest(name, known)}")
        if not colon or not value or name in found:
            raise UserError(f"signature: field '{name}': found {item!r}, expected '{name}:<value>' once")
        found[name] = value
    values: dict[str, str | int] = {}
    for part in fields(Signature):
        if part.name not in found:
            raise UserError(f"signature: field '{part.name}' is missing")
        text = found[part.name]
        if part.type == "int" and not text.isdecimal():
            raise UserError(f"signature: field '{part.name}': found {text!r}, expected a whole number")
        values[part.name] = int(text) if part.type == "int" else text
    return Signature(**values)  # type: ignore[arg-type]


def differences(a: Signature, b: Signature) -> list[str]:
    """Names of the fields in which two signatures differ, in the line's order; empty: comparable numbers."""
    return [part.name for part in fields(Signature) if getattr(a, part.name) != getattr(b, part.name)]


def foreign_signature(result: ProtocolResult, precision: str) -> Signature:
    """The signature of scores from elsewhere: what Rematch can't vouch for stands as `unknown`."""
    return Signature(
        dataset=result.protocol.dataset,
        fingerprint="unknown",
        split="unknown",
        images=result.n_images,
        captions=result.n_captions,
        rule="unknown",
        folds=result.protocol.folds,
        ties=result.ranks.tie_rule,
        ensemble="unknown",
        precision=precision,
        version=__version__,
    )
