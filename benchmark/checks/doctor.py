"""`rematch doctor`: can this machine run Rematch, and what to do where it cannot.

Every check gives one finding: what was found, whether it is a fault (`ok=False`), a warning (`ok=None`) or fine,
and what to do about it. Nothing heavy is imported before its own check, so that a broken torch is a finding and
not a traceback. Findings hold no user name and no token: they are made to be pasted into a bug report.
"""

from __future__ import annotations

import http.client
import os
import re
import shutil
import subprocess
import sys
import threading
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from benchmark.places import WORK
from benchmark.reporting.sheet import Sheet, make_sheet

DISTRIBUTION = "rematch-bench"
REINSTALL = "run `uv pip install --no-deps -e .` in the repository"
INSTALL_LOCK = "run `uv pip install --require-hashes -r requirements.lock`"
OFFLINE_FLAGS = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE")

GIB = 1 << 30
WORK_FAULT, WORK_WARNING = 1.0, 20.0
"""GiB free: a scenes run leaves well under one; a full-size run keeps two checkpoints of a few GiB a seed."""
CACHE_WARNING = 50.0
"""GiB free: Flickr30K takes about 9 GB in the cache, MS-COCO about 40 GB, parquet and Arrow files (data.md 4.3)."""


@dataclass(frozen=True)
class HealthFinding:
    """One line of the report. `ok`: True fine, None a warning, False a fault; `advice` says what to do."""

    name: str
    ok: bool | None
    found: str
    advice: str = ""


# ---------------------------------------------------------------------------- Python and packages


def check_python(version: tuple[int, int, int] = sys.version_info[:3]) -> HealthFinding:
    """Check that Python is new enough."""
    found = ".".join(map(str, version))
    wanted = metadata.metadata(DISTRIBUTION)["Requires-Python"]
    if found in SpecifierSet(wanted):
        return HealthFinding("python", True, found)
    return HealthFinding("python", False, found, f"make the environment with Python {wanted}")


def check_packages(requirements: list[str] | None = None) -> HealthFinding:
    """Check that every package that Rematch needs is there, in a version it allows."""
    listed = [Requirement(line) for line in requirements or metadata.requires(DISTRIBUTION) or []]
    wanted = [item for item in listed if item.marker is None or item.marker.evaluate()]
    faults = []
    for requirement in wanted:
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            faults.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            faults.append(f"{requirement.name} {version} is not {requirement.specifier}")
    if faults:
        return HealthFinding("packages", False, "; ".join(faults), INSTALL_LOCK)
    main = ("torch", "torchvision", "transformers", "timm", "datasets")
    shown = ", ".join(f"{item.name} {metadata.version(item.name)}" for item in wanted if item.name in main)
    return HealthFinding("packages", True, f"{len(wanted)} packages within their bounds: {shown}")


