"""The dual-path CNN with instance loss (Zheng et al., ACM TOMM 2020; arXiv 1711.05535), top to bottom.

A CNN on pixels and a CNN on words lead to one space. Each training image with its captions is a class, and one
classifier serves both paths (the instance loss); in a second stage a ranking loss joins it, and all is trained. Where
the paper leaves a choice open, the published code's behaviour is taken (README.md). Citations such as
"dualpath.md 3.3" are sections of docs/papers/dualpath.md.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.dualpath.batch_norm import DeviationNorm, norms, seen_moments
from baselines.dualpath.config import DualPathConfig, DualPathLoss
from baselines.dualpath.losses import hardest, instance_loss, ranking_features, ranking_loss
from baselines.dualpath.text import TextCNN, place_at_all_starts
from baselines.dualpath.trunks import Trunk
from benchmark.batches import CaptionBatch, Codes, ExtraKind, ImageBatch, PairBatch, TrainingCodes
from benchmark.distributed import shares
from benchmark.errors import UserError
from benchmark.method import DualEncoder, Progress

TEXT_ROWS = 2048
"""Captions at one start each that a test pass takes together; it bounds memory and changes no result."""

MOMENTS = "moments."


class ImageHead(nn.Module):
    """Two 1x1 convolutions with norms, on each window of the maps; features before the last ReLU (dualpath.md 3.2)."""

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        self.hidden = nn.Conv2d(channels, channels, 1, bias=False)
        self.hidden_norm = DeviationNorm(channels)
        self.output = nn.Conv2d(channels, dim, 1, bias=False)
        self.output_norm = DeviationNorm(dim)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, channels, h, w) -> (B, D, h, w)."""
        features: Tensor = self.output_norm(self.output(self.hidden_norm(self.hidden(maps)).relu()))
        return features


