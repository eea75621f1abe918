"""Estimates: written and read back, of one version of a recipe, faults named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmark.errors import UserError
from benchmark.places import ESTIMATES, RECIPES
from benchmark.recipe.files import read_document
from benchmark.records.estimate import Estimate, file_digest, read_estimates, write_estimates
from tests.paths import ROOT

HAT = ROOT / RECIPES / "hat/flickr30k-i2t.yaml"
GOOD: dict[str, Any] = {
    "recipe_digest": "0" * 64,
    "seconds": 12,
    "memory_bytes": 34,
    "host_bytes": 56,
    "device_bytes": 78,
    "batch_size": 9,
    "flops": 1e12,
    "hardware": "a processor",
    "torch": "2.14.1",
}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "estimates.json"
    assert read_estimates(path) == {}
    found = {name: Estimate(**GOOD) for name in ("recipes/b/x.yaml", "recipes/a/x.yaml")}
    write_estimates(found, path)
    assert read_estimates(path) == found
    assert list(json.loads(path.read_text())) == sorted(found)


def test_the_digest_leaves_out_prose_and_seed_and_nothing_else(tmp_path: Path) -> None:
    text = HAT.read_text(encoding="utf-8")
    copy = tmp_path / HAT.name

    def digest(new: str) -> str:
        assert new != text
        copy.write_text(new, encoding="utf-8")
        return file_digest(copy)

    same = file_digest(HAT)
    summary = str(read_document(HAT)["summary"])
    assert digest(f"# a remark\n{text}") == same
    assert digest(text.replace(summary, "other words")) == same
    batch = read_document(HAT)["training"]["batch_size"]
    assert digest(text.replace(f"batch_size: {batch}", f"batch_size: {batch + 1}")) != same


@pytest.mark.parametrize(
    ("change", "seconds"),
    [
        ({"seconds": 9}, 9),
        ({"seconds": 15}, 12),
        ({"seconds": 9, "hardware": "x"}, 12),
        ({"recipe_digest": "1" * 64}, 12),
    ],
)
def test_of_two_times_on_one_machine_the_shorter_stays(change: dict[str, Any], seconds: int) -> None:
    """An earlier estimate changed so."""
    assert Estimate(**GOOD).or_shorter(Estimate(**GOOD | change)).seconds == seconds
    assert Estimate(**GOOD).or_shorter(None) == Estimate(**GOOD)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("[]", "found a list, expected recipes by path"),
        ("{", "not readable as estimates: "),
        (
            json.dumps({"r.yaml": GOOD | {"secnds": 1}}),
            "'r.yaml': field 'secnds' is not known; did you mean",
        ),
        (json.dumps({"r.yaml": GOOD | {"seconds": 0}}), "'r.yaml': field 'seconds': found 0, "),
        (
            json.dumps({"r.yaml": GOOD | {"recipe_digest": "x"}}),
            "'r.yaml': field 'recipe_digest': found 'x', ",
        ),
        (json.dumps({"r.yaml": 3}), "'r.yaml': field 'document': found 3, "),
    ],
)
def test_a_fault_names_file_recipe_and_field(tmp_path: Path, content: str, complaint: str) -> None:
    path = tmp_path / "estimates.json"
    path.write_text(content)
    with pytest.raises(UserError) as error:
        read_estimates(path)
    assert str(error.value).startswith(f"{path.as_posix()}: {complaint}")


def test_the_committed_estimates_are_of_recipes_that_there_are() -> None:
    found = read_estimates(ROOT / ESTIMATES)
    assert found
    for recipe in found:
        assert (ROOT / recipe).is_file(), recipe
