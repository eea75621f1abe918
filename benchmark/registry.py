"""The registry of methods: entry points `rematch.baselines`, found by name and imported only when they are used.

A clone that is not installed has none; those that its pyproject.toml declares are taken then.
"""

from __future__ import annotations

import ast
import tomllib
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.errors import UserError, nearest

if TYPE_CHECKING:
    from benchmark.inputs import ListedSplit
    from benchmark.method import Method


GROUP = "rematch.baselines"
DECLARED = Path(__file__).resolve().parent.parent / "pyproject.toml"
"""Declares the methods of a clone, also of one that is not installed."""


@cache
def _entry_points() -> dict[str, Any]:
    found = list(entry_points(group=GROUP))
    if not found and DECLARED.is_file():
        project = tomllib.loads(DECLARED.read_text(encoding="utf-8"))["project"]
        found = [EntryPoint(name, value, GROUP) for name, value in project["entry-points"][GROUP].items()]
    return {point.name: point for point in found}


def method_names() -> list[str]:
    """List the names of all registered methods, sorted."""
    return sorted(_entry_points())


def get_method(name: str) -> Method:
    """Import and return the method registered as `name`; raises UserError that names the nearest one."""
    from benchmark.method import Method  # brings torch along

    points = _entry_points()
    if name not in points:
        raise UserError(f"unknown method '{name}'{nearest(name, points)}")
    method = points[name].load()
    assert isinstance(method, Method), f"entry point {name} is not a Method"
    return method


def hub_method() -> Method:
    """Return the method whose models are repositories of the Hub; raises UserError where none is registered."""
    for name in method_names():
        method = get_method(name)
        if method.hub_models:
            return method
    raise UserError("no registered method takes models of the Hub; install Rematch anew: uv pip install -e .")


def declared_split(dataset: str, name: str) -> ListedSplit:
    """Return the split of that name that a registered method declares for a dataset; raises UserError for another."""
    declared = [
        split for method in method_names() for split in get_method(method).splits if split.dataset == dataset
    ]
    for split in declared:
        if split.name == name:
            return split
    hint = nearest(name, ["karpathy", *(split.name for split in declared)])
    raise UserError(
        f"field 'data.options.split': found '{name}', which no method declares for {dataset}{hint}"
    )


def method_title(name: str) -> str:
    """Return a method's title without importing the method, whose model libraries take seconds to load.

    The title is read from the source: the literal `title=` of its `Method(...)`. A method that writes it in another
    way is imported. Raises UserError as `get_method` does.
    """
    point = _entry_points().get(name)
    title = _literal_title(point.module) if isinstance(point, EntryPoint) else None
    return get_method(name).title if title is None else title


def _literal_title(module: str) -> str | None:
    """Return the text of `title=` in the module's call of `Method`; None where there is no such literal."""
    spec = find_spec(module)
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    for node in ast.walk(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Method":
            for keyword in node.keywords:
                if keyword.arg == "title" and isinstance(keyword.value, ast.Constant):
                    return str(keyword.value.value)
    return None
