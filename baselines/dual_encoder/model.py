"""A dual encoder: one vector of an image, one of a caption, and their cosine, times a learnt factor, is the score.

CLIP (Radford et al., ICML 2021), SigLIP (Zhai et al., ICCV 2023), ALIGN (Jia et al., ICML 2021) and Chinese-CLIP are
such models. The two towers are a library's own classes; what is here is what the harness asks of a method.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from baselines.dual_encoder.config import DTYPES, DualConfig
from baselines.dual_encoder.libraries import Towers, library_of
from baselines.dual_encoder.losses import ContrastiveLoss
from benchmark.batches import CaptionBatch, Codes, ImageBatch, TrainingCodes
from benchmark.errors import UserError
from benchmark.inputs import InputSpec, OwnPixelInput, OwnText, PixelInput, WordPieceText
from benchmark.method import DataFacts, DualEncoder, Progress


def inputs(config: DualConfig) -> InputSpec:
    """Declare what the model reads: pixels and tokens, as its repository prepares them; nothing is fetched yet."""
    size = config.side
    if config.name is None:
        image = PixelInput(size, "plain", "resize", size, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
        return InputSpec(image, WordPieceText(config.longest, config.vocabulary), unit=config.unit)
    library = library_of(config)
    pictures = OwnPixelInput(lambda: library.transform(config), (3, size, size))
    text = OwnText(lambda: library.codec(config), config.longest, vocab_size=config.vocab_size)
    return InputSpec(pictures, text, unit=config.unit)


def pretrained_parts(config: DualConfig) -> list[str]:
    """Name the Hub repository that `pretrained=True` downloads."""
    return [] if config.name is None else [config.name]


def check_batch(config: DualConfig, batch_size: int) -> None:  # noqa: ARG001  # any size will do
    """Raise UserError where a model cannot be trained: in half precision it has no weights to add small steps to."""
    if config.precision != "float32":
        raise UserError(
            f"field 'model.precision': found '{config.precision}' with a training, expected float32; half precision in "
            "training is `training.precision`"
        )


class PairedEncoders(DualEncoder):
    """The model, of random weights, or of those of the repository if `facts.pretrained`."""

    def __init__(self, config: DualConfig, facts: DataFacts) -> None:
        """Raises UserError where the repository cannot be fetched, or is not that of a dual encoder."""
        super().__init__()
        self.config = config
        if facts.pretrained and config.name is None:
            raise UserError(
                "field 'pretrained': found true without a repository (model.name), expected false"
            )
        towers: Towers = library_of(config).towers(config, facts)
        self.towers = towers.to(DTYPES[config.precision])

    def encode_images(self, batch: ImageBatch) -> Codes:
        """`vectors`: (B, D), of length 1."""
        vectors = self.towers.image_vectors(batch.pixels.to(DTYPES[self.config.precision]))
        return Codes({"vectors": normalize(vectors.float(), dim=1)})

    def encode_captions(self, batch: CaptionBatch) -> Codes:
        """`vectors`: (B, D), of length 1."""
        vectors = self.towers.caption_vectors(batch.ids, batch.lengths)
        return Codes({"vectors": normalize(vectors.float(), dim=1)})

    def logits(self, cosines: Tensor) -> Tensor:
        """Return the model's own scores: cosines, times its factor, plus its bias where it has one.

        They rank as the cosines do, which are what is evaluated: a bias would round near scores to the same number.
        """
        bias = self.towers.bias()
        scaled = cosines * self.towers.scale().float()
        return scaled if bias is None else scaled + bias.float()

    def objective(self, codes: TrainingCodes, progress: Progress, pair_budget: int | None) -> Tensor:  # noqa: ARG002
        """Return the stage's contrastive loss of the batch's B x B cosines."""
        assert isinstance(progress.loss, ContrastiveLoss)
        with torch.autocast(codes.images["vectors"].device.type, enabled=False):
            cosines = self.similarity(codes.images, codes.captions)
            return progress.loss(cosines, self.towers.scale(), self.towers.bias())
