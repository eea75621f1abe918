"""The changes that can be made to a module, each in one place: operators, numbers, names, conditions, refusals.

Left out is what no test can see or need not: annotations, docstrings, decorators, asserts (they tell the type checker
what is known), imports, `strict` (of a zip whose sides are as long by construction), and prose: messages say a file,
a field and a value, and tests do not match their wording.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Collection, Iterator
from dataclasses import dataclass

COMPARED = {
    **{ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq},
    **{ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In},
}
COMBINED = {
    **{ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult},
    **{ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd},
}
JUMPS = {ast.Break: "continue", ast.Continue: "break"}
TEXTS = (ast.Constant, ast.JoinedStr, ast.List, ast.Tuple)
"""What stands beside a plus that joins: a minus would be a type error, which any test catches."""
UNSEEN = ("annotation", "returns", "decorator_list")
"""Fields of the syntax tree that are left alone."""
AROUND, LONGEST = 20, 90
"""Characters shown before and after a change, and of one at most."""


@dataclass(frozen=True)
class Mutant:
    """A module with one place changed."""

    path: str
    """The module's, below the root of the repository."""
    line: int
    old: str
    """The changed text, on one line."""
    new: str
    source: str
    """The whole module with the change."""

    @property
    def change(self) -> str:
        """The change as it is listed."""
        return f"`{self.old}` -> `{self.new}`"

    @property
    def place(self) -> str:
        """Module and line."""
        return f"{self.path}:{self.line}"


def find_mutants(path: str, source: str, only: Collection[str] = ()) -> list[Mutant]:
    """All mutants of a module that compile, in the order of their places.

    only: the functions and classes to change, at the module's top level; empty: all that the module has.
    """
    starts = [0]
    for line in source.encode().splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found: dict[str, Mutant] = {}
    for node, new in _changes(ast.parse(source), only):
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        start = starts[node.lineno - 1] + node.col_offset
        end = starts[node.end_lineno - 1] + node.end_col_offset
        whole = source.encode()
        changed = (whole[:start] + new.encode() + whole[end:]).decode()
        found.setdefault(changed, Mutant(path, node.lineno, *_brief(ast.unparse(node), new), changed))
    return sorted(found.values(), key=lambda mutant: mutant.line)


def _brief(old: str, new: str) -> tuple[str, str]:
    """Both texts on one line; of long ones the part that differs, with a little before and after it."""
    new = (
        new.removeprefix("(").removesuffix(")") if new[:1] == "(" else new
    )  # they are there for the text around
    old, new = " ".join(old.split()), " ".join(new.split())
    before, after = _shared(old, new), _shared(old[::-1], new[::-1])
    after = min(after, min(len(old), len(new)) - before)
    first = max(0, before - AROUND)
    cut = [text[first : len(text) - max(0, after - AROUND)] for text in (old, new)]
    short = [f"{text[:LONGEST]}..." if len(text) > LONGEST else text for text in cut]
    return short[0], short[1]


def _shared(one: str, other: str) -> int:
    """The number of characters with which both begin."""
    return next(
        (n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )


Change = tuple[ast.expr | ast.stmt, str]
"""A node, and the text that takes its place."""


def _changes(tree: ast.Module, only: Collection[str]) -> Iterator[Change]:
    for statement in tree.body:
        if only and getattr(statement, "name", None) not in only:
            continue
        yield from _below(statement)


def _below(node: ast.AST) -> Iterator[Change]:
    """The changes of a node and of what is below it."""
    if isinstance(node, ast.Import | ast.ImportFrom | ast.Assert | ast.JoinedStr) or _is_for_types(node):
        return
    if isinstance(node, ast.keyword) and node.arg == "strict":
        return
    if isinstance(node, ast.expr):
        yield from ((node, new) for new in _expressions(node))
    elif isinstance(node, ast.stmt):
        yield from ((node, new) for new in _statements(node))
    for name, value in ast.iter_fields(node):
        if name in UNSEEN or (name == "exc" and isinstance(node, ast.Raise)):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not _is_docstring(child):
                yield from _below(child)
        if name == "test":
            yield from _negated(value)
        if name == "ifs":
            for test in value:
                yield from _negated(test)


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _negated(test: ast.expr) -> Iterator[Change]:
    """A condition turned round, where no other change does so."""
    negation = isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)
    if not negation and (not isinstance(test, ast.Compare) or len(test.ops) > 1):
        yield test, f"(not ({ast.unparse(test)}))"


def _statements(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.Raise) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
        yield "pass"
    elif isinstance(node, ast.Break | ast.Continue):
        yield JUMPS[type(node)]
    elif isinstance(node, ast.AugAssign):
        yield "pass"
        if type(node.op) in COMBINED and not isinstance(node.value, TEXTS[1:]):
            yield ast.unparse(ast.AugAssign(node.target, COMBINED[type(node.op)](), node.value))


def _expressions(node: ast.expr) -> Iterator[str]:
    match node:
        case ast.Compare(ops=[op]) if type(op) in COMPARED:
            yield _with(node, ops=[COMPARED[type(op)]()])
        case ast.BinOp(left=left, op=op, right=right) if type(op) in COMBINED:
            if not (isinstance(op, ast.Add) and (_is_text(left) or _is_text(right))) and not _is_text(left):
                yield _with(node, op=COMBINED[type(op)]())
        case ast.BoolOp(op=op):
            yield _with(node, op=ast.Or() if isinstance(op, ast.And) else ast.And())
        case ast.UnaryOp(operand=operand):
            yield f"({ast.unparse(operand)})"
        case ast.Constant(value=value):
            yield from _constants(value)
        case ast.Call(keywords=[_, *_]):
            for place, keyword in enumerate(node.keywords):
                if keyword.arg not in (None, "strict"):
                    yield _with(node, keywords=[*node.keywords[:place], *node.keywords[place + 1 :]])
        case ast.IfExp(body=body, orelse=orelse):
            yield f"({ast.unparse(body)})"
            yield f"({ast.unparse(orelse)})"


def _is_text(node: ast.expr) -> bool:
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str | bytes)
    return isinstance(node, TEXTS)


def _with(node: ast.expr, **fields: object) -> str:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return f"({ast.unparse(changed)})"


def _constants(value: object) -> Iterator[str]:
    """Numbers a little larger and smaller, yes for no, another name; a text of several words is prose."""
    match value:
        case bool():
            yield str(not value)
        case int():
            yield f"{value + 1}"
            yield f"({value - 1})"
        case float():
            yield f"{value * 0.9 if value else 0.1!r}"
        case str() if " " not in value.strip():
            yield repr(f"{value}~")
        case bytes():
            yield repr(value + b"~")
