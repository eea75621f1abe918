"""Builds VSE-infinity: random weights of the configured sizes, or the pretrained BERT that the paper starts from."""

from __future__ import annotations

from baselines.layers.bert import build_bert
from baselines.layers.pooled_encoders import PooledBERT, PooledGRU
from baselines.vse_infty.model import VSEConfig, VSEInfinity
from benchmark.method import DataFacts


def pretrained_parts(config: VSEConfig) -> list[str]:
    """The Hub repository that `pretrained=True` downloads; a GRU has none."""
    return [config.bert.pretrained] if config.text == "bert" else []


def build_vse_infty(config: VSEConfig, facts: DataFacts) -> VSEInfinity:
    """Build the model that `config` names; for `bigru`, `facts.vocab_size` counts `<mask>` too.

    Raises UserError when the pretrained BERT can't be fetched or doesn't fit the configuration.
    """
    if config.text == "bert":
        bert = build_bert(config.bert, facts)
        return VSEInfinity(config, PooledBERT(bert, config.dim, config.pool_width))
    words = PooledGRU(facts.vocab_size, config.word_dim, config.dim, config.pool_width)
    return VSEInfinity(config, words)
