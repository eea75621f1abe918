"""Documents that other people wrote, read within bounds: JSON, YAML, headers of safetensors, archives of `torch.save`.

A file that is damaged or made to do harm must not exhaust the memory, the time or the stack of whoever reads it. So
sizes are looked at before anything is read, inflated or parsed; nesting and what aliases multiply are counted before
anything is built. Whatever is out of bounds, or no such document at all, is a `DocumentError` in a few words.
"""

from __future__ import annotations

import io
import json
import os
import pickletools
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:  # most commands read no YAML
    import yaml

MIB = 2**20
JSON_BYTES = 64 * MIB
"""The largest JSON file that is read, where the caller names no other."""
ANNOTATIONS = 512 * MIB
"""The largest file of a dataset's annotations: Karpathy's of MSCOCO has 144 MB."""
JSON_DEPTH = 64
YAML_BYTES = MIB
YAML_DEPTH = 32
YAML_NODES = 50_000
"""Nodes of a YAML document, those that aliases repeat included."""
SCALAR = 10_000
"""Characters of one value in YAML."""
SHORT = 10_000
"""A YAML text of so many characters without anchors can hold nothing that takes long, and is parsed once."""
HEADER_BYTES = 16 * MIB
"""The largest header of a safetensors file."""
DIRECTORY_BYTES = 16 * MIB
"""The largest directory of a zip archive."""
PICKLE_BYTES = 16 * MIB
PICKLE_STEPS = 400_000
PICKLE_DEPTH = 128
HASHED_PARTS = 1000
"""Parts of one key of a pickled mapping, those counted twice that stand there twice."""


class DocumentError(ValueError):
    """The document is none of its kind, or out of bounds; the message says why, without the file's name."""


def read_within(path: Path, limit: int) -> bytes:
    """Read a file of at most `limit` bytes; OSError where it cannot be read, DocumentError where it is larger."""
    with path.open("rb") as handle:
        size = os.fstat(handle.fileno()).st_size
        content = handle.read(limit + 1) if size <= limit else b""  # a pipe has no size
    if max(size, len(content)) > limit:
        raise DocumentError(f"found {max(size, len(content)):,} bytes, expected at most {limit:,}")
    return content


# ------------------------------------------------------------------------------------------- JSON


def read_json(path: Path, *, limit: int = JSON_BYTES) -> Any:
    """Read a JSON file, with or without a byte order mark; OSError or DocumentError where that fails."""
    return parse_json(read_within(path, limit))


def parse_json(content: str | bytes, *, constant: Callable[[str], Any] | None = None) -> Any:
    """Parse JSON; constant: called for NaN and infinities, None: they are numbers. Raises DocumentError."""
    try:
        text = content.decode("utf-8-sig") if isinstance(content, bytes) else content
        document = json.loads(text, parse_constant=constant)
    except RecursionError:
        raise _deep(JSON_DEPTH) from None
    except ValueError as error:
        raise DocumentError(str(error)) from None
    if depth(document, JSON_DEPTH) > JSON_DEPTH:
        raise _deep(JSON_DEPTH)
    return document


def _deep(levels: int) -> DocumentError:
    return DocumentError(f"nested deeper than {levels} levels")


def depth(document: Any, enough: int) -> int:
    """Count the levels of lists and mappings, up to one more than `enough`; without recursion."""
    level, found = [document], 0
    while found <= enough:
        inner = [item for item in level if type(item) in (dict, list)]
        if not inner:
            break
        found += 1
        level = [
            part
            for item in inner
            for part in (item.values() if type(item) is dict else item)
            if type(part) in (dict, list)
        ]
    return found


# ------------------------------------------------------------------------------------------- YAML


def read_yaml(path: Path) -> Any:
    """Read a YAML file; OSError or DocumentError where that fails."""
    return parse_yaml(read_within(path, YAML_BYTES))


