"""The libraries that read dual encoders: each makes transform, codec and towers of a repository."""

from __future__ import annotations

from baselines.dual_encoder.config import DualConfig
from baselines.dual_encoder.libraries.contract import Library, Towers
from baselines.dual_encoder.libraries.hugging_face import HuggingFace

__all__ = ["Library", "Towers", "library_of"]


def library_of(config: DualConfig) -> Library:
    """Return the library of a configuration; raises UserError where an extra is not installed."""
    if config.library == "open_clip":
        from baselines.dual_encoder.libraries.open_clip_models import OpenClip

        return OpenClip()
    if config.library == "sentence_transformers":
        from baselines.dual_encoder.libraries.sentence_models import SentenceTransformers

        return SentenceTransformers()
    return HuggingFace()
