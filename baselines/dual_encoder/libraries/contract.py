"""The contract between a dual encoder and the library that its towers are from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol

from torch import Tensor, nn

from baselines.dual_encoder.config import DualConfig
from benchmark.inputs import Codec, ImageTransform
from benchmark.method import DataFacts


class Towers(nn.Module, ABC):
    """The two encoders of a model, and the factor and the bias of its scores."""

    @abstractmethod
    def image_vectors(self, pixels: Tensor) -> Tensor:
        """Return vectors (B, D) of images (B, 3, H, W), as the model makes them: not normalised."""

    @abstractmethod
    def caption_vectors(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Return vectors (B, D) of captions: ids (B, L), padded at the end, and lengths (B,)."""

    @abstractmethod
    def scale(self) -> Tensor:
        """Return the factor of the cosines, a scalar."""

    @abstractmethod
    def bias(self) -> Tensor | None:
        """Return what is added to the scaled cosines, a scalar; None: nothing is."""


class Library(Protocol):
    """A library that reads repositories of dual encoders."""

    def transform(self, config: DualConfig) -> ImageTransform:
        """Return the repository's preprocessing of pictures."""
        ...

    def codec(self, config: DualConfig) -> Codec:
        """Return the repository's tokenizer."""
        ...

    def sizes(self, config: DualConfig) -> tuple[int, int]:
        """Return the side of an image and the most tokens of a caption, as the repository's files have them."""
        ...

    def towers(self, config: DualConfig, facts: DataFacts) -> Towers:
        """Return the encoders, of the repository's weights if `facts.pretrained`, else of random ones."""
        ...
