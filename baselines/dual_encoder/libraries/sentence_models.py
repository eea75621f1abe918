"""Dual encoders of the library sentence_transformers: repositories with a modules.json. An extra."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import deepcopy
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor, nn

from baselines.dual_encoder.config import DualConfig
from baselines.dual_encoder.libraries.contract import Towers
from baselines.dual_encoder.libraries.hugging_face import image_side
from baselines.dual_encoder.libraries.pictures import CroppedPictures, place_of
from baselines.dual_encoder.repository import fetch, unreadable
from benchmark.errors import UserError
from benchmark.inputs import Codec, ImageTransform
from benchmark.method import DataFacts

try:
    from sentence_transformers import SentenceTransformer
except ImportError:
    raise UserError(
        "field 'model.library': sentence_transformers is not installed; "
        "uv pip install 'rematch-bench[sentence_transformers]' adds it"
    ) from None

MODULES = "modules.json"
OTHER_FORMATS = (".h5", ".msgpack", ".onnx", ".ot", ".tflite", ".bin.index")
USUAL_SCALE = 20.0
"""The factor of cosines that the library's own losses have; its models keep none."""


class SentenceCodec(Codec):
    """Captions as the ids of the model's own preprocessing."""

    def __init__(self, model: Any, place: str, prompt: str) -> None:
        inner = model.tokenizer
        self.model, self.prompt = model, prompt
        self.vocab_size, self.pad_id = len(inner), int(inner.pad_token_id or 0)
        told = "" if prompt == "{}" else f":{prompt!r}".replace("|", "/")
        self.identity = f"sentence_transformers:{place}{told}"

    def encode(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return ids (n, L) and lengths (n,)."""
        made = self.model.preprocess([self.prompt.replace("{}", caption) for caption in captions])
        return made["input_ids"], made["attention_mask"].sum(1)


class SentenceTowers(Towers):
    """A model of the library, which stands as `network`."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network: Any = network

    def image_vectors(self, pixels: Tensor) -> Tensor:
        found: Tensor = self.network({"pixel_values": pixels, "modality": "image"})["sentence_embedding"]
        return found

    def caption_vectors(self, ids: Tensor, lengths: Tensor) -> Tensor:
        mask = (torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]).long()  # (B, L)
        given = {"input_ids": ids, "attention_mask": mask, "modality": "text"}
        found: Tensor = self.network(given)["sentence_embedding"]
        return found

    def scale(self) -> Tensor:
        return torch.tensor(USUAL_SCALE, device=self.network.device)

    def bias(self) -> Tensor | None:
        return None


class SentenceTransformers:
    """Repositories that sentence_transformers reads."""

    def transform(self, config: DualConfig) -> ImageTransform:
        """Return the model's preprocessing of pictures."""
        make = partial(preprocessed, read_model(str(config.name), config.revision))
        return CroppedPictures(make, "sentence_transformers", place_of(config), config.train_transform)

    def codec(self, config: DualConfig) -> Codec:
        """Return the model's preprocessing of captions."""
        return SentenceCodec(read_model(str(config.name), config.revision), place_of(config), config.prompt)

    def sizes(self, config: DualConfig) -> tuple[int, int]:
        """Return the side of an image and the longest text, as the model has them."""
        model = read_model(str(config.name), config.revision)
        processor = getattr(model[0].processor, "image_processor", model[0].processor)
        return image_side(processor), int(model.max_seq_length or model.tokenizer.model_max_length)

    def towers(self, config: DualConfig, facts: DataFacts) -> Towers:
        """Return the model; of random weights there is none, since the library has no way to make one."""
        if not facts.pretrained:
            raise UserError(
                "field 'model.library': found sentence_transformers without its weights, which it cannot build; "
                "expected transformers for models that are trained here"
            )
        return SentenceTowers(deepcopy(read_model(str(config.name), config.revision)))


def preprocessed(model: Any, picture: Image) -> Tensor:
    """Return a picture as the model preprocesses it, (3, H, W)."""
    made: Tensor = model.preprocess([picture])["pixel_values"][0]
    return made


@cache
def read_model(name: str, revision: str | None) -> Any:
    """Return a model with its weights; raises UserError where it is not one that reads pictures and captions."""

    def wanted(files: Iterable[str]) -> list[str]:
        return [file for file in files if not file.endswith(OTHER_FORMATS)]

    def whole(folder: Path) -> bool:
        return (folder / MODULES).is_file() and any(folder.rglob("*.safetensors"))

    folder = fetch(name, revision, whole, wanted)
    try:
        model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    except Exception as error:  # whatever foreign files make the library raise
        raise unreadable(name, "model", error) from None
    if not (model.supports("image") and model.supports("text")):
        raise UserError(f"model '{name}' (field model.name): it does not read both pictures and captions")
    return model
