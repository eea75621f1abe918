"""Weights: fetched from a twin of the Hub, locked, held against sha256 and names, converted once; and every fault."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmark.checks.parity.detector import recorded_settings, recorded_sizes, step_cases, weight_cases
from benchmark.checks.parity.report import compare
from benchmark.data.published.revisions import read_revisions
from benchmark.data.regions.detector import Detector
from benchmark.data.regions.detector.formula import formula_weights
from benchmark.data.regions.detector.weights import (
    CONFIG,
    FILE,
    REPOSITORY,
    SHA256,
    find_converted,
    load_weights,
)
from benchmark.errors import UserError
from benchmark.files import sha256_file
from benchmark.guarded import parse_json
from tests.baselines.checkpoint_files import Evil
from tests.data.regions.detector.narrow import (
    COMMIT,
    CPU,
    NUMBERS,
    golden,
    lock_text,
    narrow_repository,
    narrow_weights,
    save_weights,
)
from tests.hub.client import pointed_at
from tests.hub.server import HubTwin
from tests.hub.store import Repository

KEY = f"{REPOSITORY}/{FILE}"


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    """The lock of a test."""
    return tmp_path / "cache" / "revisions.yaml"


@pytest.fixture
def converted(tmp_path: Path) -> Path:
    """The folder of converted weights of a test."""
    return tmp_path / "converted"


@pytest.fixture
def twin(tmp_path: Path, lock: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubTwin]:
    """A twin with narrow weights, which the lock expects."""
    repository = narrow_repository(tmp_path / "repository")
    lock.parent.mkdir()
    lock.write_text(lock_text(tmp_path / "repository" / FILE))
    with HubTwin([repository]) as served:
        pointed_at(served, monkeypatch, tmp_path / "cache")
        yield served


def same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[key], expected[key]) for key in found)


# ---------------------------------------------------------------------------------------- sound weights


def test_the_first_download_locks_and_converts_and_no_later_one_asks(twin: HubTwin, converted: Path) -> None:
    first = load_weights(cache=converted)
    assert same(first.tensors, narrow_weights())
    assert first.config == NUMBERS
    assert twin.downloads() == [FILE, CONFIG]
    assert read_revisions().commits == {REPOSITORY: COMMIT}
    assert len(list(converted.iterdir())) == 1
    twin.stop()
    again = load_weights(cache=converted)
    assert same(again.tensors, first.tensors)
    assert again.config == NUMBERS


def test_what_the_first_download_locks_stays_locked(twin: HubTwin, tmp_path: Path, converted: Path) -> None:
    load_weights(cache=converted)
    save_weights(tmp_path / "newer", {"a": torch.ones(2)})
    old = twin.repositories[REPOSITORY]
    twin.add(Repository(REPOSITORY, {"6" * 40: tmp_path / "newer", **old.commits}, kind="model"))
    next(converted.iterdir()).unlink()
    assert same(load_weights(cache=converted).tensors, narrow_weights())
    assert read_revisions().commits == {REPOSITORY: COMMIT}


@pytest.mark.usefixtures("twin")
def test_the_published_sha256_is_locked_with_the_commit(
    tmp_path: Path, lock: Path, converted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = sha256_file(tmp_path / "repository" / FILE)
    lock.unlink()
    monkeypatch.setattr("benchmark.data.regions.detector.weights.SHA256", digest)
    load_weights(cache=converted)
    assert read_revisions().hashes == {KEY: digest}


def test_a_local_copy_is_as_good_and_nothing_is_asked(twin: HubTwin, tmp_path: Path, converted: Path) -> None:
    path = tmp_path / "elsewhere" / "weights.bin"
    path.parent.mkdir()
    path.write_bytes((tmp_path / "repository" / FILE).read_bytes())
    found = load_weights(path, converted)
    assert same(found.tensors, narrow_weights())
    assert found.config == ""
    assert twin.requests == []
    assert read_revisions().commits == {}


@pytest.mark.usefixtures("twin")
@pytest.mark.parametrize("form", ["before 1.6", "gamma", "half", "counters"])
def test_other_forms_of_the_same_weights(form: str, tmp_path: Path, lock: Path, converted: Path) -> None:
    weights, options = dict(narrow_weights()), {}
    if form == "before 1.6":
        options = {"_use_new_zipfile_serialization": False}
    elif form == "gamma":
        names = {".norm.weight": ".norm.gamma", ".norm.bias": ".norm.beta"}
        weights = {
            next(
                (key.removesuffix(end) + new for end, new in names.items() if key.endswith(end)), key
            ): tensor
            for key, tensor in weights.items()
        }
        assert sum(key.endswith((".gamma", ".beta")) for key in weights) == 2 * 53
    elif form == "half":
        weights = {key: tensor.half() for key, tensor in weights.items()}
    else:
        layers = [key.removesuffix("mean") for key in weights if key.endswith("running_mean")]
        weights |= {key.replace("running_", "num_batches_tracked"): torch.tensor(3) for key in layers}
        assert len(weights) == 281 + 53
    path = save_weights(tmp_path / "other", weights, **options)
    lock.write_text(lock_text(path))
    found = load_weights(path, converted).tensors
    expected = narrow_weights()
    assert found.keys() == expected.keys()
    assert all(tensor.dtype == torch.float32 for tensor in found.values())
    exact = 1e-3 if form == "half" else 0.0
    assert all(torch.allclose(found[key], expected[key], rtol=exact, atol=exact / 10) for key in found)


# ---------------------------------------------------------------------------------------------- faults


@pytest.mark.usefixtures("twin")
@pytest.mark.parametrize("local", [False, True])
def test_another_sha256_is_an_error_that_names_both(
    local: bool, tmp_path: Path, lock: Path, converted: Path
) -> None:
    lock.unlink()
    path = tmp_path / "repository" / FILE
    with pytest.raises(UserError) as caught:
        load_weights(path if local else None, converted)
    for part in (sha256_file(path), SHA256, "data.md 3.2", FILE):
        assert part in str(caught.value)
    assert not converted.exists()
    assert not lock.exists()


def test_weights_that_are_neither_here_nor_reachable(
    twin: HubTwin, tmp_path: Path, converted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pointed_at(twin, monkeypatch, tmp_path / "cache", offline=True)
    with pytest.raises(UserError, match=f"{FILE} of {REPOSITORY} is not in the Hugging Face cache"):
        load_weights(cache=converted)
    with pytest.raises(UserError, match="no such file"):
        load_weights(tmp_path / "none.bin", converted)


@pytest.mark.usefixtures("twin")
def test_a_repository_without_a_configuration(tmp_path: Path, converted: Path) -> None:
    (tmp_path / "repository" / CONFIG).unlink()
    assert load_weights(cache=converted).config == ""


@pytest.mark.usefixtures("twin")
def test_damaged_converted_weights_are_made_again(
    converted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load_weights(cache=converted)
    (path,) = converted.iterdir()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert same(load_weights(cache=converted).tensors, narrow_weights())
    assert "damaged; converting again" in capsys.readouterr().err
    assert list(converted.iterdir()) == [path]


@pytest.mark.usefixtures("twin")
def test_a_file_that_was_damaged_in_the_cache_is_removed_from_it(tmp_path: Path, converted: Path) -> None:
    load_weights(cache=converted)
    (kept,) = converted.iterdir()
    kept.unlink()
    (cached,) = (tmp_path / "cache" / "hub").glob(f"models--*/snapshots/*/{FILE}")
    blob = cached.resolve()
    blob.chmod(0o644)
    blob.write_bytes(blob.read_bytes()[:-1] + b"?")
    with pytest.raises(UserError, match="was damaged in the Hugging Face cache and is removed from it"):
        load_weights(cache=converted)
    assert same(load_weights(cache=converted).tensors, narrow_weights())


def without(key: str) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in narrow_weights().items() if name != key}


BOX = "roi_heads.box_predictor."
MEAN = "backbone.res3.2.conv1.norm.running_mean"
FAULTS: dict[str, tuple[Any, str]] = {
    "missing": (
        without(MEAN),
        f"found no '{MEAN}', expected the 334 keys of data.md 3.3: 1 are missing, 0 left",
    ),
    "renamed": (
        {**without(MEAN), MEAN.replace("mean", "average"): torch.zeros(16)},
        rf"found no '{MEAN}'; did you mean '.*running_average'\?, expected .* 1 are missing, 1 left over",
    ),
    "left over": (
        {**narrow_weights(), "fc.weight": torch.ones(2)},
        "found 'fc.weight', expected the 334 keys",
    ),
    "no head": (without(f"{BOX}cls_score.weight"), f"it lacks '{BOX}cls_score.weight'"),
    "other shape": (
        {**narrow_weights(), f"{BOX}bbox_pred.bias": torch.ones(156)},
        rf"'{BOX}bbox_pred.bias': found shape \(156,\), expected \(160,\)",
    ),
    "not finite": (
        {**narrow_weights(), MEAN: torch.full((16,), torch.nan)},
        f"'{MEAN}' holds numbers that are not",
    ),
    "a list": ([torch.ones(2)], "found a list, expected a state dict"),
    "a trainer": (
        {"state_dict": narrow_weights(), "epoch": 3},
        "found other things than tensors, expected a state",
    ),
    "empty": ({}, "no detector of data.md 3.3"),
}


@pytest.mark.usefixtures("twin")
@pytest.mark.parametrize("fault", FAULTS)
def test_files_that_are_not_the_detectors(fault: str, tmp_path: Path, lock: Path, converted: Path) -> None:
    content, message = FAULTS[fault]
    path = save_weights(tmp_path / "repository", content)
    lock.write_text(lock_text(path))
    with pytest.raises(UserError, match=message) as caught:
        load_weights(cache=converted)
    assert str(caught.value).startswith(FILE)
    assert not converted.exists()
    assert read_revisions().commits == {}


@pytest.mark.usefixtures("twin")
@pytest.mark.parametrize("kind", ["stream", "zip"])
def test_nothing_in_a_file_runs(kind: str, tmp_path: Path, lock: Path, converted: Path) -> None:
    victim = tmp_path / "ran"
    path = save_weights(tmp_path / "evil", {**narrow_weights(), "x": Evil(victim)})
    if kind == "stream":
        path.write_bytes(pickle.dumps(Evil(victim)))
    lock.write_text(lock_text(path))
    with pytest.raises(UserError):
        load_weights(path, converted)
    assert not victim.exists()


@pytest.mark.usefixtures("twin")
def test_a_folder_that_cannot_be_written_to(converted: Path) -> None:
    converted.write_bytes(b"a file")
    with pytest.raises(UserError, match="cannot be written"):
        load_weights(cache=converted)
    assert read_revisions().commits == {}


# ------------------------------------------------------------------------------------------ full size


@pytest.mark.slow
def test_the_full_network_goes_the_way_of_a_users_pictures(
    tmp_path: Path, lock: Path, converted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of the Hub, 640 names, conversion, cache, detector: the recorded steps come out (about 15 s)."""
    recorded = golden("full_a")
    sizes = recorded_sizes(parse_json(str(recorded["config"])))
    weights = formula_weights(sizes, float(recorded["cls_score_scale"]), recorded["cls_score_bias"])
    assert len(weights) == 640
    assert all(compare("full_a", case).ok for case in weight_cases(recorded, weights))
    settings = recorded_settings(recorded)
    path = save_weights(tmp_path / "repository", weights)
    (path.parent / CONFIG).write_text(NUMBERS.replace("300", str(settings.proposals)))
    del weights
    lock.parent.mkdir()
    lock.write_text(lock_text(path))
    with HubTwin([Repository(REPOSITORY, {COMMIT: path.parent}, kind="model")]) as twin:
        pointed_at(twin, monkeypatch, tmp_path / "cache")
        detector = Detector.load(settings, CPU, cache=converted)
    rows = [compare("full_a", case) for case in step_cases(recorded, detector)]
    assert [row for row in rows if not row.ok] == []
    assert {row.quantity for row in rows} == {key for key in recorded if key.startswith("outputs/")}
    assert find_converted(sha256_file(path), converted) is not None
    assert detector.network.get_parameter("res5.0.conv1.weight").numel() == 1024 * 512
