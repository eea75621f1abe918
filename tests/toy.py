"""A small method for testing the harness: linear towers, and one of everything that a method may have.

Dropout (random numbers), batch norm (buffers), a momentum copy updated in `prepare_batch`, a queue filled
in `after_step`, an objective that scores pairs in chunks, a part that gets frozen. Data are made up:
an image is a noisy picture of its index, a caption is the index in two digits plus filler words.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from benchmark.batches import CaptionBatch, Codes, ExtraKind, ImageBatch, PairBatch, TrainingCodes
from benchmark.inputs import InputSpec, PixelInput, WordText
from benchmark.method import DataFacts, DualEncoder, Method, Progress
from benchmark.strict import Strict

SIZE = 6
VOCABULARY = 30
KINDS: dict[str, ExtraKind] = {"keys": "item", "step": "batch"}


class ToyConfig(Strict):
    """Size of the toy."""

    width: int = 16
    dropout: float = 0.2


class ToyLoss(Strict):
    """Settings of the toy's objective."""

    margin: float = 0.2
    hardest: bool = True


class Toy(DualEncoder):
    """A tiny dual encoder."""

    queue: Tensor
    filled: Tensor

    def __init__(self, config: ToyConfig) -> None:
        super().__init__()
        width = config.width
        self.image = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, width), nn.BatchNorm1d(width))
        self.words = nn.Embedding(VOCABULARY, width, padding_idx=0)
        self.dropout = nn.Dropout(config.dropout)
        self.projection = nn.Linear(width, width)
        self.momentum = nn.Linear(width, width).requires_grad_(False)
        self.register_buffer("queue", torch.zeros(8, width))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))
        self.modes: list[bool] = []

    def encode_images(self, batch: ImageBatch) -> Codes:
        return Codes({"vectors": F.normalize(self.image(batch.pixels), dim=-1)})  # (n, D)

    def encode_captions(self, batch: CaptionBatch) -> Codes:
        mean = self.words(batch.ids).sum(1) / batch.lengths[:, None]  # (m, D)
        vectors = F.normalize(self.projection(self.dropout(mean)), dim=-1)
        return Codes({"vectors": vectors, "lengths": batch.lengths})

    def pair_bytes(self, images: Codes, captions: Codes) -> int:
        return images["vectors"].element_size() + captions["vectors"].element_size()

    def prepare_batch(self, batch: PairBatch, progress: Progress) -> PairBatch:
        assert not torch.is_grad_enabled()
        for key, query in zip(self.momentum.parameters(), self.projection.parameters(), strict=True):
            key.lerp_(query, 0.1)
        return PairBatch(batch.images, batch.captions, {"step": torch.tensor(progress.step)})

    def training_codes(self, batch: PairBatch) -> TrainingCodes:
        self.modes.append(self.dropout.training and self.image.training)
        images, captions = self.encode_images(batch.images), self.encode_captions(batch.captions)
        return TrainingCodes(
            images, captions, {"keys": self.momentum(images["vectors"]), **batch.extra}, KINDS
        )

    def objective(self, codes: TrainingCodes, progress: Progress, pair_budget: int | None) -> Tensor:
        """Triplet loss of the whole batch; rows are scored in chunks where the budget asks for it."""
        count = len(codes.images)
        rows = count
        if pair_budget is not None:
            rows = max(1, pair_budget // (count * self.pair_bytes(codes.images, codes.captions)))
        parts = [
            checkpoint(self.similarity, codes.images.rows(part), codes.captions, use_reentrant=False)
            for part in (slice(begin, begin + rows) for begin in range(0, count, rows))
        ]
        scores = torch.cat(parts)  # (B, B)
        loss = progress.loss
        assert isinstance(loss, ToyLoss)
        own = torch.eye(count, dtype=torch.bool, device=scores.device)
        positive = scores.diagonal()
        by_row = (loss.margin + scores - positive[:, None]).clamp(min=0).masked_fill(own, 0)
        by_column = (loss.margin + scores - positive[None, :]).clamp(min=0).masked_fill(own, 0)
        queued = 0.01 * (codes.captions["vectors"] @ self.queue.T).square().mean()
        if loss.hardest:
            return by_row.amax(1).sum() + by_column.amax(0).sum() + queued
        return by_row.mean() + by_column.mean() + queued

    def after_step(self, codes: TrainingCodes) -> None:
        assert not torch.is_grad_enabled()
        self.queue.copy_(torch.cat([codes.extra["keys"].float(), self.queue])[: len(self.queue)])
        self.filled += 1


def inputs(_config: ToyConfig) -> InputSpec:
    """What the toy reads."""
    pixels = PixelInput(size=SIZE, train="plain", evaluate="resize", resize_to=SIZE)
    return InputSpec(image=pixels, text=WordText(max_length=8))


TOY = Method(
    name="toy",
    title="Toy",
    config=ToyConfig,
    loss=ToyLoss,
    inputs=inputs,
    build=lambda config, _facts: Toy(config),
)


def toy_model(seed: int = 0, dropout: float = 0.2) -> Toy:
    """A toy with weights from `seed`."""
    torch.manual_seed(seed)
    model = TOY.build(ToyConfig(dropout=dropout), DataFacts(vocab_size=VOCABULARY))
    assert isinstance(model, Toy)
    return model


def toy_images(rows: Tensor, noise_seed: int | None = None) -> ImageBatch:
    """Pictures of the items `rows`: a fixed pattern each, with fresh noise where a seed is given."""
    patterns = torch.randn(100, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(7))
    pixels = patterns[rows]
    if noise_seed is not None:
        pixels = pixels + 0.3 * torch.randn(pixels.shape, generator=torch.Generator().manual_seed(noise_seed))
    return ImageBatch(pixels, rows)


def toy_captions(rows: Tensor) -> CaptionBatch:
    """Captions of the items `rows`: two digits (ids 1-20), then none to three filler words (ids 21-29)."""
    fillers = rows % 4
    ids = torch.zeros(len(rows), 5, dtype=torch.int64)
    ids[:, 0] = 1 + rows // 10
    ids[:, 1] = 11 + rows % 10
    for place in range(3):
        ids[:, 2 + place] = torch.where(fillers > place, 21 + (rows + place) % 9, 0)
    return CaptionBatch(ids, 2 + fillers, rows)


@dataclass(frozen=True)
class ToyBatches:
    """The shuffled pairs of one epoch; the last batch is partial."""

    seed: int
    epoch: int
    items: int = 40
    batch_size: int = 12

    def __len__(self) -> int:
        return -(-self.items // self.batch_size)

    def __iter__(self) -> Iterator[PairBatch]:
        draw = 1000 * self.seed + self.epoch
        order = torch.randperm(self.items, generator=torch.Generator().manual_seed(draw))
        for number, rows in enumerate(torch.split(order, self.batch_size)):
            yield PairBatch(toy_images(rows, noise_seed=100 * draw + number), toy_captions(rows))


def toy_recall(model: Toy, items: int = 40) -> dict[str, float]:
    """R@1 of both directions in percent, on the noiseless items."""
    model.eval()
    rows = torch.arange(items)
    with torch.no_grad():
        scores = model.similarity(
            model.encode_images(toy_images(rows)), model.encode_captions(toy_captions(rows))
        )
    i2t = 100 * int((scores.argmax(1) == rows).sum()) / items
    t2i = 100 * int((scores.argmax(0) == rows).sum()) / items
    return {"i2t_r1": i2t, "t2i_r1": t2i, "r1_sum": i2t + t2i, "rsum": i2t + t2i}
