"""The doctor: each fault is found, says what to do, and gives away no name and no password."""

from __future__ import annotations

import http.server
import json
import shutil
import threading
import time
from collections import namedtuple
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import pytest
import torch
import torchvision

from benchmark.checks import doctor
from benchmark.checks.doctor import HealthFinding
from benchmark.data.regions.detector.weights import CACHE, SHA256
from benchmark.files import sha256_bytes
from tests.tiny import rematch

Usage = namedtuple("Usage", "total used free")


@contextmanager
def hub(status: int, delay: float = 0.0) -> Iterator[int]:
    """A server on this machine that answers HEAD with `status`; gives its port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            time.sleep(delay)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No flag or proxy of the machine decides a test."""
    names = ("HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME", "HF_ENDPOINT", "http_proxy", "HTTP_PROXY")
    for name in (*doctor.OFFLINE_FLAGS, *names):
        monkeypatch.delenv(name, raising=False)


def test_this_environment_is_sound() -> None:
    for check in (doctor.check_python, doctor.check_packages, doctor.check_torch_pair, doctor.check_methods):
        finding = check()
        assert finding.ok is True, finding


def test_an_old_python_is_a_fault() -> None:
    finding = doctor.check_python((3, 10, 14))
    assert finding.ok is False
    assert finding.found == "3.10.14"
    assert ">=3.11" in finding.advice


def test_missing_and_outdated_packages_are_named() -> None:
    finding = doctor.check_packages(
        ["numpy>=1", "no-such-package>=1", "pytest<1", "gone>1; python_version < '3'"]
    )
    assert finding.ok is False
    assert "no-such-package is missing" in finding.found
    assert f"pytest {metadata.version('pytest')} is not <1" in finding.found
    assert "numpy" not in finding.found
    assert "gone" not in finding.found
    assert "requirements.lock" in finding.advice


def broken(*_arguments: object) -> torch.Tensor:
    raise RuntimeError("operator torchvision::nms does not exist\nsecond line")


def wrong(*_arguments: object) -> torch.Tensor:
    return torch.tensor([0, 1, 2])


@pytest.mark.parametrize(("operator", "found"), [(broken, "nms does not exist"), (wrong, "wrong results")])
def test_a_mismatched_torch_pair_is_a_fault(
    monkeypatch: pytest.MonkeyPatch, operator: Callable[..., torch.Tensor], found: str
) -> None:
    monkeypatch.setattr(torchvision.ops, "nms", operator)
    finding = doctor.check_torch_pair()
    assert finding.ok is False
    assert found in finding.found
    assert "second line" not in finding.found
    assert "requirements.lock" in finding.advice


def test_a_method_that_is_declared_but_not_registered_is_a_fault(tmp_path: Path) -> None:
    project = tmp_path / "pyproject.toml"
    project.write_text('[project.entry-points."rematch.baselines"]\nnewest = "baselines.newest:METHOD"\n')
    finding = doctor.check_methods(project)
    assert finding == HealthFinding("methods", False, "not registered: newest", doctor.REINSTALL)


def test_a_method_that_cannot_be_imported_is_a_fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    point = metadata.EntryPoint("lost", "no_such_module.lost:METHOD", "rematch.baselines")
    monkeypatch.setattr(metadata, "entry_points", lambda **_group: (point,))
    finding = doctor.check_methods(tmp_path / "pyproject.toml")
    assert finding.ok is False
    assert "'lost'" in finding.found
    assert "no_such_module.lost" in finding.advice


def test_without_a_gpu_the_report_says_scenes_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert doctor.check_gpu().found == "none: scenes only"
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    finding = doctor.check_gpu()
    assert finding.ok is None
    assert "the driver is there" in finding.found


def test_a_gpu_that_fails_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", broken)
    finding = doctor.check_gpu()
    assert finding.ok is False
    assert finding.advice


def test_more_threads_than_processors_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 10_000)
    finding = doctor.check_threads()
    assert finding.ok is None
    assert "OMP_NUM_THREADS=" in finding.advice


@pytest.mark.parametrize(("free", "ok"), [(0.5, False), (5, None), (500, True)])
def test_room_for_checkpoints(monkeypatch: pytest.MonkeyPatch, free: float, ok: bool | None) -> None:
    usage = Usage(0, 0, int(free * doctor.GIB))
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: usage)
    finding = doctor.check_work_disk(Path(".rematch/not/there/yet"))
    assert finding.ok is ok
    assert ("GiB" in finding.advice) == (ok is not True)


