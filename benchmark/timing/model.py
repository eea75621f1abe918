"""Latency: how long a trained model takes to encode, to score a query against the gallery, and to rank it.

Every operation is called `warmup` times untimed, then `repeats` (at least 30) times timed, for one item and
for a full batch. Inputs are on the device before the clock starts, and a GPU is synchronised before it stops. A gallery
that takes over half of the GPU's free memory is copied block by block while it is scored: the copies are timed apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmark.batches import CaptionBatch, Codes, ImageBatch
from benchmark.devices import device_name
from benchmark.evaluation.encoding import evaluation_mode
from benchmark.evaluation.scoring import caption_blocks, move_near, plan_blocks, similarity_in
from benchmark.method import Baseline
from benchmark.timing.clock import time_call
from benchmark.timing.memory import PeakMemory

LEAST_REPEATS = 30


@dataclass(frozen=True)
class Timing:
    """One operation at one batch size; times of a call."""

    name: str
    """`encode image`, `encode caption`, and for i2t and t2i `score query ...`, `copy gallery ...` (for want of memory)
    and `rank ...`."""
    batch: int
    """Items encoded, or queries scored or ranked together."""
    warmup: int
    repeats: int
    median_ms: float
    p95_ms: float
    items_per_second: float
    """The size of a batch by its median time."""


@dataclass(frozen=True)
class LatencyReport:
    """Speed of a model, with how and on what it was measured; `dataclasses.asdict` of it is plain JSON."""

    method: str
    """The way times and memory were measured, in words."""
    hardware: str
    device: str
    threads: int
    precision: str
    gallery_images: int
    """Images that a caption query is scored against."""
    gallery_captions: int
    """Captions that an image query is scored against."""
    peak_memory_bytes: int
    parameters: int
    stages: list[Timing]

    def record_fields(self) -> dict[str, Any]:
        """Return the fields as the run record has them: one `gallery` (i2t's; `method` names both)."""
        fields = asdict(self)
        fields["gallery"] = fields.pop("gallery_captions")
        del fields["gallery_images"]
        return fields


def measure_latency(
    model: Baseline,
    images: ImageBatch,
    captions: CaptionBatch,
    image_gallery: Codes,
    caption_gallery: Codes,
    *,
    device: torch.device,
    memory_bytes: int,
    repeats: int = LEAST_REPEATS,
    warmup: int = 3,
    query_batch: int = 16,
    seconds: float = 5.0,
    n_images: int | None = None,
) -> LatencyReport:
    """Time `model`, which is on `device`, in evaluation mode.

    `images` and `captions`: a full batch each, with the evaluation transforms. `image_gallery` and
    `caption_gallery`: codes of a whole split, which also give the queries (the first ones); their precision
    is that of the scores, the encoders run in float32. `query_batch`: queries of a full batch of scoring;
    fewer (down to none but the single query) where timing it would take more than `seconds`.
    Scoring is in blocks within `memory_bytes`, as in an evaluation. `n_images`: those of the split, where
    `image_gallery` may hold fewer. Raises ValueError under 30 repeats.
    """
    if repeats < LEAST_REPEATS:
        raise ValueError(f"repeats: found {repeats}, expected at least {LEAST_REPEATS}")
    memory = PeakMemory(device)
    clock = _Clock(device, warmup, repeats)
    with evaluation_mode(model):
        stages = _encoding(model, images.to(device), captions.to(device), clock)
        with similarity_in(model, image_gallery):
            image_gallery = move_near(image_gallery, device, memory_bytes)
            caption_gallery = move_near(caption_gallery, device, memory_bytes)
            galleries = (image_gallery, caption_gallery)
            for direction in ("i2t", "t2i"):
                one = _retrieval(model, direction, 1, *galleries, memory_bytes, clock)
                calls = seconds / (warmup + repeats) * 1000 / one[0].median_ms
                batch = max(1, min(query_batch, int(calls), len(image_gallery), len(caption_gallery)))
                stages += one
                if batch > 1:
                    stages += _retrieval(model, direction, batch, *galleries, memory_bytes, clock)
    names = list(dict.fromkeys(stage.name for stage in stages))
    return LatencyReport(
        method=(
            f"median and 95th percentile of {repeats} calls after {warmup} untimed ones; "
            f"i2t scores an image against {len(caption_gallery)} captions, "
            f"t2i a caption against {len(image_gallery)} images{_fewer(image_gallery, n_images)}{_far(stages)}; "
            f"memory: {memory.what}"
        ),
        hardware=device_name(device),
        device=device.type,
        threads=torch.get_num_threads(),
        precision=_precision_name(image_gallery),
        gallery_images=len(image_gallery),
        gallery_captions=len(caption_gallery),
        peak_memory_bytes=memory.peak(),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        stages=sorted(stages, key=lambda stage: (names.index(stage.name), stage.batch)),
    )


def _fewer(images: Codes, n_images: int | None) -> str:
    """The words for a gallery that is not the whole split."""
    return "" if n_images in (None, len(images)) else f" of {n_images}, whose codes the host has no room for"


def _far(stages: list[Timing]) -> str:
    """The words for galleries that the GPU has no room for."""
    copied = any(stage.name.startswith("copy") for stage in stages)
    return (
        ", a gallery over half of the free memory in blocks, whose copying is timed apart" if copied else ""
    )


@dataclass(frozen=True)
class _Clock:
    device: torch.device
    warmup: int
    repeats: int
    copying: list[float] = field(default_factory=list)
    """Seconds of the copies that a call made; they are no part of its time."""

    def time(self, name: str, batch: int, call: Callable[[], object]) -> Timing:
        """Times of `call`, each from an idle device to an idle device."""
        return self.both(name, name, batch, call)[0]

    def both(self, name: str, copies: str, batch: int, call: Callable[[], object]) -> list[Timing]:
        """Times of `call` without its copies, and of these, where it makes some."""
        for _ in range(self.warmup):
            call()
        own, copied = [], []
        for _ in range(self.repeats):
            self.copying.clear()
            seconds, _ = time_call(call, self.device)
            copied.append(sum(self.copying))
            own.append(seconds - copied[-1])
        return [
            self._timing(name, batch, own),
            *([self._timing(copies, batch, copied)] if any(copied) else []),
        ]

    def move(self, *codes: Codes) -> tuple[Codes, ...]:
        """The codes on the device; the time that copies take is kept apart."""
        if all(tensor.device.type == self.device.type for one in codes for tensor in one.tensors.values()):
            return codes
        seconds, moved = time_call(lambda: tuple(one.to(self.device) for one in codes), self.device)
        self.copying.append(seconds)
        return moved

    def _timing(self, name: str, batch: int, seconds: list[float]) -> Timing:
        median, p95 = (float(value) for value in np.percentile([1000 * one for one in seconds], [50, 95]))
        return Timing(name, batch, self.warmup, self.repeats, median, p95, 1000 * batch / median)


class _Scorer:
    """All images against all captions, the blocks laid out before the clock starts."""

    def __init__(
        self, model: Baseline, images: Codes, captions: Codes, memory_bytes: int, clock: _Clock
    ) -> None:
        plan, order = plan_blocks(model, images, captions, memory_bytes)
        self.model, self.clock = model, clock
        # columns in the plan's order, put back at the end
        self.images = [images.rows(rows) for rows in plan.image_rows()]
        self.captions = [captions.rows(columns) for columns in caption_blocks(plan, order)]
        self.back = torch.from_numpy(np.argsort(order)).to(clock.device)  # (n_captions,)

    def i2t(self) -> Tensor:
        """Scores (n_images, n_captions) on the device."""
        strips = [
            torch.cat([self.model.similarity(*self.clock.move(one, other)) for other in self.captions], 1)
            for one in self.images
        ]
        return torch.cat(strips).index_select(1, self.back)

    def t2i(self) -> Tensor:
        """Scores (n_captions, n_images) on the device."""
        return self.i2t().T.contiguous()


def _encoding(model: Baseline, images: ImageBatch, captions: CaptionBatch, clock: _Clock) -> list[Timing]:
    stages = []
    for batch in sorted({1, len(images.index)}):
        stages.append(clock.time("encode image", batch, partial(model.encode_images, images.first(batch))))
    for batch in sorted({1, len(captions.index)}):
        stages.append(
            clock.time("encode caption", batch, partial(model.encode_captions, captions.first(batch)))
        )
    return stages


def _retrieval(
    model: Baseline,
    direction: str,
    batch: int,
    images: Codes,
    captions: Codes,
    memory_bytes: int,
    clock: _Clock,
) -> list[Timing]:
    """Time scoring the first `batch` queries against the other side, then ranking it whole for each of them."""
    first = slice(0, batch)
    if direction == "i2t":
        scores = _Scorer(model, images.rows(first).to(clock.device), captions, memory_bytes, clock).i2t
    else:
        scores = _Scorer(model, images, captions.rows(first).to(clock.device), memory_bytes, clock).t2i
    scored = clock.both(f"score query {direction}", f"copy gallery {direction}", batch, scores)
    return [*scored, clock.time(f"rank {direction}", batch, partial(_ranking, scores()))]


def _ranking(scores: Tensor) -> Tensor:
    """Gallery rows (n_queries, n_gallery), best first, on the host; equal scores in gallery order."""
    return torch.sort(scores, dim=1, descending=True, stable=True).indices.cpu()


def _precision_name(codes: Codes) -> str:
    dtypes = [tensor.dtype for tensor in codes.tensors.values() if tensor.is_floating_point()]
    name = str(dtypes[0]).removeprefix("torch.")
    return name if name == "float32" else f"encoders float32, scores {name}"
