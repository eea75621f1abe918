"""Dual encoders from the Hub, zero-shot or fine-tuned: CLIP, SigLIP, ALIGN and their like; see README.md."""

from baselines.dual_encoder.config import DualConfig
from baselines.dual_encoder.losses import ContrastiveLoss
from baselines.dual_encoder.model import PairedEncoders, check_batch, inputs, pretrained_parts
from baselines.dual_encoder.settle import settle
from benchmark.method import Method

METHOD = Method(
    name="dual_encoder",
    title="Dual encoder",
    config=DualConfig,
    inputs=inputs,
    build=PairedEncoders,
    loss=ContrastiveLoss,
    half_precision="float16",  # of the recipes here; no authors' program is followed
    check_batch=check_batch,
    pretrained_parts=pretrained_parts,
    settle=settle,
    hub_models=True,
)