def test_a_cache_that_cannot_be_written_is_a_fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "file"))
    finding = doctor.check_cache()
    assert finding.ok is False
    assert "HF_HOME" in finding.advice


def test_the_detectors_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    none = doctor.check_detector()
    assert (none.ok, none.found) == (
        True,
        "none yet: 262 MB are fetched when region features are first made",
    )
    path = CACHE / f"detector-{SHA256[:16]}-{sha256_bytes(b'weights')[:32]}.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"weights")
    assert doctor.check_detector() == HealthFinding("detector weights", True, f"{path.as_posix()}: 0 MB")
    path.write_bytes(b"weighty")
    damaged = doctor.check_detector()
    assert (damaged.ok, damaged.found) == (False, f"{path.as_posix()} is damaged")
    assert damaged.advice == "delete the file"
    assert path.is_file()


def test_the_cache_follows_its_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("HOME", str(home))
    assert doctor.cache_folder() == home / ".cache/huggingface/hub"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert doctor.cache_folder() == tmp_path / "xdg/huggingface/hub"
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    assert doctor.cache_folder() == tmp_path / "hf/hub"
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "alice/big"))
    assert doctor.cache_folder() == tmp_path / "alice/big"
    found = doctor.check_cache().found
    assert found.startswith("HF_HUB_CACHE, .../big")
    assert "alice" not in found


@pytest.mark.parametrize(("status", "ok"), [(200, True), (404, True), (503, None)])
def test_the_hub_is_reached_where_it_answers(
    monkeypatch: pytest.MonkeyPatch, status: int, ok: bool | None
) -> None:
    with hub(status) as port:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
        finding = doctor.check_hub()
    assert finding.ok is ok
    assert "127.0.0.1" in finding.found


def test_a_silent_hub_is_a_warning_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with hub(200, delay=1.0) as port:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
        started = time.monotonic()
        finding = doctor.check_hub(timeout=0.2)
        assert time.monotonic() - started < 0.9
    assert finding.ok is None
    assert finding.advice


def test_the_report_keeps_passwords_to_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with hub(503) as port:
        for endpoint in (f"http://user:sesame@127.0.0.1:{port}", "http://user:sesame@127.0.0.1:1", "sesame"):
            monkeypatch.setenv("HF_ENDPOINT", endpoint)
            finding = doctor.check_hub()
            assert finding.ok is None
            assert "sesame" not in finding.found + finding.advice
    error = ImportError(f"cannot import name 'x' from 'y' ({tmp_path}/alice/y.py)")
    assert doctor.one_line(error) == "ImportError: cannot import name 'x' from 'y' (.../y.py)"


def test_offline_flags_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("TRANSFORMERS_OFFLINE", "0")
    finding = doctor.check_hub()
    assert finding.ok is None
    assert "HF_HUB_OFFLINE" in finding.advice
    assert "TRANSFORMERS_OFFLINE" not in finding.advice


def test_git_outside_a_repository_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert doctor.check_git(tmp_path).ok is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert doctor.check_git(tmp_path).ok is False


def test_the_report_shows_everything_and_fails_on_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    findings = [
        HealthFinding("one", True, "fine"),
        HealthFinding("two", None, "odd [red]", "look"),
        HealthFinding("three", False, "bad", "mend"),
    ]
    monkeypatch.setattr(doctor, "examine", lambda: findings)
    shown, document = rematch("doctor"), rematch("doctor", "--format", "json")
    assert (shown.code, document.code) == (1, 1)
    text = shown.out
    for word in ("one", "fine", "odd [red]", "look", "bad", "mend", "1 faults, 1 warnings"):
        assert word in text
    (sheet,) = json.loads(document.out)
    assert sheet["passed"] is False
    assert [row["state"] for row in sheet["rows"]] == ["ok", "warning", "fault"]
    assert doctor.findings_sheet(findings[:2]).passed


def test_a_check_that_breaks_is_a_fault_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "check_hub", lambda: broken())
    for name in ("check_torch_pair", "check_methods", "check_packages"):
        monkeypatch.setattr(doctor, name, lambda: HealthFinding("x", True, "skipped here"))
    findings = doctor.examine()
    assert len(findings) == 11
    faults = [finding for finding in findings if finding.ok is False]
    assert [finding.name for finding in faults] == ["hub"]
    assert "check itself failed" in faults[0].found


def test_a_project_that_is_not_installed_is_the_only_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "DISTRIBUTION", "rematch-bench-elsewhere")
    findings = doctor.examine()
    assert [finding.name for finding in findings] == ["installation"]
    assert "install" in findings[0].advice
