"""Parts of a model that torch.compile compiles for the steps of a training (speed.md 8).

A model names them (`Baseline.compilable`). They are compiled for where there are gradients, and are in place only while
steps are taken: passes without gradient, validation and evaluation go as ever, and a checkpoint knows nothing of it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any

import torch
from torch import nn

from benchmark.errors import UserError
from benchmark.method import Baseline

FIELD = "field 'training.compile'"
BACKEND = "inductor"
VARIANTS = 64
"""Most graphs of one part; sizes of 1 and arguments that are None have their own, and all sizes else share one."""


@dataclass(frozen=True)
class Part:
    """A module's method, compiled."""

    module: nn.Module
    name: str
    function: Callable[..., Any]


def compile_parts(model: Baseline) -> list[Part]:
    """The parts that the model names; each is compiled when it is first called with gradient.

    Raises UserError where it names none, or where there is no C++ compiler.
    """
    named = model.compilable()
    if not named:
        raise UserError(f"{FIELD}: found true, expected false: this method names no parts to be compiled")
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise UserError(
            f"{FIELD}: found no C++ compiler '{compiler}', which torch.compile needs; install g++, or name one in CXX"
        )
    torch._dynamo.config.recompile_limit = VARIANTS
    return [Part(module, name, _with_gradient(getattr(module, name))) for module, name in named]


@contextmanager
def in_place(parts: Sequence[Part]) -> Iterator[None]:
    """Have the modules run their compiled methods meanwhile."""
    for part in parts:
        setattr(part.module, part.name, part.function)
    try:
        yield
    finally:
        for part in parts:
            delattr(part.module, part.name)


def _with_gradient(plain: Callable[..., Any]) -> Callable[..., Any]:
    compiled = torch.compile(plain, fullgraph=True, dynamic=True, backend=BACKEND)

    @wraps(plain)
    def run(*values: Any, **named: Any) -> Any:
        return (compiled if torch.is_grad_enabled() else plain)(*values, **named)

    return run
