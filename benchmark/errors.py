"""Errors that a user can cause: one line that names the fault, its place, and the remedy.

The command line prints a `UserError` without a traceback and exits with 2. Everything else that is
raised is a fault of ours and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Bad input: the message is one line that names the file or field, the value found and the remedy."""


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
