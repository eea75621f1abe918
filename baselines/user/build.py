"""Builds USER: random weights of the configured sizes, or the pretrained BERT that the paper starts from."""

from __future__ import annotations

from baselines.layers.bert import build_bert
from baselines.user.model import USER, UserConfig
from benchmark.method import DataFacts


def pretrained_parts(config: UserConfig) -> list[str]:
    """The Hub repository that `pretrained=True` downloads."""
    return [config.bert.pretrained]


def build_user(config: UserConfig, facts: DataFacts) -> USER:
    """Build USER; the momentum encoders begin as copies of the others.

    Raises UserError when the pretrained BERT can't be fetched or doesn't fit the configuration.
    """
    return USER(config, build_bert(config.bert, facts))