def parse_yaml(content: str | bytes) -> Any:
    """Parse YAML with plain values only; raises DocumentError."""
    import yaml

    # in C where PyYAML was built with it: ten times as fast
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        text = content.decode("utf-8-sig") if isinstance(content, bytes) else content
        if len(text) > SHORT or "&" in text:
            _check_nodes(yaml.parse(text, Loader=loader))
        document = yaml.load(text, Loader=loader)
    except DocumentError:
        raise
    except Exception as error:  # a value that its own tag does not fit makes PyYAML raise nearly anything
        raise DocumentError(" ".join(str(error).split()) or type(error).__name__) from None
    if depth(document, YAML_DEPTH) > YAML_DEPTH:
        raise _deep(YAML_DEPTH)
    return document


def _check_nodes(events: Iterator[yaml.Event]) -> None:
    """Count what a document will hold when its aliases are followed, before any of it is made."""
    import yaml

    sizes: list[int] = [0]
    anchors: dict[str | None, int] = {}
    open_ones: list[str | None] = [""]
    for event in events:
        size = 0
        if isinstance(event, yaml.CollectionStartEvent):
            sizes.append(1)
            open_ones.append(event.anchor)
            if len(open_ones) > YAML_DEPTH + 1:
                raise _deep(YAML_DEPTH)
        elif isinstance(event, yaml.CollectionEndEvent):
            size = sizes.pop()
            anchors[open_ones.pop()] = size
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor in open_ones:
                raise DocumentError(f"alias '{event.anchor}' stands inside of what it stands for")
            size = anchors.get(event.anchor, 1)
        elif isinstance(event, yaml.ScalarEvent):
            size = 1
            anchors[event.anchor] = size
            if len(event.value) > SCALAR:
                raise DocumentError(
                    f"found a value of {len(event.value):,} characters, expected at most {SCALAR:,}"
                )
        sizes[-1] += size
        if sizes[-1] > YAML_NODES:
            raise DocumentError(f"found more than {YAML_NODES:,} values, expected fewer")


# ------------------------------------------------------------------------------ tensors and archives


def check_safetensors(path: Path) -> None:
    """Compare the length that a safetensors file says its header has with the file, before it is parsed."""
    with path.open("rb") as handle:
        length = int.from_bytes(handle.read(8), "little")
    size = path.stat().st_size
    if length > min(HEADER_BYTES, max(0, size - 8)):
        raise DocumentError(
            f"its first 8 bytes announce a header of {length:,} bytes in a file of {size:,}; expected at most "
            f"{HEADER_BYTES:,}"
        )


def open_archive(path: Path) -> zipfile.ZipFile:
    """Open a zip archive whose directory is in bounds, and whose parts unpack to little more than the file has.

    torch stores parts as they are. Raises OSError, BadZipFile or DocumentError.
    """
    with path.open("rb") as handle:
        _check_directory(handle)
    archive = zipfile.ZipFile(path)
    size, unpacked = path.stat().st_size, sum(part.file_size for part in archive.infolist())
    if unpacked > 2 * size + MIB:
        archive.close()
        raise DocumentError(f"its {size:,} bytes would unpack to {unpacked:,}")
    return archive


def _check_directory(handle: IO[bytes]) -> None:
    """Look at the end of an archive, which says how long its directory is; zipfile reads it whole."""
    size = handle.seek(0, io.SEEK_END)
    start = max(0, size - 65_557)  # a record of 22 bytes, and a comment of up to 65,535
    handle.seek(start)
    tail = handle.read()
    place = tail.rfind(b"PK\x05\x06")
    if place < 0 or len(tail) < place + 22:
        raise zipfile.BadZipFile("File is not a zip file")
    length = int.from_bytes(tail[place + 12 : place + 16], "little")
    if (
        place >= 20 and tail[place - 20 : place - 16] == b"PK\x06\x07"
    ):  # where the large ones have their numbers
        handle.seek(min(int.from_bytes(tail[place - 12 : place - 4], "little"), size))
        record = handle.read(56)
        if record[:4] == b"PK\x06\x06":
            length = max(length if length < 2**32 - 1 else 0, int.from_bytes(record[40:48], "little"))
    if length > DIRECTORY_BYTES:
        raise DocumentError(f"its directory has {length:,} bytes, expected at most {DIRECTORY_BYTES:,}")


