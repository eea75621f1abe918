"""The environment of a run: versions, device, threads, the commit of the code. No user, host or path is collected."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from benchmark.devices import compute_capability, device_name, driver_version
from benchmark.strict import LATER, Grown

if TYPE_CHECKING:
    import torch

DISTRIBUTION = "rematch-bench"
PACKAGES = (
    DISTRIBUTION,
    "torch",
    "torchvision",
    "transformers",
    "tokenizers",
    "timm",
    "datasets",
    "numpy",
    "scipy",
    "pillow",
    "pydantic",
    "safetensors",
)
"""Distributions whose version can change a number."""


class Environment(Grown):
    """The environment of a run; it is left out of a record's canonical hash."""

    python: str
    system: str
    """Operating system and processor type: `Linux x86_64`."""
    packages: dict[str, str]
    device: str
    """The device by torch's name: `cpu`, `cuda:0`."""
    device_name: str
    """Model of the processor or the GPU."""
    cuda: str | None = None
    driver: Annotated[str | None, LATER] = None
    """Version of the GPU's driver; None without a GPU, or where its tool does not tell."""
    compute_capability: Annotated[str | None, LATER] = None
    """That of the GPU, such as `9.0`; None without one."""
    processes: Annotated[int | None, LATER] = None
    """The number of processes that made the run together; None: one."""
    threads: int
    cpu_count: int | None = None
    precision: str
    """The precision of the training: `float32`, `float16`, `bfloat16`."""
    deterministic: bool
    """True where torch's deterministic algorithms were on."""
    git_commit: str | None = None
    """The commit; None outside a checkout."""
    git_dirty: bool | None = None
    """True where the code differs from the commit; results/ and the lock of data revisions do not count."""


def collect(device: torch.device | str, precision: str) -> Environment:
    """Describe this process; `device` is the device of the run, `precision` the training's."""
    import torch  # not at the top: whoever only reads records needs none of it

    from benchmark.distributed.processes import processes

    device, now = torch.device(device), processes()
    on_gpu = device.type == "cuda"
    commit, dirty = git_state()
    return Environment(
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        packages=package_versions(),
        device=str(device),
        device_name=device_name(device),
        cuda=torch.version.cuda if on_gpu else None,
        driver=driver_version() if on_gpu else None,
        compute_capability=compute_capability(device),
        processes=None if now.alone else now.size,
        threads=torch.get_num_threads(),
        cpu_count=os.cpu_count(),
        precision=precision,
        deterministic=torch.are_deterministic_algorithms_enabled(),
        git_commit=commit,
        git_dirty=dirty,
    )


def package_versions() -> dict[str, str]:
    """Versions of the packages that can change a number; those not installed are left out."""
    import torch

    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    found["torch"] = torch.__version__  # with the build tag (+cpu, +cu130), which the metadata may leave out
    return found


def git_state(package: Path | None = None) -> tuple[str | None, bool | None]:
    """Commit of the code that runs, and whether it was changed since; (None, None) outside git.

    What runs write does not count: results/, and the lock of data revisions, which every record holds.

    Asked of the checkout that tracks the package itself: an installed copy in an environment folder that
    happens to lie inside some other repository has no commit.
    """
    package = package or Path(__file__).resolve().parent.parent
    root = package.parent
    if _git(root, "ls-files", "--error-unmatch", f"{package.name}/__init__.py") is None:
        return None, None
    commit = _git(root, "rev-parse", "HEAD")
    written = ("results", f"{package.name}/data/published/revisions.yaml")
    changes = _git(root, "status", "--porcelain", "--", ".", *(f":(exclude){path}" for path in written))
    if commit is None or changes is None:
        return None, None
    return commit.strip(), bool(changes.strip())


def _git(folder: Path, *arguments: str) -> str | None:
    """Output of a git command, None where there is no git, no repository or no such thing."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
