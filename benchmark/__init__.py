"""The harness: data, training, evaluation and reporting. It names no method."""

__version__ = "0.1.0"
