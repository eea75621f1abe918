"""Authors' checkpoints of all methods: every form is read to the bit, nothing runs, wrong files are one-line errors."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from baselines.published.checkpoint import WRAPPERS, bare
from benchmark.method import OfficialWeights
from benchmark.registry import get_method
from tests.baselines.checkpoint_files import FAMILIES, Evil, Family, document, one_line_error, save

FORMS = [
    ("bare", "", False),
    ("model", "module.", False),
    ("model", "", True),
    ("state_dict", "model.", False),
    ("state_dict", "_orig_mod.", True),
    ("bare", "module._orig_mod.", False),
    ("list", "", False),
    ("list", "module.", True),
]
"""How the weights lie in a file, the prefix of their keys, and whether the format is that before torch 1.6."""


def read(family: Family, path: Path, seed: int = 2) -> OfficialWeights:
    reader = get_method(family.method).read_official
    assert reader is not None
    return reader(path, family.model(seed))


@pytest.mark.parametrize(("form", "prefix", "old"), FORMS)
@pytest.mark.parametrize("name", FAMILIES)
def test_weights_arrive_bit_for_bit(name: str, form: str, prefix: str, old: bool, tmp_path: Path) -> None:
    family = FAMILIES[name]
    if form == "list" and not family.parts:
        form = "bare"
    source = family.model(1)
    entries = family.entries(source)
    weights = read(family, save(tmp_path / "x.pth", document(family, entries, form, prefix), old=old))
    assert (weights.missing, weights.unexpected, weights.dropped) == ([], [], [])
    own = {key: value for key, value in source.state_dict().items() if key in weights.state}
    assert len(own) >= len(entries)
    for key, tensor in own.items():
        if "queues." not in key and "_keys." not in key:  # in no file: USER begins them itself
            assert torch.equal(weights.state[key], tensor), key


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("name", FAMILIES)
def test_nothing_in_a_file_runs(name: str, old: bool, tmp_path: Path) -> None:
    family, victim = FAMILIES[name], tmp_path / "ran"
    content = {**document(family, family.entries(family.model(1)), "model"), "opt": Evil(victim)}
    assert read(family, save(tmp_path / "x.pth", content, old=old)).missing == []
    assert not victim.exists()


@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_missing_and_what_is_left_over_is_named(name: str, tmp_path: Path) -> None:
    family = FAMILIES[name]
    entries = family.entries(family.model(1))
    lost = list(entries)[1]
    del entries[lost]
    left = f"{family.parts[0]}.cnn.weight" if family.parts else "cnn.weight"
    content = document(family, {**entries, left: torch.zeros(3), "note": "text"}, "model")  # type: ignore[dict-item]
    weights = read(family, save(tmp_path / "x.pth", content))
    assert len([key for key in weights.missing if "_keys." not in key]) == 1, lost
    assert sorted(weights.unexpected) == sorted([left, "note"])


@pytest.mark.parametrize("name", FAMILIES)
def test_other_files_are_one_line_errors(name: str, tmp_path: Path) -> None:
    family, path = FAMILIES[name], tmp_path / "x.pth"
    model, method = family.model(2), family.method
    assert "no such checkpoint" in one_line_error(method, path, model)
    entries = family.entries(model)
    whole = save(path, document(family, entries, "model")).read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 30):
        path.write_bytes(whole[:size])
        assert "complete" in one_line_error(method, path, model)
    save(path, {"state_dict": {f"rnn.{k}": torch.zeros(2) for k in range(7)}})
    message = one_line_error(method, path, model)
    assert "not a checkpoint of" in message
    assert ": 0 of the" in message
    save(path, [torch.zeros(2)])
    assert "found a list of 1" in one_line_error(method, path, model)
    save(path, [{}, {}, {}, {}])
    assert "found a list of 4" in one_line_error(method, path, model)
    save(path, "weights")
    assert "found str" in one_line_error(method, path, model)
    first = next(iter(entries))
    save(path, {**entries, f"module.{first}": entries[first]})
    assert f"two entries are called '{first}'" in one_line_error(method, path, model)


@pytest.mark.parametrize("name", FAMILIES)
def test_another_size_is_named(name: str, tmp_path: Path) -> None:
    family = FAMILIES[name]
    entries = family.entries(family.model(1))
    key = next(key for key, value in entries.items() if value.ndim == 2 and "embed" not in key)
    wider = torch.zeros(entries[key].shape[0], entries[key].shape[1] + 1)
    save(tmp_path / "x.pth", document(family, {**entries, key: wider}, "model"))
    message = one_line_error(family.method, tmp_path / "x.pth", family.model(2))
    assert f"'{key}' has shape {tuple(wider.shape)}" in message
    assert "of other sizes" in message


def test_prefixes_are_taken_off_in_any_order_and_inside_stays() -> None:
    assert {bare(f"{one}{two}fc.weight") for one in WRAPPERS for two in WRAPPERS} == {"fc.weight"}
    assert bare("vit_model.norm.weight") == "vit_model.norm.weight"
    assert bare("txt_enc.module.weight") == "txt_enc.module.weight"
