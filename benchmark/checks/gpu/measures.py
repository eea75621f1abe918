"""Measurements: steps and their bits, scores in two precisions, a kill and a resume, pairs and pictures a second."""

from __future__ import annotations

import os
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmark.batches import Codes
from benchmark.checks.gpu.report import LoaderLine, ScoringLine, StepLine
from benchmark.checks.gpu.subjects import Subject
from benchmark.data.images.decoding import FileImages
from benchmark.data.splits import Split
from benchmark.evaluation.scoring import score
from benchmark.method import Baseline, ScoringCase
from benchmark.timing.clock import time_call
from benchmark.timing.loading import PUBLISHED, loader_speed
from benchmark.timing.memory import PeakMemory
from benchmark.timing.scoring import floor_seconds, matrix_seconds
from benchmark.training import train
from benchmark.training.checkpoints import weight_bytes

REPEATS = 3
TOLERANCE = 1e-5
"""Largest difference of a score in float32 from that in float64."""
PICTURE = (500, 375)
"""Width and height of the pictures that the loader decodes, Flickr30K's most common size."""


def take_steps(subject: Subject, device: torch.device) -> tuple[StepLine, Baseline]:
    """The same step twice, whose bits must agree, then some by the clock; returns the model too."""
    trainer = subject.trainer(device)
    model, batch = trainer.model, subject.batch()
    where = subject.enter_largest(trainer)
    start = {name: value.cpu().clone() for name, value in model.state_dict().items()}

    def from_the_start() -> dict[str, Tensor]:
        model.load_state_dict(start)
        trainer.reset_optimizer()
        model.train()
        trainer.step(batch, where)
        return {name: value.detach().clone() for name, value in model.state_dict().items()}

    first = from_the_start()
    second = from_the_start()
    elsewhere = [name for name, value in first.items() if value.device.type != device.type]
    differing = [name for name, value in first.items() if not torch.equal(value, second[name])]
    moved = sum(not torch.equal(value.cpu(), start[name]) for name, value in first.items())
    del first, second
    memory = PeakMemory(device)
    seconds = sorted(time_call(partial(trainer.step, batch, where), device)[0] for _ in range(REPEATS))
    trainer.optimizer.zero_grad(set_to_none=True)
    line = StepLine(
        recipe=subject.name,
        batch_size=subject.pairs,
        precision=subject.recipe.training.precision,
        seconds=seconds[REPEATS // 2],
        peak_bytes=memory.peak(),
        elsewhere=elsewhere[:3],
        differing=differing[:3],
        moved=moved,
    )
    return line, model


def precision_gap(subject: Subject, model: Baseline, device: torch.device) -> float:
    """The largest difference between scores in float32 and in float64, of the same codes."""
    narrow, images, captions = subject.score(model, device, torch.float32)
    double = (codes.of_type(torch.float64) for codes in (images, captions))
    wide, _ = score(model, *double, memory_bytes=subject.memory_bytes, device=device)
    return float(np.abs(narrow - wide).max())


def resumes_to_the_bit(subject: Subject, device: torch.device) -> bool:
    """Kill a training after its first epoch, go on with it, and compare the weights with those of a whole one."""

    class KilledError(Exception):
        """Ends a training early."""

    def kill(_entry: object) -> None:
        raise KilledError

    def trained(folder: Path, *, resume: bool = False, killed: bool = False) -> bytes | None:
        model = subject.model()
        try:
            train(
                model,
                training=subject.recipe.training,
                loss_type=subject.method.loss,
                make_batches=subject.batches,
                validate=lambda: subject.validate(model, device),
                work_dir=folder,
                resume=resume,
                device=device,
                recipe_digest="gpu-check",
                show_progress=False,
                on_epoch=kill if killed else None,
            )
        except KilledError:
            return None
        return weight_bytes(model)

    with tempfile.TemporaryDirectory() as scratch:
        whole = trained(Path(scratch) / "whole")
        trained(Path(scratch) / "killed", killed=True)
        return trained(Path(scratch) / "killed", resume=True) == whole


def time_scoring(case: ScoringCase, method: str, device: torch.device, repeats: int = REPEATS) -> ScoringLine:
    """Pairs a second of a case's own code, and its time over the floor, by the rate of a plain product."""
    with torch.no_grad():
        _, scores = time_call(case.fast, device)  # the first call pays for what is set up once
        seconds = min(time_call(case.fast, device)[0] for _ in range(repeats))
        floor = floor_seconds(case.floor_flops, matrix_seconds(device, repeats))
    return ScoringLine(
        method=method,
        case=case.name,
        pairs_per_second=scores.numel() / seconds,
        over_floor=None if np.isnan(floor) else seconds / floor,
    )


def small_case(
    subject: Subject, model: Baseline, device: torch.device, n: int = 20, m: int = 100
) -> ScoringCase:
    """A case of a method's own `similarity`, on codes of a batch that come again and again; its floor is not known."""
    _, images, captions = subject.score(model, device, torch.float32)
    model.eval()

    def many(codes: Codes, count: int) -> Codes:
        return codes.rows(torch.arange(count) % len(codes)).to(device)

    call = partial(model.similarity, many(images, n), many(captions, m))
    return ScoringCase(f"{subject.name}, {n} x {m}", "one call", call, call, float("nan"))


def load_pictures(folder: Path, images: int) -> list[LoaderLine]:
    """Pictures a second through the full-size training transform, by loader processes up to the number of cores."""
    cores = os.cpu_count() or 1
    split = drawn_pictures(folder, min(images, 64))
    workers = [0, *(number for number in (1, 4, 8, 16) if number <= cores)]
    size = min(images, 32)
    rows = loader_speed(split, PUBLISHED, workers=workers, images=images, batch_size=size, steps=("train",))
    return [LoaderLine(workers=row.workers, images_per_second=row.rate) for row in rows]


def drawn_pictures(folder: Path, count: int) -> Split:
    """A split of JPEG files of blurred noise, about as large as photographs."""
    noise = np.random.default_rng(0)
    names = [f"{number}.jpg" for number in range(count)]
    for name in names:
        coarse = Image.fromarray(noise.integers(0, 256, (48, 64, 3), np.uint8))
        coarse.resize(PICTURE, Image.Resampling.BICUBIC).save(folder / name, quality=90)
    owner = np.arange(count, dtype=np.int64)
    return Split("train", names, names, names, names, owner, FileImages(folder, names, names))
