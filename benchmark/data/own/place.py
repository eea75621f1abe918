"""Own data are worked on in a folder of their own: cards, recipes and results would change a clone."""

from __future__ import annotations

from benchmark.errors import UserError
from benchmark.places import CLONE


def check_place(command: str) -> None:
    """Raise UserError where the current folder is a clone of Rematch; `command` is what was to be done there."""
    if CLONE.exists():
        raise UserError(
            "this folder is a clone of Rematch, and own data would change it; work in a folder of your own, or name "
            f"one: `rematch -C FOLDER {command}`"
        )
