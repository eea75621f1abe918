"""Runs tests against a mutant in a forked process, so that torch is imported once, and nothing on disk is changed."""

from __future__ import annotations

import contextlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import Literal

from tests.mutants.areas import Module
from tests.paths import ROOT

Outcome = Literal["caught", "survived", "caught: too long"]
OURS = ("benchmark", "baselines", "tests")
SLOWEST, SPARE = 4, 20.0
"""A mutant may take so many times as long as the module itself, and so many seconds more."""
POLL = 0.02


class _Changed(importlib.machinery.SourceFileLoader):
    """Loads a module from another text than its file has."""

    def __init__(self, name: str, path: str, source: str) -> None:
        super().__init__(name, path)
        self.source = source

    def get_code(self, fullname: str) -> CodeType:
        return compile(self.source, self.get_filename(fullname), "exec", dont_inherit=True)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the changed module before anything else does."""

    def __init__(self, module: Module, source: str) -> None:
        self.name, self.path, self.source = module.name, str(ROOT / module.path), source

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 (the interface has them)
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self.name:
            return None
        loader = _Changed(fullname, self.path, self.source)
        return importlib.util.spec_from_file_location(fullname, self.path, loader=loader)


class Runner:
    """Asks the tests of a module; what other people's libraries it needs is imported once, here."""

    def __init__(self) -> None:
        self.limits: dict[Module, float] = {}
        """Seconds that a mutant of the module may take."""

    def prepare(self, module: Module) -> None:
        """Run the module's tests on the module as it is; raises RuntimeError where they do not pass."""
        if module in self.limits:
            return
        with tempfile.TemporaryDirectory() as folder:
            names = Path(folder, "names.json")
            begin = time.monotonic()
            code = self._fork(module, None, Path(folder), limit=600, names=names)
            took = time.monotonic() - begin
            if code != 0:
                said = Path(folder, "said").read_text(encoding="utf-8", errors="replace")
                raise RuntimeError(
                    f"{' '.join(module.tests)} do not pass without any change:\n{said[-2000:]}"
                )
            for name in json.loads(names.read_text()):
                with contextlib.suppress(Exception):  # it is imported again where it is needed
                    importlib.import_module(name)
        self.limits[module] = SLOWEST * took + SPARE

    def ask(self, module: Module, source: str) -> Outcome:
        """Whether the module's tests notice that its text is `source`."""
        self.prepare(module)
        with tempfile.TemporaryDirectory() as folder:
            code = self._fork(module, source, Path(folder), self.limits[module])
        if code is None:
            return "caught: too long"
        return "survived" if code == 0 else "caught"

    def _fork(
        self, module: Module, source: str | None, folder: Path, limit: float, names: Path | None = None
    ) -> int | None:
        """Return the exit code of pytest in a process of its own; None: it ran past the limit and was ended."""
        child = os.fork()
        if child == 0:
            os.setsid()  # processes that the tests start end with it
            code = 70
            try:
                code = _run_tests(module, source, folder, names)
            finally:
                os._exit(code)
        end = time.monotonic() + limit
        while time.monotonic() < end:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            time.sleep(POLL)
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return None


def _run_tests(module: Module, source: str | None, folder: Path, names: Path | None) -> int:
    """Run pytest here; `names`: where to write the names of all that was imported."""
    said = os.open(folder / "said", os.O_CREAT | os.O_WRONLY)
    os.dup2(said, 1)
    os.dup2(said, 2)
    if source is not None:
        sys.meta_path.insert(0, _Finder(module, source))
    import pytest

    os.chdir(ROOT)
    options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", f"--basetemp={folder / 'tests'}"]
    code = int(pytest.main([*options, *module.tests]))
    if names is not None:
        foreign = [
            name for name in list(sys.modules) if name.split(".")[0] not in OURS and "conftest" not in name
        ]
        names.write_text(json.dumps(foreign))
    shutil.rmtree(folder / "tests", ignore_errors=True)
    return code
