"""Run records: what the hash sees, exact floats, privacy, and one-line errors for every kind of bad file."""

from __future__ import annotations

import getpass
import hashlib
import json
import socket
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from benchmark.errors import UserError
from benchmark.records.record import (
    RunRecord,
    absolute_paths,
    canonical_hash,
    read_all,
    read_record,
    tidy,
    write_record,
)
from tests.reporting import factory


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    record = factory.record(protocols=("mscoco-1k", "mscoco-5k"), latency=factory.latency())
    path = write_record(record, tmp_path)
    assert path == tmp_path / "mscoco" / "hat-i2t" / "0.json"
    assert read_record(path) == record
    assert read_all(tmp_path) == [record]
    assert [item.name for item in path.parent.iterdir()] == ["0.json"]


def test_floats_are_exact(tmp_path: Path) -> None:
    third = 100 / 3
    record = factory.record(recalls=(third, 50.0, 60.0, 0.1 + 0.2, 1.0, 2.0))
    path = write_record(record, tmp_path)
    assert repr(third) in path.read_text()
    assert "0.30000000000000004" in path.read_text()
    assert read_record(path).results["scenes"].metrics.i2t.r1 == third


def test_hash_is_over_canonical_json_without_volatile_fields() -> None:
    record = factory.record()
    document = json.loads(json.dumps(record.model_dump(mode="json")))
    for name in ("canonical_hash", "environment", "latency", "wall_seconds"):
        del document[name]
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert record.canonical_hash == canonical_hash(record) == hashlib.sha256(text.encode()).hexdigest()


def test_hash_ignores_environment_latency_and_times() -> None:
    fields = factory.parts()
    environment = {**fields["environment"], "git_commit": None, "git_dirty": True, "threads": 8}
    other = factory.record(environment=environment, wall_seconds={"train": 1.0}, latency=factory.latency())
    assert other.canonical_hash == factory.record().canonical_hash


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"recalls": (76.6, 93.7, 96.6, 56.1, 80.9, 87.00000000000001)},
        {"departures": ["fewer epochs"]},
        {"codec": "wordpiece:ab13"},
        {"notes": ["x"]},
        {"block_plan": {"images": 32}},
    ],
)
def test_hash_sees_everything_else(changes: dict[str, Any]) -> None:
    assert factory.record(**changes).canonical_hash != factory.record().canonical_hash


def test_recipe_digest_leaves_out_seed_and_workers_only() -> None:
    first = factory.record()
    recipe = factory.recipe(seed=5)
    recipe["training"]["workers"] = 4
    recipe["summary"] = "other words"
    assert factory.record(recipe=recipe, seed=5).recipe_digest == first.recipe_digest
    recipe["training"]["lr"] = 2e-4
    assert factory.record(recipe=recipe, seed=5).recipe_digest != first.recipe_digest


def test_a_compiled_training_has_another_digest_and_a_mark_in_its_signature() -> None:
    recipe = factory.recipe()
    recipe["training"]["compile"] = True
    plain, compiled = factory.record(), factory.record(recipe=recipe)
    assert compiled.recipe_digest != plain.recipe_digest
    for protocol, result in plain.results.items():
        assert compiled.results[protocol].signature == f"{result.signature}|compiled:training"
    official = factory.record(recipe=recipe, weights="official", training=None)
    assert all("compiled" not in result.signature for result in official.results.values())
    together = [ensemble_of(plain, other).results["scenes"].signature for other in (plain, compiled)]
    assert together[1] == f"{together[0]}|compiled:training"


def test_signatures_follow_from_the_record() -> None:
    record = factory.record(protocols=("mscoco-1k", "mscoco-5k"))
    prefix = hashlib.sha256(b"test split of mscoco").hexdigest()[:8]
    assert record.results["mscoco-1k"].signature == (
        f"dataset:mscoco|fingerprint:{prefix}|split:test|images:5000|captions:25000|rule:first5|folds:5"
        "|ties:lower_index|ensemble:no|precision:float32|version:0.1.0"
    )
    assert "folds:1|" in record.results["mscoco-5k"].signature


