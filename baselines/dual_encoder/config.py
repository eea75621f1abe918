"""The settings of a dual encoder: a repository of the Hub, or sizes for random weights."""

from __future__ import annotations

from typing import Any, Literal, Self

import torch
from pydantic import Field, model_validator
from transformers import AutoConfig

from benchmark.errors import UserError, nearest
from benchmark.strict import Strict

Library = Literal["transformers", "open_clip", "sentence_transformers"]
Precision = Literal["float32", "float16", "bfloat16"]

USUAL_SIDE, USUAL_LENGTH = 224, 77
"""Pixels of a side and tokens of a caption, for estimates."""

NO_ENDS = {"bos_token_id": None, "eos_token_id": None}
"""For configurations that are read for their sizes alone: transformers 5.24 warns of its own defaults for SigLIP."""

DTYPES: dict[str, torch.dtype] = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}


class Architecture(Strict):
    """A model of the library transformers by its sizes; what is not named is as the library has it."""

    kind: Literal["clip", "siglip", "chinese_clip"] = "clip"
    """The library's defaults of `clip` are the sizes of ViT-B/32."""
    text: dict[str, int | float] = {}
    """Fields of the text tower's configuration."""
    vision: dict[str, int | float] = {}
    """Fields of the image tower's configuration."""
    projection_dim: int | None = Field(default=None, ge=1)
    """The width of the vectors; None: the library's. SigLIP has none: its vectors are as wide as its towers."""

    @model_validator(mode="after")
    def _fields_exist(self) -> Self:
        whole = AutoConfig.for_model(self.kind, text_config=NO_ENDS)
        for tower in ("text", "vision"):
            known = getattr(whole, f"{tower}_config").to_dict()
            for field in getattr(self, tower):
                if field not in known:
                    where = f"field 'model.architecture.{tower}.{field}'"
                    raise UserError(f"{where}: {self.kind} has no such size{nearest(field, known)}")
        if self.kind == "siglip" and self.projection_dim is not None:
            raise UserError("field 'model.architecture.projection_dim': siglip has none; leave it out")
        return self

    @property
    def image_size(self) -> int:
        """The side of an image in pixels."""
        return int(self._whole.vision_config.image_size)

    @property
    def max_length(self) -> int:
        """The most tokens that a caption has room for."""
        return int(self._whole.text_config.max_position_embeddings)

    @property
    def vocab_size(self) -> int:
        """The size of the vocabulary of such a model's own tokenizer."""
        return int(self._whole.text_config.vocab_size)

    @property
    def _whole(self) -> Any:
        return AutoConfig.for_model(
            self.kind, text_config={**NO_ENDS, **self.text}, vision_config=self.vision
        )

    def settings(self, vocab_size: int, pad_id: int) -> Any:
        """Return the library's configuration for a vocabulary."""
        more = {} if self.projection_dim is None else {"projection_dim": self.projection_dim}
        words = {"vocab_size": vocab_size, "pad_token_id": pad_id}
        if self.kind == "siglip":
            words |= {"bos_token_id": pad_id, "eos_token_id": pad_id}  # nothing reads them
        return AutoConfig.for_model(
            self.kind, text_config={**words, **self.text}, vision_config=self.vision, **more
        )


class DualConfig(Strict):
    """A dual encoder."""

    name: str | None = None
    """The Hub repository, which brings its own preprocessing of pictures and its own tokenizer; None: pictures as
    squares of pixels and word pieces of the dataset, for an `architecture` of random weights."""
    revision: str | None = Field(default=None, pattern=r"^[0-9a-f]{40}$")
    """The commit of that repository, 40 hexadecimal digits; None: the locked one, else the newest, which is locked."""
    library: Library = "transformers"
    """The library that reads the repository; the last two are extras (`uv pip install rematch-bench[open_clip]`)."""
    architecture: Architecture | None = None
    """The sizes of the model; None: those of the repository."""
    image_size: int | None = Field(default=None, ge=8)
    """Side of the image in pixels; None: that of the repository, or of the architecture."""
    max_length: int | None = Field(default=None, ge=3)
    """The longest caption in tokens, special ones included; longer ones are cut. None: as many as the model reads."""
    prompt: str = "{}"
    """The text that the encoder reads; `{}` is the caption."""
    precision: Precision = "float32"
    """The precision of the two encoders in evaluation; vectors are made float32 before they are normalised."""
    train_transform: Literal["plain", "large_crops"] = "plain"
    """`plain`: training pictures as in evaluation; `large_crops`: random crops of at least 0.9 of the area before."""
    vocabulary: Literal["dataset", "letters"] = "dataset"
    """Word pieces without a repository: bert-base-uncased's (scenes has its own), or a small one of letters."""
    unit: Literal["caption", "image"] = "caption"
    """The unit of an epoch: every caption with its image, or every image with one random caption."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.prompt.count("{}") != 1:
            raise UserError(
                f"field 'model.prompt': found '{self.prompt}', expected a text with one {{}} in it"
            )
        if self.name is not None:
            return self
        if self.architecture is None:
            raise UserError(
                "field 'model.name' is missing: expected a Hub repository, or sizes in model.architecture"
            )
        if self.architecture.kind == "clip":
            raise UserError(
                "field 'model.architecture.kind': found 'clip' without a repository (model.name): its text tower "
                "ends at a token of CLIP's own tokenizer; expected 'siglip' or 'chinese_clip'"
            )
        for field in ("revision", "library", "prompt", "train_transform"):
            if getattr(self, field) != DualConfig.model_fields[field].default:
                raise UserError(f"field 'model.{field}': is for a repository (model.name); leave it out")
        check_size("image_size", self.image_size, self.architecture.image_size)
        if self.longest > self.architecture.max_length:
            raise UserError(
                f"field 'model.max_length': found {self.longest}, expected at most {self.architecture.max_length}, the "
                "architecture's text.max_position_embeddings"
            )
        return self

    @property
    def side(self) -> int:
        """The side of an image in pixels; before a repository is read, that of most models."""
        return self.image_size or (USUAL_SIDE if self.architecture is None else self.architecture.image_size)

    @property
    def longest(self) -> int:
        """The longest caption in tokens; before a repository is read, that of CLIP."""
        return self.max_length or (
            USUAL_LENGTH if self.architecture is None else self.architecture.max_length
        )

    @property
    def vocab_size(self) -> int | None:
        """The size of the repository's vocabulary, where the architecture tells it."""
        return None if self.architecture is None else self.architecture.vocab_size


def check_size(field: str, found: int | None, expected: int) -> None:
    """Raise UserError where a size that a recipe names is not the model's."""
    if found not in (None, expected):
        raise UserError(f"field 'model.{field}': found {found}, expected {expected}, the size of the model")