def check_torch_pair() -> HealthFinding:
    """Check that torch and torchvision belong together; only running a compiled operator tells."""
    advice = f"install a pair of the same build: {INSTALL_LOCK.removeprefix('run ')}"
    try:
        import torch
        from PIL import Image
        from torchvision.ops import nms
        from torchvision.transforms import v2

        boxes = torch.tensor([[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 4.0, 3.9], [8.0, 8.0, 9.0, 9.0]])  # (3, 4)
        kept = nms(boxes, torch.tensor([0.5, 0.9, 0.1]), 0.5).tolist()
        transform = v2.Compose([v2.Resize((4, 4)), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
        pixels = transform(Image.new("RGB", (8, 6), (255, 0, 0)))  # (3, 4, 4)
    except Exception as error:  # whatever a mismatched binary raises is the finding
        return HealthFinding("torch pair", False, one_line(error), advice)
    if kept != [1, 2] or tuple(pixels.shape) != (3, 4, 4) or not torch.equal(pixels[0], torch.ones(4, 4)):
        return HealthFinding(
            "torch pair", False, f"wrong results: nms {kept}, image {tuple(pixels.shape)}", advice
        )
    return HealthFinding("torch pair", True, "operators and transforms run and give the right results")


def check_methods(project: Path | None = None) -> HealthFinding:
    """Check that the methods are registered, those of pyproject.toml too, and that each can be imported.

    `project`: a pyproject.toml to compare with; by default the one beside the package, if there is one.
    """
    points = {point.name: point for point in metadata.entry_points(group="rematch.baselines")}
    project = project or Path(__file__).resolve().parents[2] / "pyproject.toml"
    declared: dict[str, str] = {}
    if project.is_file():
        tables = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
        declared = tables.get("entry-points", {}).get("rematch.baselines", {})
    missing = sorted(set(declared) - set(points))
    if missing or not points:
        return HealthFinding("methods", False, f"not registered: {', '.join(missing) or 'any'}", REINSTALL)
    for name, point in sorted(points.items()):
        try:
            point.load()
        except Exception as error:  # a method of another distribution may fail in any way
            found = f"'{name}' cannot be imported: {one_line(error)}"
            return HealthFinding("methods", False, found, f"repair the module {point.module}, or {REINSTALL}")
    return HealthFinding("methods", True, ", ".join(sorted(points)))


# ---------------------------------------------------------------------------------------- machine


def check_gpu() -> HealthFinding:
    """Name the accelerator, and check that it computes."""
    try:
        import torch

        from benchmark.devices import check_device, compute_capability, device_name, missing_gpu

        reason, gpu = missing_gpu(), torch.device("cuda")
        if reason is not None:
            return _no_gpu(torch.version.cuda, reason)
        free, total = torch.cuda.mem_get_info()
        check_device(gpu)
        name, built = f"{device_name(gpu)}, compute capability {compute_capability(gpu)}", torch.version.cuda
    except Exception as error:  # a driver can fail in any way
        return HealthFinding(
            "gpu", False, one_line(error), "check the driver, or hide the device: CUDA_VISIBLE_DEVICES="
        )
    return HealthFinding("gpu", True, f"{name}, {free / GIB:.0f} of {total / GIB:.0f} GiB free, CUDA {built}")


def _no_gpu(built_for: str | None, reason: str) -> HealthFinding:
    if shutil.which("nvidia-smi") is None:
        advice = "`reproduce` uses the embedded dataset; full-size recipes need a CUDA device"
        return HealthFinding("gpu", None, "none: scenes only", advice)
    if built_for is None:
        return HealthFinding(
            "gpu", None, "the driver is there, but torch is a build for CPUs: scenes only", INSTALL_LOCK
        )
    advice = f"update the driver to one for CUDA {built_for}, and look at CUDA_VISIBLE_DEVICES"
    return HealthFinding("gpu", None, f"the driver is there, but {reason}: scenes only", advice)


def check_threads() -> HealthFinding:
    """Count the processors that may be used and the threads that will be."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = os.environ.get("OMP_NUM_THREADS")
    try:
        import torch

        threads = torch.get_num_threads()
    except Exception as error:  # a broken torch has its own finding
        return HealthFinding(
            "threads", None, f"{usable} processors; torch: {one_line(error)}", "see `torch pair`"
        )
    found = f"{threads} threads on {usable} processors" + (f", OMP_NUM_THREADS={limit}" if limit else "")
    if threads > usable:
        return HealthFinding(
            "threads", None, found, f"set OMP_NUM_THREADS={usable}: more threads than processors are slow"
        )
    return HealthFinding("threads", True, found)


def check_git(folder: Path = Path()) -> HealthFinding:
    """Check that git is there, and that the folder is in a repository: run records name the commit."""
    if shutil.which("git") is None:
        return HealthFinding(
            "git", False, "not found", "install git: run records name the commit they were made from"
        )
    command = ["git", "-C", str(folder), "rev-parse", "--short", "HEAD"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    if answer.returncode != 0:
        advice = "work in a clone, so that run records can name the commit they were made from"
        return HealthFinding("git", None, "no commit found here", advice)
    return HealthFinding("git", True, f"at commit {answer.stdout.strip()}")


# --------------------------------------------------------------------------------- disk and caches


def check_work_disk(work: Path = WORK) -> HealthFinding:
    """Check that there is room for checkpoints."""
    free = free_gib(work)
    found = (
        f"{free:.0f} GiB free for {shown(work)}" if free >= 10 else f"{free:.1f} GiB free for {shown(work)}"
    )
    if not writable(work):
        return HealthFinding(
            "work folder", False, f"{shown(work)} cannot be written", "start in a folder of your own"
        )
    if free < WORK_FAULT:
        return HealthFinding(
            "work folder", False, found, f"make room: a run needs {WORK_FAULT:.0f} GiB at least"
        )
    if free < WORK_WARNING:
        return HealthFinding(
            "work folder", None, found, f"full-size runs want {WORK_WARNING:.0f} GiB: checkpoints"
        )
    return HealthFinding("work folder", True, found)


def check_cache() -> HealthFinding:
    """Check that the folder of datasets and pretrained parts can be written and has room."""
    folder = cache_folder()
    where = "HF_HUB_CACHE" if "HF_HUB_CACHE" in os.environ else "HF_HOME" if "HF_HOME" in os.environ else ""
    place = f"{where}, {shown(folder)}" if where else shown(folder)
    if not writable(folder):
        return HealthFinding(
            "cache", False, f"{place} cannot be written", "set HF_HOME to a folder of your own"
        )
    free = free_gib(folder)
    found = f"{place}: {free:.0f} GiB free"
    if free < CACHE_WARNING:
        advice = "Flickr30K needs about 9 GB, MS-COCO about 40 GB: set HF_HOME to a larger disk for these"
        return HealthFinding("cache", None, found, advice)
    return HealthFinding("cache", True, found)


def check_detector() -> HealthFinding:
    """Check the converted weights of the detector that makes region features; where there are none they are fetched."""
    from benchmark.files import sha256_file
    from benchmark.run.extraction import WEIGHT_BYTES, converted_weights

    kept = converted_weights()
    if not kept:
        found = f"none yet: {WEIGHT_BYTES / 1e6:.0f} MB are fetched when region features are first made"
        return HealthFinding("detector weights", True, found)
    damaged = [path for path in kept if not path.stem.endswith(sha256_file(path)[:32])]
    if damaged:
        return HealthFinding("detector weights", False, f"{shown(damaged[0])} is damaged", "delete the file")
    return HealthFinding("detector weights", True, f"{shown(kept[0])}: {kept[0].stat().st_size / 1e6:.0f} MB")


def cache_folder() -> Path:
    """The folder downloads go to, by the same rules as the Hub's client."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface"
    return Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub").expanduser()


def existing(path: Path) -> Path:
    """`path`, or the nearest folder above it that exists."""
    path = path.absolute()
    return next(folder for folder in (path, *path.parents) if folder.exists())


def free_gib(path: Path) -> float:
    """Free space on the disk that `path` is or will be on, in GiB."""
    return shutil.disk_usage(existing(path)).free / GIB


def writable(path: Path) -> bool:
    """Return True if `path` can be written, or made."""
    folder = existing(path)
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def shown(path: Path) -> str:
    """A path as the report may show it: home as `~`; elsewhere the last folder only, as others may be names."""
    absolute, home = path.absolute(), Path.home()
    if not path.is_absolute():
        return path.as_posix()
    if absolute.is_relative_to(home):
        return (Path("~") / absolute.relative_to(home)).as_posix()
    return f".../{absolute.name}"


# -------------------------------------------------------------------------------------------- hub


def check_hub(timeout: float = 3.0) -> HealthFinding:
    """Check that the Hub answers. Without it only the embedded dataset and cached data can be used."""
    offline = [
        flag for flag in OFFLINE_FLAGS if os.environ.get(flag, "").upper() in ("1", "ON", "YES", "TRUE")
    ]
    if offline:
        advice = f"unset {' and '.join(offline)} to download datasets and pretrained parts"
        return HealthFinding("hub", None, f"not asked: {', '.join(offline)} is set", advice)
    endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    host = urlsplit(endpoint).hostname or "HF_ENDPOINT without a host"  # never the part with a password
    problem = within(timeout, lambda: ask(endpoint, timeout))
    if problem is None:
        return HealthFinding("hub", True, f"{host} answers")
    advice = "scenes and what is cached still run; for more, check network, proxy and HF_ENDPOINT"
    return HealthFinding("hub", None, f"{host} cannot be reached: {problem}", advice)


def ask(endpoint: str, timeout: float) -> str | None:
    """Send one HEAD request; None when a server answers that is not broken, else what went wrong."""
    try:
        request = urllib.request.Request(endpoint, method="HEAD")
        with urllib.request.urlopen(request, timeout=timeout):
            return None
    except urllib.error.HTTPError as error:
        return f"status {error.code}" if error.code >= 500 else None
    except (OSError, ValueError, http.client.HTTPException) as error:
        # the text of the error could repeat the address, and with it a password
        reason = getattr(error, "reason", error)
        return getattr(reason, "strerror", None) or type(reason).__name__


def within(seconds: float, question: Callable[[], str | None]) -> str | None:
    """The answer to `question`, or a word that none came in time: looking up a name has no time limit."""
    answers: list[str | None] = []
    thread = threading.Thread(target=lambda: answers.append(question()), daemon=True)
    thread.start()
    thread.join(seconds)
    return answers[0] if answers else f"no answer within {seconds:g} s"


# ----------------------------------------------------------------------------------------- report


def one_line(error: BaseException) -> str:
    """Type and first line of an error, with the last part of each path only."""
    text = (str(error).strip().splitlines() or [""])[0][:300]
    text = re.sub(r"""(?:[A-Za-z]:)?[/\\](?:[^\s/\\:'"()]+[/\\])+""", ".../", text)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def examine(work: Path = WORK) -> list[HealthFinding]:
    """Run every check; one that breaks is itself a fault."""
    try:
        metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return [HealthFinding("installation", False, f"{DISTRIBUTION} is not installed", REINSTALL)]
    checks: list[tuple[str, Callable[[], HealthFinding]]] = [
        ("python", check_python),
        ("packages", check_packages),
        ("torch pair", check_torch_pair),
        ("methods", check_methods),
        ("gpu", check_gpu),
        ("threads", check_threads),
        ("work folder", lambda: check_work_disk(work)),
        ("cache", check_cache),
        ("detector weights", check_detector),
        ("hub", check_hub),
        ("git", check_git),
    ]
    return [_guarded(name, check) for name, check in checks]


def _guarded(name: str, check: Callable[[], HealthFinding]) -> HealthFinding:
    try:
        return check()
    except Exception as error:
        return HealthFinding(
            name, False, f"the check itself failed: {one_line(error)}", "please report this line"
        )


def findings_sheet(findings: list[HealthFinding]) -> Sheet:
    """The findings as a table; faults are rows to look at, and warnings are none."""
    states = {True: "ok", None: "warning", False: "fault"}
    rows = [(item.name, states[item.ok], item.found, item.advice) for item in findings]
    alarms = [number for number, item in enumerate(findings) if item.ok is False]
    warnings = sum(item.ok is None for item in findings)
    return make_sheet(
        "doctor",
        ("check", "state", "found", "what to do"),
        rows,
        left=4,
        notes=[f"{len(alarms)} faults, {warnings} warnings"],
        alarms=alarms,
        passed=not alarms,
    )
