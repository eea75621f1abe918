"""Checks that a split has a method's input: pictures, or region features and perhaps guides, of the right sizes."""

from __future__ import annotations

from benchmark.data.splits import Split
from benchmark.errors import UserError
from benchmark.inputs import InputSpec


def check_input(split: Split, spec: InputSpec) -> None:
    """Check that a split has the input that a method reads; raises UserError that says what it has."""
    wanted, regions = spec.image.regions, split.regions
    if wanted is None:
        if regions is not None:
            raise UserError(
                "field 'data.regions': found region features, the model reads pixels; leave the field out"
            )
    elif regions is None:
        raise UserError(
            f"field 'data.regions' is missing: the model reads {wanted[0]} x {wanted[1]} region features; say "
            "where they come from (source: auto, scan, tsv, detector or grid)"
        )
    elif regions.shape != wanted:
        count, width = regions.shape
        raise UserError(
            f"field 'data.regions': split '{split.name}' has {count} regions of width {width} an image "
            f"({regions.description}), the model reads {wanted[0]} of width {wanted[1]}"
        )
    _check_guides(split, spec.image.guide_dim)


def _check_guides(split: Split, wanted: int | None) -> None:
    """Check that a split has the vectors that a method reads, of that width, and none that it does not read."""
    guides = split.guides
    if wanted is None and guides is not None:
        raise UserError(
            f"field 'data.guides': found {guides.description}, the model reads no such vectors; leave the field out"
        )
    if wanted is not None and guides is None:
        raise UserError(
            f"field 'data.guides' is missing: the model reads a vector of {wanted} of each image beside its regions; "
            "say where they come from (source: clip, file or random)"
        )
    if guides is not None and guides.vectors.shape[1] != wanted:
        raise UserError(
            f"field 'data.guides': split '{split.name}' has vectors of width {guides.vectors.shape[1]} "
            f"({guides.description}), the model reads {wanted}"
        )