def ensemble_of(*models: RunRecord) -> RunRecord:
    parts: dict[str, Any] = {"weights": "members", "weights_sha256": None, "training": None}
    return factory.record(run="hat-ensemble", members=[factory.member(model) for model in models], **parts)


def test_an_ensemble_takes_over_its_members_departures() -> None:
    record = ensemble_of(
        factory.record(run="hat-i2t", departures=["tiny model"]), factory.record(run="hat-t2i")
    )
    assert not record.comparable
    assert record.departures == ["hat-i2t: tiny model"]
    assert "|ensemble:2|" in record.results["scenes"].signature


def test_the_signature_names_the_test_split_whatever_else_was_loaded() -> None:
    first = factory.record()
    dataset = first.model_dump(mode="json")["dataset"]
    dataset["fingerprint"] = hashlib.sha256(b"train, val and test").hexdigest()
    dataset["splits"]["train"] = {
        "images": 9,
        "captions": 45,
        "fingerprint": hashlib.sha256(b"t").hexdigest(),
    }
    assert factory.record(dataset=dataset).results["scenes"].signature == first.results["scenes"].signature
    dataset["splits"]["test"]["fingerprint"] = hashlib.sha256(b"other").hexdigest()
    assert factory.record(dataset=dataset).results["scenes"].signature != first.results["scenes"].signature


def test_latency_may_come_later(tmp_path: Path) -> None:
    record = factory.record()
    later = RunRecord.model_validate(record.model_dump(mode="json") | {"latency": factory.latency()})
    assert later.canonical_hash == record.canonical_hash
    assert read_record(write_record(later, tmp_path)).latency is not None
    with pytest.raises(ValidationError):
        RunRecord.model_validate(record.model_dump(mode="json") | {"latency": {"stages": []}})


# ----------------------------------------------------------------------------------------- privacy


def test_no_user_host_or_path_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmark.records.environment import collect

    monkeypatch.setenv("HOME", "/home/jane.doe")
    environment = collect("cpu", "float32").model_dump()
    source = f"SCAN folder /home/jane.doe/data/precomp, also ~/features and {tmp_path}/x.npy"
    record = factory.record(environment=environment, notes=[source, "file:///srv/sims.npy"])
    text = write_record(record, tmp_path).read_text()
    assert record.notes == [
        "SCAN folder <path>/precomp, also <path>/features and <path>/x.npy",
        "<path>/sims.npy",
    ]
    strings = [item for item in _strings(json.loads(text)) if not item.startswith("<path>")]
    assert not any(str(tmp_path) in item or "jane" in item for item in strings)
    assert socket.gethostname() not in strings
    assert getpass.getuser() not in strings


def _strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [found for item in value.values() for found in _strings(item)]
    if isinstance(value, list):
        return [found for item in value for found in _strings(item)]
    return [value] if isinstance(value, str) else []


@pytest.mark.parametrize(
    "text", ["/data", "in /srv/a.b/c", "'/x/y'", r"C:\data\x", "file:///a/b", "~/x", "(/a/b)"]
)
def test_absolute_paths_are_found_and_cut(text: str) -> None:
    assert absolute_paths({"a": [text]})
    assert not absolute_paths(tidy({"a": [text]}))


@pytest.mark.parametrize(
    "text", ["https://a.org/b/c", "and/or", "R@1 / R@5", "a/b.yaml", "<path>/x", "5/7", "./a/b"]
)
def test_other_texts_stay(text: str) -> None:
    assert not absolute_paths([text])
    assert tidy(text) == text


def test_a_record_with_an_absolute_path_is_refused() -> None:
    document = factory.record().model_dump(mode="json")
    with pytest.raises(ValidationError, match="absolute path: '/data/x'"):
        RunRecord.model_validate(document | {"notes": ["read from /data/x"]})


