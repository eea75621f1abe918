"""Dual encoders of the library open_clip: repositories with an open_clip_config.json. An extra."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.dual_encoder.config import DualConfig
from baselines.dual_encoder.libraries.contract import Towers
from baselines.dual_encoder.libraries.pictures import CroppedPictures, place_of
from baselines.dual_encoder.repository import TEXTS, fetch, unreadable
from benchmark.errors import UserError
from benchmark.guarded import DocumentError, read_json
from benchmark.inputs import Codec, ImageTransform
from benchmark.method import DataFacts

try:
    import open_clip
    from open_clip.transform import PreprocessCfg, image_transform_v2
except ImportError:
    raise UserError(
        "field 'model.library': open_clip is not installed; uv pip install 'rematch-bench[open_clip]' adds it"
    ) from None

CONFIG = "open_clip_config.json"
WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
"""The files of weights that open_clip finds in a folder, the preferred one first."""


class OpenClipCodec(Codec):
    """Captions as the ids of the model's tokenizer, which pads to the width that the model reads."""

    def __init__(self, tokenizer: Any, vocab_size: int, place: str, prompt: str) -> None:
        inner = getattr(tokenizer, "tokenizer", None)
        self.tokenizer, self.prompt, self.vocab_size = tokenizer, prompt, vocab_size
        self.pad_id = int(getattr(inner, "pad_token_id", None) or 0)
        told = "" if prompt == "{}" else f":{prompt!r}".replace("|", "/")
        self.identity = f"open_clip tokenizer:{place}{told}"

    def encode(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return ids (n, L) and lengths (n,)."""
        ids: Tensor = self.tokenizer([self.prompt.replace("{}", caption) for caption in captions])
        lengths = (ids != self.pad_id).sum(1).clamp(min=1)
        return ids[:, : int(lengths.max())].long(), lengths


class OpenClipTowers(Towers):
    """The towers of a model of open_clip, which stands as `network`."""

    def __init__(self, network: nn.Module, pad_id: int, width: int) -> None:
        super().__init__()
        self.network: Any = network
        self.pad_id, self.width = pad_id, width

    def image_vectors(self, pixels: Tensor) -> Tensor:
        found: Tensor = self.network.encode_image(pixels)
        return found

    def caption_vectors(self, ids: Tensor, lengths: Tensor) -> Tensor:  # noqa: ARG002  # the model finds the end itself
        found: Tensor = self.network.encode_text(
            F.pad(ids, (0, self.width - ids.shape[1]), value=self.pad_id)
        )
        return found

    def scale(self) -> Tensor:
        return torch.exp(self.network.logit_scale)

    def bias(self) -> Tensor | None:
        found: Tensor | None = getattr(self.network, "logit_bias", None)
        return found


class OpenClip:
    """Repositories that open_clip reads."""

    def transform(self, config: DualConfig) -> ImageTransform:
        """Return the repository's evaluation transform."""
        settings = read_settings(config)
        how = PreprocessCfg(**{"size": side_of(settings), **settings.get("preprocess_cfg", {})})
        return CroppedPictures(
            image_transform_v2(how, is_train=False), "open_clip", place_of(config), config.train_transform
        )

    def codec(self, config: DualConfig) -> Codec:
        """Return the repository's tokenizer."""
        words = read_settings(config)["model_cfg"]["text_cfg"].get("vocab_size", 49_408)
        try:
            tokenizer = open_clip.get_tokenizer(f"local-dir:{described(config)}")
        except Exception as error:  # whatever foreign files make the library raise
            raise unreadable(str(config.name), "tokenizer", error) from None
        return OpenClipCodec(tokenizer, words, place_of(config), config.prompt)

    def sizes(self, config: DualConfig) -> tuple[int, int]:
        """Return image side and context length, as the configuration has them."""
        settings = read_settings(config)
        return side_of(settings), int(settings["model_cfg"]["text_cfg"].get("context_length", 77))

    def towers(self, config: DualConfig, facts: DataFacts) -> Towers:
        """Return the model; raises UserError where the library cannot read it."""
        folder = fetched_weights(config) if facts.pretrained else described(config)
        try:
            network = open_clip.create_model(
                f"local-dir:{folder}", load_weights=facts.pretrained, pretrained_text=False
            )
        except Exception as error:  # whatever foreign files make the library raise
            raise unreadable(str(config.name), "weights", error) from None
        return OpenClipTowers(network, facts.pad_id, self.sizes(config)[1])


def described(config: DualConfig) -> Path:
    """Return the folder of a repository's small files."""
    assert config.name is not None

    def wanted(files: Iterable[str]) -> list[str]:
        return [file for file in files if "/" not in file and file.endswith(TEXTS)]

    return fetch(
        config.name, config.revision, lambda folder: (folder / CONFIG).is_file(), wanted, partial=True
    )


def fetched_weights(config: DualConfig) -> Path:
    """Return the folder with the weights in it."""
    assert config.name is not None
    described(config)

    def wanted(files: Iterable[str]) -> list[str]:
        there = set(files)
        for name in WEIGHTS:
            if name in there:
                return [name]
        raise UserError(
            f"{config.name}: found no {' or '.join(WEIGHTS)}, expected weights that open_clip reads"
        )

    def whole(folder: Path) -> bool:
        return any((folder / name).is_file() for name in WEIGHTS)

    return fetch(config.name, config.revision, whole, wanted)


def read_settings(config: DualConfig) -> dict[str, Any]:
    """Return the repository's configuration; raises UserError where it is none of open_clip's."""
    path = described(config) / CONFIG
    if not path.is_file():
        raise UserError(
            f"model '{config.name}' (field model.name): found no {CONFIG}, expected a model of open_clip"
        )
    try:
        found: dict[str, Any] = read_json(path)
    except DocumentError as error:
        raise unreadable(str(config.name), CONFIG, error) from None
    if not isinstance(found, dict) or not {"vision_cfg", "text_cfg"} <= set(found.get("model_cfg", {})):
        raise unreadable(str(config.name), CONFIG, "it has no model_cfg with vision_cfg and text_cfg")
    return found


def side_of(settings: dict[str, Any]) -> int:
    """Return the side of an image in pixels."""
    size = settings["model_cfg"]["vision_cfg"].get("image_size", 224)
    return int(min(size)) if isinstance(size, list | tuple) else int(size)
