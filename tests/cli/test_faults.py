"""Faults of the system and of careless input end in one line: disks, stops, seeds, sizes, and long values."""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch

from benchmark import files
from benchmark.cli.command import explain_fault, stopping_in_order
from benchmark.data.scenes.dataset import ScenesOptions
from benchmark.errors import SHOWN, UserError, shown
from benchmark.files import replacing, write_text
from benchmark.inputs import InputSpec, RegionInput, WordText
from benchmark.recipe.faults import check_fields
from benchmark.recipe.training import Training
from benchmark.strict import LARGEST_SEED
from benchmark.training.log import Log

CODES = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE)


class Full(io.RawIOBase):
    """A file on a disk where nothing more fits."""

    def __init__(self, path: Path, code: int) -> None:
        self.file, self.code = path.open("wb"), code

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.file.fileno()

    def write(self, _content: Any) -> NoReturn:
        raise OSError(self.code, os.strerror(self.code))


WRITERS: dict[str, Callable[[Any], object]] = {
    "bytes": lambda handle: handle.write(b"new" * 10_000),
    "torch": lambda handle: torch.save({"a": torch.zeros(10_000)}, handle),
    "numpy": lambda handle: np.save(handle, np.zeros(10_000)),
}


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("writer", WRITERS)
def test_what_cannot_be_written_names_the_file_and_leaves_the_old_one(
    writer: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, temporary = tmp_path / "a.bin", tmp_path / ".a.bin.x"
    path.write_bytes(b"old")
    full = Full(temporary, code)
    monkeypatch.setattr(files, "_open_temporary", lambda _path: (io.BufferedWriter(full, 16), temporary))
    with pytest.raises(OSError, match=os.strerror(code)) as caught, replacing(path) as handle:
        WRITERS[writer](handle)
    assert explain_fault(caught.value) == f"{path.as_posix()}: {os.strerror(code)}"
    assert path.read_bytes() == b"old"
    assert [item.name for item in tmp_path.iterdir()] == ["a.bin"]


@pytest.mark.parametrize("code", CODES)
def test_a_file_that_cannot_be_made_is_named_without_its_temporary_name(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**options: Any) -> NoReturn:
        raise OSError(code, os.strerror(code), f"{options['dir']}/{options['prefix']}x")

    monkeypatch.setattr(tempfile, "mkstemp", refuse)
    with pytest.raises(OSError, match=r"a\.txt") as caught:
        write_text(tmp_path / "a.txt", "text")
    assert explain_fault(caught.value) == f"{(tmp_path / 'a.txt').as_posix()}: {os.strerror(code)}"


def test_a_real_limit_of_the_system_on_files_of_torch(tmp_path: Path) -> None:
    code = (
        "import resource, signal, sys, torch; from pathlib import Path; from benchmark.files import replacing\n"
        "from benchmark.cli.command import explain_fault\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, 2**16))\n"
        "try:\n"
        "    with replacing(Path(sys.argv[1])) as handle: torch.save(torch.zeros(2**20), handle)\n"
        "except OSError as error: print(explain_fault(error))\n"
    )
    path = tmp_path / "a.pt"
    path.write_bytes(b"old")
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"{path.as_posix()}: {os.strerror(errno.EFBIG)}"
    assert path.read_bytes() == b"old"


def test_a_log_that_is_full_is_named() -> None:
    with pytest.raises(OSError, match="No space") as caught:
        Log(Path("/dev/full")).append({"epoch": 1})
    assert explain_fault(caught.value) == f"/dev/full: {os.strerror(errno.ENOSPC)}"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (UserError("a.yaml: field 'b'"), "a.yaml: field 'b'"),
        (
            FileNotFoundError(errno.ENOENT, "No such file or directory", "gone.npy"),
            "gone.npy: No such file or directory",
        ),
        (
            RuntimeError("unable to write to file </torch_1>: No space left on device (28)"),
            "No space left on device",
        ),
        (
            RuntimeError("[enforce fail] can't allocate memory\nError code 12 (Cannot allocate memory)"),
            "allocate memory",
        ),
        (
            OSError("Caught OSError in DataLoader worker process 0.\nTraceback\nOSError: a.jpg is broken"),
            "a.jpg is broken",
        ),
        (MemoryError(), "out of memory"),
        (RuntimeError("shapes differ"), None),
        (RuntimeError(""), None),
    ],
)
def test_an_error_is_one_line_or_a_fault_of_ours(error: BaseException, said: str | None) -> None:
    found = explain_fault(error)
    assert found is None if said is None else said in (found or "")
    assert "\n" not in (found or "")