class DualPath(DualEncoder):
    """The model; it trains with an even number of pairs where it ranks. Scores are cosines, and may be negative."""

    def __init__(self, config: DualPathConfig, trunk: Trunk, words: int, classes: int) -> None:
        super().__init__()
        self.config = config
        self.trunk: Trunk = trunk
        dim = config.text.widths[-1]
        self.image_head = ImageHead(trunk.width, dim)
        self.text = TextCNN(config.text, words)
        self.image_dropout, self.text_dropout = nn.Dropout(config.dropout), nn.Dropout(config.dropout)
        self.classifier = nn.Linear(dim, classes, bias=config.classifier_bias)
        self.initialise()

    @torch.no_grad()
    def initialise(self) -> None:
        """Uniform filters of variance 1 / fan_in and zero biases, the trunk's aside (dualpath.md 3.6)."""
        for part in (self.image_head, self.text, self.classifier):
            for layer in part.modules():
                if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Linear):
                    bound = (3 / layer.weight[0].numel()) ** 0.5
                    nn.init.uniform_(layer.weight, -bound, bound)
                    if layer.bias is not None:
                        nn.init.zeros_(layer.bias)
        self.classifier.weight.mul_(0.1)  # a loss follows
        bound = (3 / len(self.text.words.weight)) ** 0.5  # a 1x1 convolution over one-hot words
        nn.init.uniform_(self.text.words.weight, -bound, bound)

    # Test features (dualpath.md 7): before the last ReLU, summed, of unit length

    def encode_images(self, batch: ImageBatch) -> Codes:
        """`vectors` (B, D): the sum over all windows of a whole picture, and of its mirror image."""
        pixels = batch.pixels
        summed = self.image_head(self.trunk(pixels)).sum((2, 3))  # (B, D)
        if self.config.test_flip:
            summed = summed + self.image_head(self.trunk(pixels.flip(3))).sum((2, 3))
        return Codes({"vectors": _unit(summed)})

    def encode_captions(self, batch: CaptionBatch) -> Codes:
        """`vectors` (B, D): the sum over all places that a caption can begin at."""
        placed = [self.place(row[:n]) for row, n in zip(batch.ids, batch.lengths.tolist(), strict=True)]
        counts = torch.tensor([len(rows) for rows in placed], device=batch.ids.device)
        features = torch.cat([self.text(rows) for rows in torch.split(torch.cat(placed), TEXT_ROWS)])
        summed = features.new_zeros(len(placed), features.shape[1])  # (B, D)
        owners = torch.arange(len(placed), device=counts.device).repeat_interleave(counts)
        return Codes({"vectors": _unit(summed.index_add(0, owners, features))})

    def place(self, words: Tensor) -> Tensor:
        """A test caption (n,) at its places, (starts, positions)."""
        rows = place_at_all_starts(words, self.config.text.positions)
        return rows if self.config.start == "shift" else rows[:1]

    # A step

    @torch.no_grad()
    def prepare_batch(self, batch: PairBatch, progress: Progress) -> PairBatch:
        """Make an even batch, if the loss ranks, whose second half has hard captions of its first (dualpath.md 4.1).

        `classes` (B,) says which image each caption belongs to. Images of the second half are as random as they come.
        """
        loss = progress.loss
        assert isinstance(loss, DualPathLoss)
        if not loss.ranking or "candidates" not in batch.extra:
            return PairBatch(batch.images, batch.captions, {**batch.extra, "classes": batch.images.index})
        half, start = shares.whole_count(len(batch)) // 2, shares.own_rows(len(batch)).start
        batch = batch.first(max(0, min(len(batch), (2 * half or 1) - start)))
        extra, captions = batch.extra, batch.captions
        candidates = self.pad_to_positions(extra["candidates"])
        kept = min(max(0, (half or 1) - start), len(batch))  # rows of the first half
        found = self.hardest_captions(batch.images.pixels[: min(kept, half)], candidates)
        found = found[max(0, start - half) :][: len(batch) - kept]
        ids = torch.cat([self.pad_to_positions(captions.ids[:kept]), candidates[found]])
        classes = torch.cat([batch.images.index[:kept], extra["candidate_images"][found]])
        lengths = torch.cat([captions.lengths[:kept], (candidates[found] > 0).sum(1)])
        index = torch.cat([captions.index[:kept], extra["candidate_captions"][found]])
        return PairBatch(batch.images, CaptionBatch(ids, lengths, index), {"classes": classes})

    def hardest_captions(self, pixels: Tensor, candidates: Tensor) -> Tensor:
        """Row of the candidate (K, positions) with the highest score for each picture of the batch; in test mode.

        `pixels`: the pictures that are here. Where processes divide a batch, they divide the candidates too.
        """
        training, own = self.training, shares.divided(len(candidates))
        self.eval()
        images = ranking_features(self.image_features(pixels)) if len(pixels) else self.no_features()
        captions = ranking_features(self.text(candidates if own is None else candidates[own]))
        self.train(training)
        if own is not None:
            captions = shares.join(captions, len(candidates))
        return hardest(shares.gather_rows(images), captions)

    def training_codes(self, batch: PairBatch) -> TrainingCodes:
        """`ranked`: unit vectors after the ReLU; `dropped`: what the classifier reads.

        `extra` has the classes of images and captions, and the moments of the batch, for `after_step`. Of a frozen
        trunk there are none: it normalises by the batch, and its stored moments stay (dualpath.md 3.2, 5.3).
        """
        images = self.image_features(batch.images.pixels)
        captions = self.text(self.pad_to_positions(batch.captions.ids))
        moments = {f"{MOMENTS}{name}": seen for name, seen in seen_moments(self).items()}
        if not any(parameter.requires_grad for parameter in self.trunk.parameters()):
            moments = {
                name: seen for name, seen in moments.items() if not name.startswith(f"{MOMENTS}trunk.")
            }
        image_classes = batch.images.index
        classes = {"image_classes": image_classes, "text_classes": batch.extra.get("classes", image_classes)}
        kinds: dict[str, ExtraKind] = {
            **dict.fromkeys(classes, "item"),
            **dict.fromkeys(moments, "statistics"),
        }
        return TrainingCodes(
            Codes({"ranked": ranking_features(images), "dropped": self.image_dropout(images.relu())}),
            Codes({"ranked": ranking_features(captions), "dropped": self.text_dropout(captions.relu())}),
            {**classes, **moments},
            kinds,
        )

    def objective(self, codes: TrainingCodes, progress: Progress, pair_budget: int | None) -> Tensor:  # noqa: ARG002
        """The weighted losses, over the number of pairs as the published solver has it (dualpath.md 4, 5.1)."""
        loss = progress.loss
        assert isinstance(loss, DualPathLoss)
        parts = self.losses(codes, loss)
        return (
            loss.ranking * parts["ranking"] + loss.image * parts["image"] + loss.text * parts["text"]
        ) / len(codes.images)

    def losses(self, codes: TrainingCodes, loss: DualPathLoss) -> dict[str, Tensor]:
        """The three losses by themselves, sums over the batch; the ranking loss is 0 where its weight is."""
        image = self.classify(codes.images["dropped"], codes.extra["image_classes"])
        text = self.classify(codes.captions["dropped"], codes.extra["text_classes"])
        ranking = torch.zeros_like(image)
        if loss.ranking:
            ranking = ranking_loss(codes.images["ranked"], codes.captions["ranked"], loss.margin)
        return {"ranking": ranking, "image": image, "text": text}

    def classify(self, features: Tensor, classes: Tensor) -> Tensor:
        """The instance loss of features (B, D), summed; processes divide them, since there are many classes."""
        own = shares.divided(len(features))
        if own is None:
            return instance_loss(self.classifier(features), classes)
        return shares.add_up(instance_loss(self.classifier(features[own]), classes[own]))

    @torch.no_grad()
    def after_step(self, codes: TrainingCodes) -> None:
        """Take the batch's moments into the stored ones."""
        layers = norms(self)
        for name, seen in codes.extra.items():
            if name.startswith(MOMENTS):
                layers[name.removeprefix(MOMENTS)].update(seen)

    # Parts

    def no_features(self) -> Tensor:
        """Features of no picture, (0, D)."""
        return self.classifier.weight.new_empty(0, self.classifier.in_features)

    def image_features(self, pixels: Tensor) -> Tensor:
        """Training crops -> features before the ReLU (B, D)."""
        maps: Tensor = self.image_head(self.trunk(pixels))  # (B, D, 1, 1)
        if maps.shape[2:] != (1, 1):
            raise UserError(
                f"field 'model.image_size': found {pixels.shape[3]}, which gives {tuple(maps.shape[2:])} windows; "
                "expected one: 224"
            )
        return maps.flatten(1)

    def pad_to_positions(self, ids: Tensor) -> Tensor:
        """Ids (B, L) -> (B, positions), nothing after them."""
        return F.pad(ids, (0, self.config.text.positions - ids.shape[1]))


def _unit(features: Tensor) -> Tensor:
    lengths: Tensor = torch.linalg.vector_norm(features, dim=1, keepdim=True)
    return features / lengths
