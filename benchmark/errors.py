"""Errors that a user can cause: one line that names the fault, its place, and the remedy.

The command line prints a `UserError` without a traceback and exits with 2. Everything else that is
raised is a fault of ours and keeps its traceback.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

SHOWN = 200
"""Characters of the input that a message shows at most."""
_LONG = re.compile(rf"(?<!\w)'[^']{{{SHOWN},}}'|\S{{{SHOWN + 1},}}")
"""What stands in quotes, or has no blank in it, and is longer than that."""


class UserError(Exception):
    """Bad input: the message is one line that names the file or field, the value found and the remedy.

    What is quoted in it is cut to `SHOWN` characters.
    """

    def __init__(self, message: str) -> None:
        super().__init__(_LONG.sub(lambda found: cut(found[0]), message))


def cut(text: str) -> str:
    """Leave the middle out of a text of more than `SHOWN` characters."""
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 23]}...{text[-20:]}"


def shown(value: object) -> str:
    """Return the value as Python writes it, cut to `SHOWN` characters."""
    try:
        return cut(repr(value))
    except (ValueError, RecursionError):  # a number of thousands of digits is not written
        return f"a {type(value).__name__} that is too large to be shown"


def nearest(name: str, choices: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the nearest valid name, else `; valid: a, b, c`.

    >>> nearest("scens", ["scenes", "mscoco"])
    "; did you mean 'scenes'?"
    """
    valid = sorted(choices)
    close = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; valid: {', '.join(valid)}" if valid else ""