@pytest.mark.parametrize(
    ("number", "line", "word"),
    [
        ("SIGTERM", "reproduce hat scenes", "`rematch reproduce hat scenes --resume`"),
        ("SIGINT", "study", "goes on"),
        ("SIGINT", "reproduce --dry-run", "nothing half-written"),
    ],
)
def test_a_stop_says_how_to_go_on(number: str, line: str, word: str) -> None:
    code = (
        "import os, signal, sys, benchmark.cli.command as command\n"
        f"sys.argv = ['rematch', *'{line}'.split()]\n"
        f"stop = lambda **_: os.kill(os.getpid(), signal.{number}) or __import__('time').sleep(5)\n"
        "typer_app = command.typer.Typer(); typer_app.command()(lambda: stop())\n"
        "command.app = lambda args, **rest: typer_app(args=[], **rest)\n"
        "command.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 128 + getattr(signal, number)
    assert done.stderr.count("\n") == 1
    assert number in done.stderr
    assert word in done.stderr


def test_the_former_handler_comes_back() -> None:
    former = signal.getsignal(signal.SIGTERM)
    with stopping_in_order():
        assert signal.getsignal(signal.SIGTERM) is not former
    assert signal.getsignal(signal.SIGTERM) is former


# --------------------------------------------------------------------------------- values of the input


@pytest.mark.parametrize(
    "value", ["x" * 5000, ["y"] * 5000, {"a": "z " * 5000}, 10**5000, b"\x00" * 5000], ids=type
)
def test_a_message_shows_at_most_so_much_of_the_input(value: object) -> None:
    assert len(shown(value)) <= SHOWN
    with pytest.raises(UserError) as caught:
        check_fields("data.options", {"n_test": value}, ScenesOptions)
    assert len(str(caught.value)) <= 2 * SHOWN + 50
    with pytest.raises(UserError) as caught:
        check_fields("data.options", {"x" * 5000: 1}, ScenesOptions)
    assert str(caught.value).count("x") <= SHOWN


def test_quoted_and_unbroken_input_is_cut_and_the_rest_is_whole() -> None:
    said = "the methods' file holds '{}', expected one of 'a' and 'b'" + " as ever" * 40
    assert str(UserError(said.format("short"))) == said.format("short")
    for text in ("w " * 3000, "w" * 3000):
        found = str(UserError(said.format(text)))
        assert found.startswith("the methods' file holds 'w")
        assert found.endswith("expected one of 'a' and 'b'" + " as ever" * 40)
        assert found.count("w") <= SHOWN


TRAINING = {
    "batch_size": 8,
    "optimizer": {"name": "sgd", "lr": 0.1},
    "schedule": "constant",
    "stages": [{"epochs": 1}],
}


@pytest.mark.parametrize(
    ("schema", "values", "field"),
    [
        (Training, TRAINING | {"seed": -1}, "seed"),
        (Training, TRAINING | {"seed": LARGEST_SEED + 1}, "seed"),
        (Training, TRAINING | {"batch_size": 10**12}, "batch_size"),
        (Training, TRAINING | {"workers": 10**6}, "workers"),
        (Training, TRAINING | {"stages": [{"epochs": 10**12}]}, "stages.0.epochs"),
        (ScenesOptions, {"n_test": 10**12}, "n_test"),
        (ScenesOptions, {"seed": -1}, "seed"),
    ],
)
def test_seeds_and_sizes_beyond_reason_are_refused_by_the_schema(
    schema: Any, values: Any, field: str
) -> None:
    check_fields("x", TRAINING if schema is Training else {}, schema)
    with pytest.raises(UserError, match=rf"'x\.{field}': found"):
        check_fields("x", values, schema)


@pytest.mark.parametrize(
    ("unit", "images", "batch", "fits"),
    [
        ("caption", 13, 32, False),
        ("caption", 13, 33, True),
        ("image", 13, 32, True),
        ("image", 33, 32, False),
    ],
)
def test_a_last_batch_of_one_pair_is_known_from_the_sizes(
    unit: Any, images: int, batch: int, fits: bool
) -> None:
    spec = InputSpec(RegionInput(4, 4), WordText(), unit=unit, least_batch=2)
    last = (images * 5 if unit == "caption" else images) % batch
    assert (last != 1) == fits
    if fits:
        spec.check_epoch(images, images * 5, batch)
        return
    with pytest.raises(UserError, match=f"'training.batch_size': found {batch}, .*single pair"):
        spec.check_epoch(images, images * 5, batch)
    for sound in ({"last_batch": "drop"}, {"least_batch": 1}):
        options: dict[str, Any] = {"unit": unit, "least_batch": 2, **sound}
        InputSpec(RegionInput(4, 4), WordText(), **options).check_epoch(images, images * 5, batch)
