"""Dual encoders of the library transformers: CLIP, SigLIP, ALIGN, Chinese-CLIP and what else AutoModel loads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoTokenizer

from baselines.dual_encoder.config import DualConfig
from baselines.dual_encoder.libraries.contract import Towers
from baselines.dual_encoder.libraries.pictures import CroppedPictures, place_of
from baselines.dual_encoder.repository import fetch_description, fetch_weights, unreadable
from benchmark.errors import UserError
from benchmark.inputs import Codec, ImageTransform
from benchmark.method import DataFacts

NEITHER = "expected a model with get_image_features and get_text_features, as those of CLIP, SigLIP and ALIGN"


class TokenizerCodec(Codec):
    """Captions as the ids of a repository's own tokenizer."""

    def __init__(self, tokenizer: Any, place: str, max_length: int, prompt: str) -> None:
        """Raises UserError for a tokenizer that has no token to pad with."""
        if tokenizer.pad_token_id is None:
            raise UserError(f"tokenizer of {place}: found no token to pad captions with, expected pad_token")
        tokenizer.padding_side = "right"
        self.tokenizer, self.max_length, self.prompt = tokenizer, max_length, prompt
        self.vocab_size, self.pad_id = len(tokenizer), int(tokenizer.pad_token_id)
        told = "" if prompt == "{}" else f":{prompt!r}".replace("|", "/")
        self.identity = f"tokenizer:{place}:{max_length}{told}"

    def encode(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return ids (n, L) and lengths (n,); a caption that is too long is cut, and keeps its end token."""
        texts = [self.prompt.replace("{}", caption) for caption in captions]
        made = self.tokenizer(
            texts,
            padding="longest",
            truncation=True,
            max_length=self.max_length,
            return_attention_mask=True,
            return_tensors="pt",
        )
        return made["input_ids"], made["attention_mask"].sum(1)


class HuggingFaceTowers(Towers):
    """The towers of a model of transformers, which stands as `network`."""

    def __init__(self, network: nn.Module, pad_id: int, max_length: int, *, masked: bool) -> None:
        """Take a model. masked: captions have a mask of their padding; else all are padded to `max_length`."""
        super().__init__()
        self.network: Any = network
        self.pad_id, self.max_length, self.masked = pad_id, max_length, masked

    def image_vectors(self, pixels: Tensor) -> Tensor:
        return vectors_of(self.network.get_image_features(pixel_values=pixels))

    def caption_vectors(self, ids: Tensor, lengths: Tensor) -> Tensor:
        if not self.masked:
            padded = F.pad(ids, (0, self.max_length - ids.shape[1]), value=self.pad_id)  # (B, max_length)
            return vectors_of(self.network.get_text_features(input_ids=padded))
        mask = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]  # (B, L)
        return vectors_of(self.network.get_text_features(input_ids=ids, attention_mask=mask.long()))

    def scale(self) -> Tensor:
        if hasattr(self.network, "temperature"):  # ALIGN divides
            return torch.reciprocal(self.network.temperature)
        return torch.exp(self.network.logit_scale)

    def bias(self) -> Tensor | None:
        found: Tensor | None = getattr(self.network, "logit_bias", None)
        return found


def vectors_of(output: Any) -> Tensor:
    """Return the vectors (B, D) in what a model gives, which is an output with a name for them or the vectors."""
    found: Tensor = output if isinstance(output, Tensor) else output.pooler_output
    return found


class HuggingFace:
    """Repositories that the library transformers reads."""

    def transform(self, config: DualConfig) -> ImageTransform:
        """Return the repository's image processor."""
        processor = read_processor(config)
        what = type(processor).__name__
        return CroppedPictures(partial(processed, processor), what, place_of(config), config.train_transform)

    def codec(self, config: DualConfig) -> Codec:
        """Return the repository's tokenizer."""
        return TokenizerCodec(read_tokenizer(config), place_of(config), config.longest, config.prompt)

    def sizes(self, config: DualConfig) -> tuple[int, int]:
        """Return the side of the processor's squares, and the tokenizer's longest text, cut to the model's places."""
        settings, tokenizer = read_settings(config), read_tokenizer(config)
        text = getattr(settings, "text_config", settings)
        lengths = [tokenizer.model_max_length, getattr(text, "max_position_embeddings", None)]
        return image_side(read_processor(config)), int(min(found for found in lengths if found))

    def towers(self, config: DualConfig, facts: DataFacts) -> Towers:
        """Return the towers; raises UserError where the repository is not that of a dual encoder."""
        sizes = config.architecture
        if sizes is not None and not facts.pretrained:
            settings = sizes.settings(facts.vocab_size, facts.pad_id)
        else:
            settings = read_settings(config)
        settings._attn_implementation = "eager"  # deterministic everywhere
        network = read_network(config, settings) if facts.pretrained else random_network(config, settings)
        if not (hasattr(network, "get_image_features") and hasattr(network, "get_text_features")):
            raise UserError(
                f"model '{config.name}' (field model.name): found {type(network).__name__}, {NEITHER}"
            )
        if not (hasattr(network, "logit_scale") or hasattr(network, "temperature")):
            raise UserError(
                f"model '{config.name}' (field model.name): {type(network).__name__} has no logit_scale, expected a "
                "model whose score is a scaled cosine"
            )
        if sizes is not None and not facts.pretrained:
            begin_scores(network)
        masked = settings.model_type not in UNMASKED
        return HuggingFaceTowers(network, facts.pad_id, config.longest, masked=masked)


def begin_scores(network: Any) -> None:
    """Set factor and bias of a model of random weights as SigLIP's training begins: 10 and -10.

    The library begins with 1 and 0. A model without a bias begins as the library has it.
    """
    if hasattr(network, "logit_bias"):
        with torch.no_grad():
            network.logit_scale.fill_(math.log(10))
            network.logit_bias.fill_(-10.0)


UNMASKED = ("siglip", "siglip2")
"""Kinds of model that read the padding of captions, which they were trained on: always to the full length."""


def described(config: DualConfig) -> Path:
    """Return the folder of a repository's small files."""
    assert config.name is not None
    return fetch_description(config.name, config.revision)


def processed(processor: Any, picture: Image) -> Tensor:
    """Return a picture as an image processor makes it, (3, H, W)."""
    made: Tensor = processor(images=picture, return_tensors="pt")["pixel_values"][0]
    return made


def read_processor(config: DualConfig) -> Any:
    """Return the repository's image processor; raises UserError where it cannot be read."""
    folder = described(config)
    try:
        return AutoImageProcessor.from_pretrained(folder)
    except Exception as error:  # whatever foreign files make the library raise
        raise unreadable(str(config.name), "image processor", error) from None


def read_tokenizer(config: DualConfig) -> Any:
    """Return the repository's tokenizer; raises UserError where it cannot be read."""
    folder = described(config)
    try:
        return AutoTokenizer.from_pretrained(folder)
    except ImportError:
        raise UserError(
            f"model '{config.name}' (field model.name): its tokenizer needs the package sentencepiece, which is not "
            "installed: uv pip install rematch-bench[siglip]"
        ) from None
    except Exception as error:  # whatever foreign files make the library raise
        raise unreadable(str(config.name), "tokenizer", error) from None


def read_settings(config: DualConfig) -> Any:
    """Return the repository's configuration; raises UserError where it cannot be read."""
    folder = described(config)
    try:
        return AutoConfig.from_pretrained(folder)
    except Exception as error:  # whatever foreign files make the library raise
        raise unreadable(str(config.name), "config.json", error) from None


def image_side(processor: Any) -> int:
    """Return the side of the squares that a processor makes, in pixels; of other shapes the shorter one."""
    wanted = processor.to_dict()
    size = wanted.get("crop_size") if wanted.get("do_center_crop") else None
    sides = size or wanted["size"]
    return int(min(sides.values())) if isinstance(sides, dict) else int(sides)


def read_network(config: DualConfig, settings: Any) -> nn.Module:
    """Return the model with the repository's weights; raises UserError where some are missing or of other sizes."""
    assert config.name is not None
    described(config)  # its files may not be in the cache yet
    folder = fetch_weights(config.name, config.revision)
    try:
        network, report = AutoModel.from_pretrained(
            folder, config=settings, dtype=torch.float32, output_loading_info=True
        )
    except Exception as error:  # whatever foreign files make the library raise
        raise unreadable(config.name, "weights", error) from None
    if report["missing_keys"]:
        raise unreadable(config.name, "weights", f"they lack {sorted(report['missing_keys'])[0]}")
    found: nn.Module = network
    return found


def random_network(config: DualConfig, settings: Any) -> nn.Module:
    """Return a model of random weights."""
    try:
        network: nn.Module = AutoModel.from_config(settings, dtype=torch.float32)
    except ValueError as error:
        raise unreadable(str(config.name), "config.json", error) from None
    return network
