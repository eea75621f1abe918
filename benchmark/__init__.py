"""The harness: data, training, evaluation and reporting; it names no method. From Python: the functions of api.py."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmark.api import Evaluation, UserError, compare, evaluate, frame, load_run, load_split, reproduce

__version__ = "0.1.0"
__all__ = ["Evaluation", "UserError", "compare", "evaluate", "frame", "load_run", "load_split", "reproduce"]


def __getattr__(name: str) -> Any:
    """Import the API when it is first asked for, so that `import benchmark` costs nothing."""
    if name in __all__:
        from benchmark import api

        return getattr(api, name)
    raise AttributeError(f"module 'benchmark' has no attribute '{name}'")