# ------------------------------------------------------------------------------------ faulty files


def _edit(path: Path, *keys: str | int, value: Any) -> None:
    document = json.loads(path.read_text())
    place = document
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    path.write_text(json.dumps(document))


EDITS: list[tuple[tuple[str | int, ...], Any, str]] = [
    (("schema_version",), 2, "field 'schema_version': found 2, expected 1"),
    (("seeed",), 1, "field 'seeed' is not known; did you mean 'seed'?"),
    (("seed",), "0", "field 'seed'"),
    (("results", "scenes", "metrics", "i2t", "r1"), 101.0, "field 'results.scenes.metrics.i2t.r1'"),
    (("results", "scenes", "metrics", "rsum"), 1.0, "field 'results.scenes.metrics': rsum is 1.0"),
    (
        ("results", "scenes", "metrics", "i2t", "r5"),
        10.0,
        "field 'results.scenes.metrics.i2t': recalls fall with K",
    ),
    (("results", "scenes", "signature"), "x", "signature of scenes"),
    (("comparable",), False, "comparable is False with 0 departures"),
    (("recipe", "training", "lr"), 0.5, "recipe_digest"),
    (("recipe", "training", "seed"), 3, "seed is 0, the recipe's is 3"),
    (("split",), "val", "split 'val' is not one of the dataset's: test"),
    (("weights",), "members", "weights 'members' with 0 members"),
    (("codec",), "other", "field 'canonical_hash' does not fit"),
    (("dataset", "fingerprint"), "abc", "field 'dataset.fingerprint'"),
]


@pytest.mark.parametrize(("keys", "value", "message"), EDITS)
def test_a_changed_record_is_named(
    tmp_path: Path, keys: tuple[str | int, ...], value: Any, message: str
) -> None:
    path = write_record(factory.record(), tmp_path)
    _edit(path, *keys, value=value)
    with pytest.raises(UserError) as error:
        read_all(tmp_path)
    assert str(error.value).startswith(f"{path.as_posix()}: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a complete JSON document"),
        ("[1, 2]", "not a run record of Rematch"),
        ('{"rsum": 500}', "not a run record of Rematch"),
        ('{"schema_version": NaN}', "NaN is not a number"),
        ('{"schema_version": 1}', "is missing"),
    ],
)
def test_a_foreign_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    write_record(factory.record(), tmp_path)
    path = tmp_path / "scenes" / "hat-i2t" / "1.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"scenes/hat-i2t/1\.json: ") as error:
        read_all(tmp_path)
    assert message in str(error.value)


def test_every_truncation_is_an_error(tmp_path: Path) -> None:
    path = write_record(factory.record(), tmp_path)
    whole = path.read_bytes()
    for size in range(0, len(whole.rstrip()), 97):
        path.write_bytes(whole[:size])
        with pytest.raises(UserError, match="delete it and run again"):
            read_record(path)


def test_a_record_in_the_wrong_place_is_an_error(tmp_path: Path) -> None:
    path = write_record(factory.record(), tmp_path)
    path.rename(path.with_name("3.json"))
    with pytest.raises(UserError, match=r"holds the run scenes/hat-i2t/0\.json"):
        read_all(tmp_path)


def test_a_missing_record_and_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such run record"):
        read_record(tmp_path / "0.json")
    assert read_all(tmp_path / "nothing") == []


def test_a_failed_write_leaves_the_old_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_record(factory.record(), tmp_path)
    before = path.read_bytes()
    monkeypatch.setattr("os.fsync", _no_space)
    with pytest.raises(OSError, match="no space"):
        write_record(factory.record(notes=["new"]), tmp_path)
    assert path.read_bytes() == before
    assert [item.name for item in path.parent.iterdir()] == ["0.json"]


def _no_space(_descriptor: int) -> None:
    raise OSError("no space left")
