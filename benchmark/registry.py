"""The registry of methods: entry points `rematch.baselines`, found by name and imported only when they are used."""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from benchmark.errors import UserError, nearest

if TYPE_CHECKING:
    from benchmark.method import Method


@cache
def _entry_points() -> dict[str, Any]:
    return {point.name: point for point in entry_points(group="rematch.baselines")}


def method_names() -> list[str]:
    """Names of all registered methods, sorted."""
    return sorted(_entry_points())


def get_method(name: str) -> Method:
    """Return the method registered as `name`; raises UserError that names the nearest one."""
    from benchmark.method import Method  # torch comes with it: only a method that is used pays for that

    points = _entry_points()
    if name not in points:
        raise UserError(f"unknown method '{name}'{nearest(name, points)}")
    method = points[name].load()
    assert isinstance(method, Method), f"entry point {name} is not a Method"
    return method
