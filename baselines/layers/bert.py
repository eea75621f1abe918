"""BERT as a text encoder, of any size: with random weights, or the pretrained ones of the Hub."""

from __future__ import annotations

from pathlib import Path

import torch
from huggingface_hub import HfApi, hf_hub_download, try_to_load_from_cache
from pydantic import Field
from transformers import BertConfig, BertModel

from benchmark.errors import UserError
from benchmark.method import DataFacts
from benchmark.strict import Strict


class BERTConfig(Strict):
    """The text encoder; the defaults are BERT-base (hat.md 3.4, user.md 3.2)."""

    layers: int = Field(default=12, ge=1)
    hidden: int = Field(default=768, ge=1)
    heads: int = Field(default=12, ge=1)
    intermediate: int = Field(default=3072, ge=1)
    max_position: int = Field(default=512, ge=2)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout rate of hidden states and attention probabilities, wherever the model trains, frozen or not."""
    pretrained: str = "google-bert/bert-base-uncased"
    """Hub repository of the weights to start from."""


def build_bert(bert: BERTConfig, facts: DataFacts) -> BertModel:
    """BERT in train mode; pretrained where `facts` say so.

    Raises UserError when pretrained weights cannot be fetched or do not fit the sizes or the vocabulary.
    """
    settings = BertConfig(
        vocab_size=facts.vocab_size,
        hidden_size=bert.hidden,
        num_hidden_layers=bert.layers,
        num_attention_heads=bert.heads,
        intermediate_size=bert.intermediate,
        max_position_embeddings=bert.max_position,
        hidden_dropout_prob=bert.dropout,
        attention_probs_dropout_prob=bert.dropout,
        hidden_act="gelu",
        layer_norm_eps=1e-12,
        pad_token_id=facts.pad_id,
        attn_implementation="eager",  # deterministic everywhere, and captions are too short to gain from another
    )
    if not facts.pretrained:
        return BertModel(settings)
    folder = weights_file("bert", bert.pretrained).parent
    try:
        model, report = BertModel.from_pretrained(
            folder, config=settings, dtype=torch.float32, output_loading_info=True
        )
    except RuntimeError as error:
        raise unfit("bert", bert.pretrained, error) from None
    if report["missing_keys"]:
        raise unfit("bert", bert.pretrained, f"it lacks {sorted(report['missing_keys'])[0]}")
    return model.train()


def weights_file(part: str, repository: str) -> Path:
    """A repository's weights from the cache, else from the Hub; fails fast where the Hub cannot be reached.

    part: of the recipe's model, which the UserError names.
    """
    cached = try_to_load_from_cache(repository, "model.safetensors")
    if isinstance(cached, str):
        return Path(cached)
    try:
        HfApi().model_info(repository, timeout=10)
        return Path(hf_hub_download(repository, "model.safetensors"))
    except Exception as error:  # whatever the network, the Hub or its client raises is no fault of ours
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise UserError(
            f"pretrained weights '{repository}' (field model.{part}.pretrained) are not in the cache and cannot be "
            f"fetched from the Hub: {reason}; get online once, or set pretrained: false"
        ) from None


def unfit(part: str, name: str, reason: object) -> UserError:
    """Return the error of pretrained weights that do not belong to the model's part."""
    text = " ".join(str(reason).split())[:200]
    return UserError(
        f"pretrained weights '{name}' do not fit the sizes in model.{part} or the vocabulary: {text}"
    )
