"""Builds T-EMDE with fresh weights; all but the sketch can start from a checkpoint of the host's authors."""

from __future__ import annotations

from pathlib import Path

import torch

from baselines.sgraf.checkpoint import our_key, read_official
from baselines.sgraf.model import SGRAF
from baselines.temde.model import TEMDEConfig, with_sketches
from benchmark.errors import UserError
from benchmark.method import Baseline, DataFacts, OfficialWeights


def build_temde(config: TEMDEConfig, facts: DataFacts) -> SGRAF:
    """Build the model that `config` names for a vocabulary of `facts.vocab_size` words.

    With `facts.pretrained` it starts from `config.host_checkpoint`; raises UserError as `seed_from_host`.
    """
    model = with_sketches(config, facts)
    if facts.pretrained:
        if config.host_checkpoint is None:
            raise UserError(
                "field 'pretrained': found true, but nothing of T-EMDE is published; name a checkpoint of the host in "
                "field 'model.host_checkpoint', or say false"
            )
        seed_from_host(model, Path(config.host_checkpoint))
    return model


def seed_from_host(model: SGRAF, path: Path) -> None:
    """Give all but the sketch the weights of a SAF or SGR that its authors trained (temde.md 8).

    The sketch must be all that the file lacks, and the self-attention that it replaces all that is left over. Raises
    UserError otherwise, and as SGRAF's reader does: another module, other sizes (a sketch whose N K is not `dim` has
    another linear layer than the host), no checkpoint.
    """
    weights = read_official(path, model)
    with torch.device("meta"):
        facts = DataFacts(vocab_size=model.text_encoder.embedding.num_embeddings)
        host = set(SGRAF(model.config, facts).state_dict())
    ours, left = set(model.state_dict()), {our_key(key): key for key in weights.unexpected}
    lacking = sorted(set(weights.missing) ^ (ours - host))
    wrong = lacking + sorted(left.get(name, name) for name in set(left) ^ (host - ours))
    if wrong:
        raise UserError(
            f"{path}: not a whole checkpoint of the host, which has all but the sketch and no more: '{wrong[0]}' is at "
            f"fault ({len(wrong)} such)"
        )
    model.load_state_dict(weights.state, strict=False)


def refuse_official(path: Path, model: Baseline) -> OfficialWeights:  # noqa: ARG001
    """There is no checkpoint of T-EMDE's authors to evaluate; always raises UserError."""
    raise UserError(
        f"{path}: T-EMDE's authors published no checkpoint, so this cannot be one; evaluate a host's with a recipe of "
        "sgraf, or name it in field 'model.host_checkpoint' to start a training from it"
    )
