"""Signature lines: exact form, reading back, named differences, one-line errors."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from benchmark.errors import UserError
from benchmark.records.signature import Signature, differences, parse

LINE = (
    "dataset:scenes|fingerprint:ab12cd34|split:test|images:400|captions:2000|rule:first5|folds:1"
    "|ties:lower_index|ensemble:no|precision:float32|version:0.1.0"
)
SIGNATURE = Signature(
    "scenes", "ab12cd34", "test", 400, 2000, "first5", 1, "lower_index", "no", "float32", "0.1.0"
)


def test_the_line_reads_back() -> None:
    assert str(SIGNATURE) == LINE
    assert parse(LINE + "\n") == SIGNATURE


def test_features_of_the_detector_are_a_last_field_that_other_lines_lack() -> None:
    signature = replace(SIGNATURE, features="detector-caffe-0a1b2c3d")
    assert str(signature) == f"{LINE}|features:detector-caffe-0a1b2c3d"
    assert parse(str(signature)) == signature
    assert differences(SIGNATURE, signature) == ["features"]
    with pytest.raises(UserError, match="field 'features'"):
        parse(f"{LINE}|features:")


def test_a_compiled_training_is_a_last_field_that_other_lines_lack() -> None:
    signature = replace(SIGNATURE, compiled="training")
    assert str(signature) == f"{LINE}|compiled:training"
    assert parse(str(signature)) == signature


def test_every_field_counts_and_is_named() -> None:
    assert differences(SIGNATURE, SIGNATURE) == []
    for part in fields(Signature):
        value = getattr(SIGNATURE, part.name)
        changes: dict[str, Any] = {part.name: value + 1 if isinstance(value, int) else f"{value}x"}
        other = replace(SIGNATURE, **changes)
        assert differences(SIGNATURE, other) == [part.name]
        assert str(other) != LINE
    two = replace(SIGNATURE, version="0.2.0", folds=5)
    assert differences(SIGNATURE, two) == ["folds", "version"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (LINE.replace("folds:1|", ""), "field 'folds' is missing"),
        (LINE.replace("folds", "fold"), "field 'fold' is not known; did you mean 'folds'?"),
        (LINE.replace("images:400", "images:many"), "field 'images': found 'many', expected a whole number"),
        (LINE.replace("split:test", "split:"), "field 'split'"),
        (LINE + "|folds:2", "field 'folds'"),
        ("", "field '' is not known"),
    ],
)
def test_faulty_lines(line: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        parse(line)
    assert message in str(error.value)


@pytest.mark.parametrize("value", ["", "a|b", "a:b", "a\n"])
def test_values_that_would_break_the_line(value: str) -> None:
    with pytest.raises(ValueError, match="signature field 'dataset'"):
        replace(SIGNATURE, dataset=value)