def next_pickle(handle: IO[bytes]) -> bytes:
    """Read one pickle, and leave the file at its end; raises DocumentError where it is out of bounds or none.

    Its steps are gone through without making anything: the depth of what it builds is counted, and the parts of
    keys, whose hash takes as many steps as they have parts when those they share are counted again.
    """
    start = handle.tell()
    content = handle.read(PICKLE_BYTES + 1)
    end = _check_pickle(content)
    handle.seek(start + end)
    return content[:end]


Size = tuple[int, int]
"""Levels and parts of a value that a pickle builds."""


def _check_pickle(content: bytes) -> int:
    """Return where the pickle at the start of `content` ends."""
    machine = _Sizes(len(content))
    steps = 0
    try:
        for code, argument, found in pickletools.genops(io.BytesIO(content)):
            place = found or 0
            steps += 1
            if steps > PICKLE_STEPS or place >= PICKLE_BYTES:
                raise DocumentError(f"a pickle of more than {PICKLE_STEPS:,} steps or {PICKLE_BYTES:,} bytes")
            if code.name == "STOP":
                return place + 1
            machine.step(code, argument)
    except DocumentError:
        raise
    except Exception as error:  # whatever is wrong with it, it is no pickle
        raise DocumentError(f"no complete pickle ({type(error).__name__}: {str(error)[:80]})") from None
    raise DocumentError("no complete pickle")


class _Sizes:
    """The stack of a pickle's machine with sizes in place of values."""

    MARK: Size = (-1, 0)
    NOTHING: Size = (0, 0)
    LEAF: Size = (0, 1)
    PUTS = frozenset({"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"})
    GETS = frozenset({"GET", "BINGET", "LONG_BINGET"})
    LEAVES = frozenset(
        code.name for code in pickletools.opcodes if not code.stack_before and code.stack_after
    )
    """Steps that put one value without parts on the stack, or a mark, or a value of the memo."""
    GROWING = frozenset({"APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD"})
    """Steps that add parts to a value that is there."""
    KEYS = {"SETITEM": 2, "SETITEMS": 2, "DICT": 2, "ADDITEMS": 1, "FROZENSET": 1}
    """Steps whose parts, or every second of them, are hashed."""

    def __init__(self, length: int) -> None:
        self.stack: list[Size] = []
        self.memo: dict[int, Size] = {}
        self.length = length

    def step(self, code: pickletools.OpcodeInfo, argument: Any) -> None:
        """Go one step on."""
        name, stack = code.name, self.stack
        if name in self.PUTS:
            place = len(self.memo) if argument is None else int(argument)
            if place > self.length:  # the reader keeps a list as long as the largest place
                raise DocumentError(f"a pickle that keeps a value in place {place:,}")
            self.memo[place] = stack[-1]
        elif name in self.GETS:
            stack.append(self.memo[int(argument)])
        elif name == "MARK":
            stack.append(self.MARK)
        elif name in self.LEAVES:
            stack.append(self.LEAF)
        elif name == "DUP":
            stack.append(stack[-1])
        elif name not in ("PROTO", "FRAME"):
            self._build(code)

    def _build(self, code: pickletools.OpcodeInfo) -> None:
        """Take the parts of a value, and put the value in their place."""
        name, whole = code.name, self.NOTHING
        if pickletools.markobject in code.stack_before:
            parts = self._taken()
            if name in self.GROWING:
                whole = self.stack.pop()
        else:
            parts = [self.stack.pop() for _ in code.stack_before][::-1]
            if name in self.GROWING:
                whole = parts.pop(0)
        if name in self.KEYS:
            self._hashed(parts[:: self.KEYS[name]])
        if not code.stack_after:
            return
        levels = max(whole[0], 1 + max((part[0] for part in parts), default=-1))
        if levels > PICKLE_DEPTH:
            raise _deep(PICKLE_DEPTH)
        self.stack.append((levels, 1 + whole[1] + sum(part[1] for part in parts)))

    def _taken(self) -> list[Size]:
        """Take what is above the last mark, and the mark."""
        parts = []
        while (part := self.stack.pop()) is not self.MARK:
            parts.append(part)
        return parts[::-1]

    @staticmethod
    def _hashed(keys: list[Size]) -> None:
        if any(parts > HASHED_PARTS for _, parts in keys):
            raise DocumentError(f"a key of more than {HASHED_PARTS:,} parts")
