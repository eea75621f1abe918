"""Files of words whose place is their id: ours (JSON), one word a line, or strings in a .mat file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat

from benchmark.errors import UserError
from benchmark.files import write_text
from benchmark.guarded import JSON_BYTES, DocumentError, parse_json, read_within


def read_dictionary(path: Path) -> tuple[tuple[str, ...], str]:
    """Words in the order of their ids, and what the dictionary is called.

    Raises UserError where the file is missing, no dictionary, or has a word twice.
    """
    try:
        content = read_within(path, JSON_BYTES)
    except OSError as error:
        raise UserError(f"{path.as_posix()}: no such dictionary file ({error.strerror})") from None
    except DocumentError as error:
        raise UserError(f"{path.as_posix()}: not a dictionary: {error}") from None
    name = path.name
    if path.suffix == ".mat":
        words = _mat_words(path)
    elif content.lstrip()[:1] in (b"{", b"["):
        words, name = _json_words(path, content)
    else:
        words = [line for line in content.decode("utf-8", errors="replace").splitlines() if line]
    if not words:
        raise UserError(f"{path.as_posix()}: found no words, expected one a line")
    seen: set[str] = set()
    for word in words:
        if word in seen:
            raise UserError(f"{path.as_posix()}: found '{word}' twice, expected each word once")
        seen.add(word)
    return tuple(words), name


def write_dictionary(path: Path, words: Sequence[str], name: str) -> None:
    """Write a dictionary that `read_dictionary` reads."""
    write_text(path, json.dumps({"dictionary": list(words), "name": name}, indent=0) + "\n")


def _json_words(path: Path, content: bytes) -> tuple[list[str], str]:
    try:
        document = parse_json(content)
    except ValueError as error:
        raise UserError(
            f"{path.as_posix()}: not a dictionary in JSON: {' '.join(str(error).split())}"
        ) from None
    name = str(document.get("name", path.name)) if isinstance(document, dict) else path.name
    words = document.get("dictionary") if isinstance(document, dict) else document
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise UserError(f"{path.as_posix()}: field 'dictionary': expected a list of words")
    return words, name


def _mat_words(path: Path) -> list[str]:
    """Return the one cell of strings in a .mat file, or its one matrix of characters with a word a row.

    Vectors and numbers beside it are passed over; an empty cell is a word that no caption has, and keeps its place.
    """
    try:
        document: dict[str, Any] = loadmat(path)
    except NotImplementedError:
        raise UserError(
            f"{path.as_posix()}: a .mat file of version 7.3; save it as version 7 (save -v7), or as text, one word "
            "a line"
        ) from None
    except Exception as error:  # scipy raises nearly anything on a damaged file
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path.as_posix()}: not a readable .mat file: {reason}") from None
    found: dict[str, list[str]] = {}
    odd = ""
    for name, value in document.items():
        if not isinstance(value, np.ndarray) or not value.size:
            continue
        if value.dtype.kind == "U" and value.size > 1:  # MATLAB pads the rows of a matrix with blanks
            found[name] = [str(word).rstrip() for word in value.flat]
        elif value.dtype == object:
            words = [_word(cell) for cell in value.flat]
            if None not in words and any(words):
                found[name] = [word or "" for word in words]
            elif any(words):
                odd = f"; cell {words.index(None) + 1:,} of {name} is no string: save it as a cell array of strings"
    if len(found) != 1:
        raise UserError(
            f"{path.as_posix()}: found {sorted(found) or 'no'} cells of strings, expected one{odd}"
        )
    return next(iter(found.values()))


def _word(cell: Any) -> str | None:
    """The string in a cell, "" for an empty one; None for what is none."""
    content = np.asarray(cell)
    if not content.size:
        return ""
    return str(content.reshape(-1)[0]) if content.dtype.kind == "U" and content.size == 1 else None
