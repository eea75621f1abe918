"""Layers of VSE-infinity's published encoders, which USER's checkpoints have too, and ours (user.md 8)."""

from __future__ import annotations

PARTS = ("img_enc", "txt_enc")
"""The published parts, in the order of the checkpoint's list; an official key begins with its part's name here."""

_POOLING = {"gpool.gru": "pooling.gru", "gpool.linear": "pooling.linear"}
IMAGE_LAYERS = {
    "fc": "perceptron.projection",
    "mlp.layers.0": "perceptron.hidden",
    "mlp.layers.1": "perceptron.output",
    "mlp.bns.0": "perceptron.hidden_norm",
    "mlp.bns.1": "perceptron.output_norm",
    **_POOLING,
}
"""Published layers of `PooledRegions`, and ours."""
TEXT_LAYERS = {"linear": "projection", "embed": "words.embedding", "rnn": "words.gru", **_POOLING}
"""Published layers of `PooledGRU`, and of `PooledBERT`, whose BERT has the same names here."""
COMPUTED = "bert.embeddings.position_ids"
"""End of the key of a buffer that older versions of transformers saved; newer ones count themselves."""
