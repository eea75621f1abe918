"""Tiny models of the real classes, of random weights, in folders as the Hub's repositories are laid out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    AlignConfig,
    AlignModel,
    BertTokenizer,
    ChineseCLIPConfig,
    ChineseCLIPImageProcessor,
    ChineseCLIPModel,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPTokenizer,
    EfficientNetImageProcessor,
    PreTrainedTokenizerFast,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
)

from tests.hub.store import Repository, made_up_commit

TOWER = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
WORDS = [
    *("a", "the", "small", "large", "red", "green", "blue", "yellow", "circle", "square", "triangle", "star"),
    *("left", "right", "above", "below", "of", "and", "is"),
]
"""The words that the small tokenizers know."""
NAMES = {
    kind: f"someone/tiny-{kind.replace('_', '-')}" for kind in ("clip", "siglip", "align", "chinese_clip")
}
"""Repositories of the twin by kind of model."""


def save_clip(folder: Path) -> None:
    """A CLIP of 32 pixels and 24 tokens, with a byte-level tokenizer."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = [*alphabet, *(f"{sign}</w>" for sign in alphabet), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    CLIPTokenizer(vocabulary, [], model_max_length=24).save_pretrained(folder)
    size = {"shortest_edge": 32}
    CLIPImageProcessor(size=size, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    text = {**TOWER, "vocab_size": len(pieces), "max_position_embeddings": 24}
    ends = {"bos_token_id": len(pieces) - 2, "eos_token_id": len(pieces) - 1, "pad_token_id": len(pieces) - 1}
    config = CLIPConfig(
        text_config={**text, **ends},
        vision_config={**TOWER, "image_size": 32, "patch_size": 8},
        projection_dim=12,
    )
    save(CLIPModel(config), folder)


def save_siglip(folder: Path) -> None:
    """A SigLIP that reads the padding of its captions, of which it knows a few words."""
    words = {word: number for number, word in enumerate(["<pad>", "</s>", "<unk>", *WORDS])}
    inner = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    inner.normalizer = normalizers.Lowercase()
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=16,
        model_input_names=["input_ids"],
    ).save_pretrained(folder)
    SiglipImageProcessor(size={"height": 24, "width": 24}).save_pretrained(folder)
    text = {**TOWER, "vocab_size": len(words), "max_position_embeddings": 16, "projection_size": 16}
    text |= {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 1}
    config = SiglipConfig(text_config=text, vision_config={**TOWER, "image_size": 24, "patch_size": 8})
    save(SiglipModel(config), folder)


def bert_tokenizer(folder: Path) -> int:
    """A tokenizer of a few words, as BERT's; returns the size of its vocabulary."""
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    BertTokenizer(
        {piece: number for number, piece in enumerate(pieces)}, model_max_length=20
    ).save_pretrained(folder)
    return len(pieces)


def save_align(folder: Path) -> None:
    """An ALIGN, which divides its cosines by a temperature."""
    size = bert_tokenizer(folder)
    square = {"height": 32, "width": 32}
    EfficientNetImageProcessor(size=square, crop_size=square, do_center_crop=False).save_pretrained(folder)
    vision = {
        "image_size": 32,
        "width_coefficient": 0.2,
        "depth_coefficient": 0.2,
        "hidden_dim": 12,
        "in_channels": [32, 16],
        "out_channels": [16, 24],
        "kernel_sizes": [3, 3],
        "strides": [1, 2],
        "num_block_repeats": [1, 1],
        "expand_ratios": [1, 2],
        "depthwise_padding": [],
    }
    text = {**TOWER, "vocab_size": size, "max_position_embeddings": 20}
    save(AlignModel(AlignConfig(text_config=text, vision_config=vision, projection_dim=8)), folder)


def save_chinese_clip(folder: Path) -> None:
    """A Chinese-CLIP: a ViT and a BERT."""
    size = bert_tokenizer(folder)
    square = {"height": 32, "width": 32}
    ChineseCLIPImageProcessor(size=square, crop_size=square, do_center_crop=False).save_pretrained(folder)
    config = ChineseCLIPConfig(
        text_config={**TOWER, "vocab_size": size, "max_position_embeddings": 20},
        vision_config={**TOWER, "image_size": 32, "patch_size": 8},
        projection_dim=12,
    )
    save(ChineseCLIPModel(config), folder)


def save(model: Any, folder: Path) -> None:
    """Write a model whose weights are spread enough that captions and pictures differ."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    model.save_pretrained(folder)


SAVERS: dict[str, Callable[[Path], None]] = {
    "clip": save_clip,
    "siglip": save_siglip,
    "align": save_align,
    "chinese_clip": save_chinese_clip,
}


def tiny_repository(kind: str, folder: Path, commit: str = "abc1234") -> Repository:
    """The repository of a tiny model, written below `folder`."""
    place = folder / kind
    place.mkdir(parents=True)
    torch.manual_seed(3)
    SAVERS[kind](place)
    return Repository(NAMES[kind], {made_up_commit(commit, kind): place}, kind="model")
