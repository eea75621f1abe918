"""The work of a job: one run with one seed, by the command that a user would type; resumed where it was stopped.

submitit pickles it by name, and calls `checkpoint` before a job loses its place.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.errors import UserError


@dataclass(frozen=True)
class Task:
    """`rematch ARGUMENTS` in a folder."""

    arguments: Sequence[str]
    folder: str

    @property
    def command(self) -> list[str]:
        """The words of the command."""
        return [sys.executable, "-m", "benchmark", *self.arguments]

    def __call__(self) -> str:
        """Run the command; its output goes to the job's log. Raises UserError where it fails, with its last line."""
        with subprocess.Popen(self.command, cwd=self.folder, stderr=subprocess.PIPE, text=True) as running:
            assert running.stderr is not None
            last = ""
            for line in running.stderr:
                sys.stderr.write(line)
                last = line.strip() or last
        if running.returncode:
            raise UserError(last or f"the command ended with exit code {running.returncode}")
        return "done"

    def checkpoint(self) -> Any:
        """The same again: the command goes on after the last epoch that was finished."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)
