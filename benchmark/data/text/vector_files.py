"""Files of word vectors, of which only the words that are wanted are kept: word2vec's formats, and a plain one.

word2vec's begin with a line `count width`; then come, word by word, text or 4-byte floats. The plain one is that of
the Hub's repository below: two 4-byte numbers, count and width, then 2 bytes of length, the word and its floats.
"""

from __future__ import annotations

import codecs
import mmap
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.errors import UserError

HUB = "antirez/word2vec-simple-parsing"
"""GoogleNews word2vec in the plain format, 3.6 GB; no commit is pinned, the words that are read are in every record."""

Floats = np.ndarray[Any, np.dtype[np.float32]]
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")

Entry = tuple[bytes, bytes | list[bytes]]
"""A word, and its floats as bytes or as texts."""


def read_vectors(path: Path, wanted: set[str]) -> tuple[list[str], Floats]:
    """Words of the file that are wanted, in its order, and their vectors (n, dim); of a word's copies the first.

    Raises UserError where the file is missing, compressed, cut short or of another format.
    """
    if not path.is_file():
        raise UserError(f"{path.as_posix()}: no such file of word vectors")
    if path.stat().st_size < 12:
        raise UserError(f"{path.as_posix()}: {path.stat().st_size} bytes hold no word vectors")
    with path.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content[:2] == b"\x1f\x8b":
            raise UserError(f"{path.as_posix()}: compressed; unpack it first (gunzip)")
        try:
            found, width = _collect(content, {word.encode() for word in wanted})
            table = np.array(
                [
                    np.frombuffer(v, "<f4") if isinstance(v, bytes) else np.array(v, np.float32)
                    for v in found.values()
                ],
                dtype=np.float32,
            )
            table = table.reshape(len(found), width)
        except (ValueError, IndexError) as error:
            raise UserError(f"{path.as_posix()}: not a whole file of word vectors ({error})") from None
    if not np.isfinite(table).all():
        raise UserError(f"{path.as_posix()}: vectors that are not finite")
    return [word.decode() for word in found], table


def _collect(content: mmap.mmap, wanted: set[bytes]) -> tuple[dict[bytes, bytes | list[bytes]], int]:
    header = re.match(rb"(\d{1,9}) (\d{1,5})\r?\n", content[:32])
    if header is None:
        count, width = (int(value) for value in np.frombuffer(content[:8], "<u4"))
        if not 0 < width < 10_000 or count * (width * 4 + 2) > len(content):
            raise ValueError("found no header `count width`")
        entries = _plain(content, count, width)
    else:
        count, width = int(header[1]), int(header[2])
        first = content[header.end() : header.end() + 40 * (width + 1)].split(b"\n")[0]
        text = len(first.split()) == width + 1
        entries = (_text if text else _binary)(content, count, width, header.end())
    found: dict[bytes, bytes | list[bytes]] = {}
    for word, vector in entries:
        if word in wanted and word not in found:
            found[word] = vector
    return found, width


def _plain(content: mmap.mmap, count: int, width: int) -> Iterator[Entry]:
    place = 8
    for _ in range(count):
        start = place + 2
        end = start + int.from_bytes(content[place:start], "little")
        place = end + 4 * width
        yield _whole(content, content[start:end], end, place)


def _binary(content: mmap.mmap, count: int, width: int, place: int) -> Iterator[Entry]:
    for number in range(1, count + 1):
        blank = content.find(b" ", place)
        if blank < 0:
            raise ValueError(f"it ends before the last of {count:,} words")
        word, place = (
            content[place:blank].lstrip(b"\n"),
            blank + 1 + 4 * width,
        )  # some writers end a word's line
        if not _is_word(word):
            raise ValueError(
                f"word {number:,} is {word[:40]!r}: the word before it holds a blank, or the width is another"
            )
        yield _whole(content, word, blank + 1, place)
    rest = content[place : place + 4 * width]
    if len(rest) < 4 * width and rest.strip():
        raise ValueError(
            f"{len(rest)} bytes follow the last word: a word holds a blank, or the width is another"
        )


def _is_word(word: bytes) -> bool:
    """True where no byte is a control character or breaks UTF-8, but for a word that was cut off at its end."""
    if word.isascii():
        return bool(word) and not _CONTROL.search(word)
    try:
        codecs.getincrementaldecoder("utf-8")().decode(word)
    except UnicodeDecodeError:
        return False
    return not _CONTROL.search(word)


def _text(content: mmap.mmap, count: int, width: int, place: int) -> Iterator[Entry]:
    content.seek(place)
    for number in range(count):
        word, *values = content.readline().rstrip().split(b" ")
        if len(values) != width:
            raise ValueError(f"word {number + 1} has {len(values)} values, expected {width}")
        yield word, values


def _whole(content: mmap.mmap, word: bytes, start: int, end: int) -> Entry:
    if end > len(content):
        raise ValueError("it ends in the middle of a word")
    return word, content[start:end]


def fetch_vectors() -> Path:
    """GoogleNews word2vec from the Hub, or its cache; raises UserError where neither has it."""
    from huggingface_hub import HfApi, hf_hub_download, snapshot_download

    with suppress(OSError):  # nothing is cached yet
        folder = Path(snapshot_download(HUB, local_files_only=True))
        cached = [path for path in folder.iterdir() if path.stat().st_size > 2**30]
        if cached:
            return cached[0]
    try:
        files = HfApi().model_info(HUB, timeout=10, files_metadata=True).siblings or []
        largest = max(files, key=lambda item: item.size or 0)
        return Path(hf_hub_download(HUB, largest.rfilename))
    except Exception as error:  # whatever the network, the Hub or its client raises is no fault of ours
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise UserError(
            f"word vectors '{HUB}' are not in the cache and cannot be fetched from the Hub: {reason}; name a local "
            "file (--word-vectors), or set model.vectors: random"
        ) from None
