"""Settings of a dual-path recipe, and the inputs of the model (dualpath.md 3 to 6)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from baselines.dualpath.text import TextConfig
from baselines.dualpath.trunks import TrunkConfig
from benchmark.inputs import InputSpec, VectorText, WholePixelInput
from benchmark.strict import Strict


class DualPathConfig(Strict):
    """A dual-path model; the defaults are the published ResNet-50 model of Flickr30K."""

    trunk: TrunkConfig = TrunkConfig()
    text: TextConfig = TextConfig()
    dropout: float = Field(default=0.75, ge=0, lt=1)
    """Dropout rate of the features that the classifier reads: 0.75 Flickr30K, 0.5 MSCOCO (dualpath.md 3.2)."""
    classifier_bias: bool = True
    """The published ResNet-50 model of Flickr30K has one, VGG-19 and MSCOCO's have none (dualpath.md 3.4)."""
    image_size: int = Field(default=224, ge=8)
    """Side of a training picture in pixels."""
    stored_size: int = Field(default=256, ge=8)
    """Shorter side of the pictures that crops are taken from, and that are evaluated whole."""
    stored_quality: int | None = Field(default=75, ge=1, le=95)
    """Quality of the JPEG files that pictures go through at that size, as published; null: none."""
    pixel_mean: tuple[float, float, float] = (119.8557, 113.9346, 103.9336)
    """RGB of 0..255, subtracted; MSCOCO's published one. Flickr30K's was not recorded, and is close (dualpath.md 6)."""
    train_transform: Literal["scale_crop_flip", "plain"] = "scale_crop_flip"
    test_flip: bool = True
    """True where test features are the sum over a picture and its mirror image."""
    start: Literal["shift", "left"] = "shift"
    """`shift`: captions begin at a random place in training, and at every one in a test; `left`: at the first."""
    candidates: int = Field(default=256, ge=1)
    """Captions among which the hardest negative of a pair is looked for."""
    exclude: Literal["batch", "anchors"] = "batch"
    """Pairs whose captions are no candidates: the batch's (Flickr30K), or its first half (MSCOCO; dualpath.md 4.1)."""
    vectors: Literal["word2vec", "random"] = "word2vec"
    """Initial weights of the word layer: GoogleNews word2vec, whose words are then the only ones read, or random."""
    delimiters: str = "- .,()"
    """The characters that separate words (dualpath.md 6): MSCOCO's captions also have `?`."""
    dictionary: Literal["whitespace", "delimiters"] = "whitespace"
    """Separators in the captions that the dictionary is made of: Flickr30K blanks, MSCOCO `- .,()`."""


class DualPathLoss(Strict):
    """Weights of the objective (dualpath.md 4); a ranking weight of 0 is stage I, without mining."""

    ranking: float = Field(default=0.0, ge=0)
    image: float = Field(default=1.0, ge=0)
    text: float = Field(default=1.0, ge=0)
    margin: float = Field(default=1.0, ge=0)


def inputs(config: DualPathConfig) -> InputSpec:
    """Every training image with one of its captions at random; candidates to mine from come with a batch."""
    image = WholePixelInput(
        config.image_size,
        config.train_transform,
        config.stored_size,
        config.pixel_mean,
        stored_quality=config.stored_quality,
    )
    text = VectorText(
        config.text.positions,
        augment="position_shift" if config.start == "shift" else "none",
        vectors=config.vectors,
        word_dim=config.text.word_dim,
        delimiters=config.delimiters,
        dictionary=config.dictionary,
    )
    return InputSpec(image, text, unit="image", candidates=config.candidates, exclude=config.exclude)
