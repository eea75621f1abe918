"""Devices: every way in which one cannot be had is one line that says why; the rest have names."""

from __future__ import annotations

import warnings
from pathlib import Path
from unittest import mock

import pytest
import torch

from benchmark import devices
from benchmark.devices import check_device, compute_capability, driver_version, missing_gpu, named_device
from benchmark.errors import UserError
from benchmark.records.environment import collect
from tests.pretend_cuda import GPU, pretended_gpu

OLD = (
    "The NVIDIA driver on your system is too old (found version 11040). Please update your GPU driver by "
    "downloading and installing a new version from the URL: http://www.nvidia.com/Download/index.aspx"
)
NONE = (
    "Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU and installed a driver"
)
UNFIT = (
    "CUDA error: no kernel image is available for execution on the device\n"
    "CUDA kernel errors might be asynchronously reported at some other API call"
)


def broken(message: str, kind: type[Exception] = RuntimeError) -> object:
    """Stand in for something of CUDA that fails."""

    def fail(*_: object, **__: object) -> None:
        raise kind(message)

    return fail


@pytest.mark.parametrize(
    ("message", "kind", "said"),
    [
        (OLD, RuntimeError, "The NVIDIA driver on your system is too old (found version 11040)"),
        (NONE, RuntimeError, "Found no NVIDIA driver on your system"),
        ("No CUDA GPUs are available", RuntimeError, "No CUDA GPUs are available"),
        ("Torch not compiled with CUDA enabled", AssertionError, "Torch not compiled with CUDA enabled"),
    ],
)
def test_a_gpu_that_is_missing_is_one_line(
    message: str, kind: type[Exception], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def available() -> bool:
        warnings.warn(f"CUDA initialization: {message}", stacklevel=1)
        return False

    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", available)
    monkeypatch.setattr(torch.cuda, "init", broken(message, kind))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert missing_gpu() == said
        with pytest.raises(UserError) as caught:
            check_device(torch.device("cuda"))
    assert str(caught.value) == (
        f"device 'cuda' is not to be had: {said}; see `rematch doctor`; `--device cpu` takes the processor"
    )


def test_a_build_for_cpus_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    assert missing_gpu() == "torch is a build for CPUs"


def test_a_number_that_no_gpu_has() -> None:
    with (
        pretended_gpu(),
        pytest.raises(UserError, match=r"'cuda:1' is not to be had: CUDA devices here: cuda:0;"),
    ):
        check_device(torch.device("cuda:1"))


def test_an_unsupported_gpu_is_named_with_what_torch_is_built_for() -> None:
    with pretended_gpu(), mock.patch.object(torch, "ones", broken(UNFIT)), pytest.raises(UserError) as caught:
        check_device(GPU)
    assert str(caught.value) == (
        "device 'cuda:0' does not compute: CUDA error: no kernel image is available for execution on the device "
        f"(Pretended GPU has compute capability 9.0, torch {torch.__version__} has kernels for sm_90); see `rematch "
        "doctor`; `--device cpu` takes the processor"
    )


def test_wrong_products_are_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "ones", lambda *_, **__: torch.full((64, 64), 2.0))
    with pytest.raises(UserError, match="a product of matrices is wrong on it"):
        check_device(torch.device("cpu"))


def test_sound_devices_pass() -> None:
    check_device(torch.device("cpu"))
    with pretended_gpu() as gpu:
        assert missing_gpu() is None
        check_device(torch.device("cuda"))
        assert any("mm" in name for name in gpu.ops), "a real kernel is run"


def test_records_of_a_gpu_name_it_its_driver_and_its_capability(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 580.65.06\necho 580.65.06\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert driver_version() == "580.65.06"
    with pretended_gpu():
        found = collect(GPU, "float32")
        assert named_device(GPU) == "cuda: Pretended GPU"
        assert compute_capability(GPU) == "9.0"
    assert (found.device_name, found.driver, found.compute_capability) == (
        "Pretended GPU",
        "580.65.06",
        "9.0",
    )
    assert found.model_dump()["driver"] == "580.65.06"
    tool.write_text("#!/bin/sh\nexit 9\n")
    assert driver_version() is None
    monkeypatch.setenv("PATH", "")
    assert driver_version() is None


def test_records_of_a_processor_are_what_they_were() -> None:
    found = collect("cpu", "float32").model_dump()
    assert not {"driver", "compute_capability"} & found.keys()
    assert compute_capability(torch.device("cpu")) is None
    assert named_device(torch.device("cpu")) == f"cpu: {devices.cpu_model()}"
