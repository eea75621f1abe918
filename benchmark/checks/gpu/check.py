"""The check from its first to its last part, within a time: what matters most comes first, what is left is named."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from rich.progress import track

from benchmark.checks.gpu.half import HALF_COSINE, HALF_TOLERANCE, compare_precisions
from benchmark.checks.gpu.measures import (
    TOLERANCE,
    load_pictures,
    precision_gap,
    resumes_to_the_bit,
    small_case,
    take_steps,
    time_scoring,
)
from benchmark.checks.gpu.report import CheckLine, GPUReport, HalfLine, LoaderLine, ScoringLine, StepLine
from benchmark.checks.gpu.subjects import Subject, full_runs, shortened
from benchmark.errors import UserError
from benchmark.memory import give_back
from benchmark.method import Baseline, ScoringCase
from benchmark.records.environment import collect
from benchmark.registry import get_method, method_names
from benchmark.run.resolve import single_models
from benchmark.run.runs import Run
from benchmark.training import deterministic

Size = Literal["full", "small"]
PAIRS = 8
"""Pairs of a small batch."""


class Checking:
    """A check under way."""

    def __init__(self, device: torch.device, size: Size, minutes: float, *, show_progress: bool) -> None:
        self.device, self.size, self.show_progress = device, size, show_progress
        self.begin = time.monotonic()
        self.end = self.begin + 60 * minutes
        self.checks: list[CheckLine] = []
        self.steps: list[StepLine] = []
        self.scoring: list[ScoringLine] = []
        self.half: list[HalfLine] = []
        self.loader: list[LoaderLine] = []
        self.left_out: list[str] = []

    def hold(self, subject: str, what: str, ok: bool, found: str) -> None:
        """Write down a check."""
        self.checks.append(CheckLine(subject=subject, what=what, ok=ok, found=found))

    def attempt(self, subject: str, what: str, part: Callable[[], None]) -> None:
        """Do a part; an error of it is a check that failed, and time that is over leaves it out."""
        if time.monotonic() > self.end:
            self.left_out.append(f"{subject}, {what}: the time is over")
            return
        try:
            part()
        except (UserError, RuntimeError, MemoryError, AssertionError, ValueError) as error:
            self.hold(subject, what, False, " ".join(str(error).split())[:300] or type(error).__name__)
        finally:
            give_back()

    def each(self, runs: Iterable[Run], label: str) -> Iterable[Run]:
        """The runs, with a bar."""
        return track(list(runs), label, disable=not self.show_progress, transient=True)

    # ---------------------------------------------------------------------------------- the parts

    def known_methods(self) -> list[str]:
        """The methods that can be imported here; of the others it is said why they cannot."""
        known = []
        for name in method_names():
            try:
                get_method(name)
                known.append(name)
            except ImportError as error:
                self.left_out.append(f"{name}: cannot be imported ({error})")
        return known

    def small_models(self, methods: list[str]) -> None:
        """Every method at the size of scenes: placement, bits, precision, a kill and a resume."""
        runs = (run for run in single_models("scenes") if run.single.method in methods)
        for run in self.each(runs, "small models"):
            subject = Subject.of(shortened(run.single, PAIRS), run.name)

            def steps(subject: Subject = subject) -> None:
                line, model = take_steps(subject, self.device)
                self._hold_step(subject, line)
                self._hold_precision(subject, model)
                if self.size == "small":
                    self.steps.append(line)
                    case = small_case(subject, model, self.device)
                    self.scoring.append(time_scoring(case, subject.method.name, self.device, repeats=1))

            def resume(subject: Subject = subject) -> None:
                same = resumes_to_the_bit(subject, self.device)
                self.hold(
                    subject.name, "killed and resumed", same, "the same bits" if same else "other weights"
                )

            self.attempt(subject.name, "step", steps)
            self.attempt(subject.name, "bfloat16", partial(self._hold_half, subject))
            self.attempt(subject.name, "killed and resumed", resume)

    def full_models(self, methods: list[str]) -> None:
        """A full-size step of every method, with its time and its peak."""
        for run in self.each(full_runs(methods), "full-size steps"):
            subject = Subject.of(run.single, run.path.stem.replace("flickr30k", run.single.method))

            def steps(subject: Subject = subject) -> None:
                line, model = take_steps(subject, self.device)
                self._hold_step(subject, line)
                self.steps.append(line)
                self._hold_precision(subject, model)

            self.attempt(subject.name, "full-size step", steps)

    def full_scoring(self, methods: list[str]) -> None:
        """The cases that methods bring, 1,000 images with 5,000 captions on a GPU."""
        for name in methods:
            cases = get_method(name).scoring_cases
            if cases is not None:
                self.attempt(name, "scoring", partial(self._score_all, name, cases))

    def _score_all(self, name: str, cases: Callable[[torch.device], Iterable[ScoringCase]]) -> None:
        for case in cases(self.device):
            if time.monotonic() > self.end:
                self.left_out.append(f"{name}, scoring from {case.name} on: the time is over")
                return
            self.scoring.append(time_scoring(case, name, self.device))

    def pictures(self) -> None:
        """The loader's rate."""

        def load() -> None:
            with tempfile.TemporaryDirectory() as folder:
                self.loader += load_pictures(Path(folder), 2000 if self.size == "full" else 16)

        self.attempt("loader", "pictures a second", load)

    def report(self) -> GPUReport:
        """All that was found."""
        on_gpu = self.device.type == "cuda"
        return GPUReport(
            size=self.size,
            environment=collect(self.device, "float32"),
            memory_bytes=torch.cuda.mem_get_info(self.device)[1] if on_gpu else None,
            seconds=round(time.monotonic() - self.begin, 1),
            checks=self.checks,
            steps=self.steps,
            scoring=self.scoring,
            half=self.half,
            loader=self.loader,
            left_out=self.left_out,
        )

    def _hold_step(self, subject: Subject, line: StepLine) -> None:
        there, same = not line.elsewhere, not line.differing
        found = f"all on {self.device.type}" if there else f"not there: {', '.join(line.elsewhere)}"
        self.hold(subject.name, "placement", there and line.moved > 0, found)
        found = "the same bits twice" if same else f"differ: {', '.join(line.differing)}"
        self.hold(subject.name, "determinism", same, found)

    def _hold_half(self, subject: Subject) -> None:
        line = compare_precisions(subject, self.device)
        self.half.append(line)
        near = line.loss_gap <= HALF_TOLERANCE and line.gradient_cosine >= HALF_COSINE
        found = f"loss off by {line.loss_gap:.1e} of it, cosine of gradients {line.gradient_cosine:.4f}"
        self.hold(subject.name, "bfloat16", near, found)

    def _hold_precision(self, subject: Subject, model: Baseline) -> None:
        gap = precision_gap(subject, model, self.device)
        self.hold(subject.name, "float32 scores", gap <= TOLERANCE, f"{gap:.1e} from float64")


def check_gpu(
    device: torch.device, size: Size, minutes: float = 8.0, *, show_progress: bool = False
) -> GPUReport:
    """Check every method on a device, within `minutes` or a little more: a part that has begun is ended.

    full: full-size steps and scores too; small: models of the size of scenes alone, which a CPU takes a minute for.
    """
    deterministic()
    checking = Checking(device, size, minutes, show_progress=show_progress)
    methods = checking.known_methods()
    checking.small_models(methods)
    if size == "full":
        checking.full_models(methods)
        checking.full_scoring(methods)
    checking.pictures()
    return checking.report()
