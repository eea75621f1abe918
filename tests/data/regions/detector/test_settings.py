"""Settings: sizes of the modes, identities that differ wherever features do, and the port's own numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from benchmark.data.regions.detector import DetectorSettings
from benchmark.data.regions.detector.weights import SHA256
from benchmark.errors import UserError
from tests.data.regions.detector.narrow import NUMBERS, lock_text


@pytest.fixture(autouse=True)
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REMATCH_REVISIONS", str(tmp_path / "revisions.yaml"))
    return tmp_path / "revisions.yaml"


def test_each_mode_has_sizes_of_its_own() -> None:
    caffe, hub = DetectorSettings(), DetectorSettings(mode="hub")
    assert (caffe.mode, caffe.regions, caffe.proposals) == ("caffe", 36, 300)
    assert (caffe.short_side, caffe.longest_side) == (600, 1000)
    assert (hub.short_side, hub.longest_side) == (800, 1333)
    assert DetectorSettings(mode="hub", short_side=600).short_side == 600
    assert DetectorSettings(**hub.model_dump()) == hub


@pytest.mark.parametrize(
    "given",
    [
        {"mode": "caffee"},
        {"region": 36},
        {"regions": 0},
        {"short_side": 8},
        {"mode": ["hub"]},
        {"mode": None},
    ],
)
def test_settings_are_strict(given: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        DetectorSettings.model_validate(given)
    with pytest.raises(ValidationError):
        DetectorSettings().mode = "hub"


def test_whatever_changes_features_changes_the_identity(lock: Path, tmp_path: Path) -> None:
    small_hub = DetectorSettings(mode="hub", short_side=600, longest_side=1000)
    made = [DetectorSettings(), DetectorSettings(mode="hub"), small_hub]
    made += [
        DetectorSettings.model_validate({name: 64})
        for name in ("regions", "short_side", "longest_side", "proposals")
    ]
    names = {settings.identity() for settings in made}
    assert len(names) == len(made)
    assert all(SHA256 in name for name in names)
    assert DetectorSettings().identity() == DetectorSettings().identity()
    weights = tmp_path / "other.bin"
    weights.write_bytes(b"other weights")
    lock.write_text(lock_text(weights))
    assert DetectorSettings().identity() not in names


def test_the_ports_numbers_are_held_against_its_own_file(capsys: pytest.CaptureFixture[str]) -> None:
    hub = DetectorSettings(mode="hub")
    hub.check_config(NUMBERS)
    assert capsys.readouterr().err == ""
    other = NUMBERS.replace("300", "1000")
    with pytest.raises(
        UserError, match=r"RPN\.POST_NMS_TOPK_TEST: found 1000, expected 300 .*; set `proposals`"
    ):
        hub.check_config(other)
    DetectorSettings(mode="hub", proposals=1000).check_config(other)
    with pytest.raises(
        UserError, match=r"RPN\.NMS_THRESH: found 0\.8, expected 0\.7 as the settings .*hub have it$"
    ):
        hub.check_config(NUMBERS.replace("0.7", "0.8"))
    DetectorSettings().check_config(other)  # the original's numbers are known


@pytest.mark.parametrize("text", ["", "RPN: 5", "RPN: {IN_FEATURES: [res4]}", "- 1"])
def test_numbers_that_are_not_there_are_said(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    DetectorSettings(mode="hub").check_config(text)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("no RPN.")[1] for line in lines] == [
        "POST_NMS_TOPK_TEST; taking 300",
        "PRE_NMS_TOPK_TEST; taking 6000",
        "NMS_THRESH; taking 0.7",
    ]


def test_a_configuration_that_is_no_yaml() -> None:
    with pytest.raises(UserError, match="not readable as YAML"):
        DetectorSettings(mode="hub").check_config("a: [1")
