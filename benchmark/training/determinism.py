"""One seed decides everything: derived seeds, seeded generators, and the switch to deterministic algorithms.

Randomness is derived from (seed, what it is for), never from how many draws came before, so a run that
was killed and resumed draws the same numbers as one that was not.
"""

from __future__ import annotations

import hashlib
import json
import os
import random

import numpy as np
import torch


def seed_for(seed: int, *keys: int | str) -> int:
    """A seed for the purpose named by `keys`: the same on every machine and Python version, below 2**63.

    >>> seed_for(0, "init") == seed_for(0, "init"), seed_for(0, "step", 1) == seed_for(0, "step", 2)
    (True, False)
    """
    parts = [int(seed), *(key if isinstance(key, str) else int(key) for key in keys)]
    digest = hashlib.blake2b(json.dumps(parts).encode("utf-8"), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def seed_everything(seed: int, *keys: int | str) -> int:
    """Seed Python, numpy and torch (CPU and every accelerator) from `seed_for(seed, *keys)`, which is returned."""
    derived = seed_for(seed, *keys)
    random.seed(derived)
    np.random.seed(derived % 2**32)
    torch.manual_seed(derived)
    return derived


def seed_initialisation(seed: int) -> None:
    """Call right before a model is built: its initial weights then depend on `seed` and the model alone."""
    seed_everything(seed, "initialisation")


def seed_step(seed: int, step: int) -> None:
    """Call at the begin of an optimiser step: dropout and drop path then depend on (`seed`, `step`) alone."""
    seed_everything(seed, "step", step)


def deterministic() -> None:
    """Same machine, same input, same bits: deterministic algorithms, no autotuning, no TF32.

    Call before the first CUDA operation: cuBLAS reads its workspace setting when it starts. An operation
    that has no deterministic version raises.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # the same switch as use_deterministic_algorithms(True), which loads the compiler first (seconds)
    torch.set_deterministic_debug_mode("error")
    # filling every fresh tensor with NaN costs a sixth of a step; it finds faults, it does not change results
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
