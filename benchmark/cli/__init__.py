"""The `rematch` command: one file a group of verbs, over the functions of the harness."""

from benchmark.cli.command import app, main

__all__ = ["app", "main"]
