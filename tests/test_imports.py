"""Imports point one way, room by room; harness and methods know each other through the contract only."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from tests.paths import ROOT

Order = Sequence[set[str]]
"""Rooms of a folder from the ground up: a room imports lower ones and itself, never one beside or above it."""

HARNESS: Order = (
    {"errors", "files", "guarded", "places", "strict"},
    {"inputs", "batches", "devices", "memory", "torch_files"},
    {"distributed"},
    {"method"},
    {"registry"},
    {"recipe"},
    {"data"},
    {"training"},
    {"evaluation"},
    {"timing", "statistics"},
    {"records"},
    {"run"},
    {"reporting"},
    {"share", "checks", "studies", "cluster"},
    {"cli", "api"},
    {"__main__"},
)

INSIDE: Mapping[str, Order] = {
    "data": (
        {"splits", "checksums", "cards"},
        {"scenes", "images", "inputs"},
        {"published"},
        {"text", "look", "regions"},
        {"guides", "batches", "own"},
        {"load"},
    ),
    "reporting": (
        {"sheet"},
        {"writers", "inventory", "scores", "timings", "estimates", "verification", "features"},
        {"leaderboard", "diff", "studies", "targets"},
        {"claims", "against"},
        {"evidence"},
        {"tables", "index", "page"},
        {"generated"},
    ),
    "evaluation": (
        {"ranking", "encoding"},
        {"strips"},
        {"metrics", "scoring"},
        {"chance"},
        {"bootstrap", "footprint"},
        {"protocol"},
        {"extra"},
    ),
}
"""Rooms of benchmark/ that have rooms of their own, and the order inside them."""

SHARED: Order = ({"layers"}, {"attention", "published"})
"""Rooms of baselines/ that methods share; a method is above them all."""

HOSTS = {"temde": {"sgraf"}}
"""Methods that are built on another one."""

FOR_METHODS = {
    *("torch", "torchvision", "timm", "transformers", "huggingface_hub"),
    *("open_clip", "sentence_transformers"),  # extras
    *("numpy", "scipy", "pydantic", "safetensors", "PIL"),
}
"""What a method may import besides the standard library and the contract."""

CONTRACT = {"method", "inputs", "batches", "distributed", "errors", "guarded", "strict", "torch_files"}
"""Rooms of benchmark/ that a method may import."""


def imported(path: Path) -> Iterator[str]:
    """Yield the full names that a file imports, also inside functions, under TYPE_CHECKING and by name."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports in full"
            assert node.module is not None
            # `from benchmark import data` imports benchmark.data
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def hidden(path: Path) -> list[str]:
    """Name the imports that no order can be held to: those through importlib or `__import__`."""
    found = [
        name for name in imported(path) if name.startswith("importlib.import_module") or name == "importlib"
    ]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Name) and node.id == "__import__":
            found.append("__import__")
    return found


def height(order: Order, room: str) -> int | None:
    """Return how high a room lies; None where the order does not name it."""
    return next((level for level, rooms in enumerate(order) if room in rooms), None)


def faults_of(order: Order, prefix: str, importer: str, names: Sequence[str]) -> list[str]:
    """Name the imports of `importer` that point up or sideways among the rooms below `prefix`."""
    own = height(order, importer)
    if own is None:
        return [f"{prefix}.{importer}: the order of imports does not know this room"]
    found = []
    for name in names:
        if not name.startswith(f"{prefix}."):
            continue
        room = name.removeprefix(f"{prefix}.").split(".")[0]
        level = height(order, room)
        if room != importer and not room.startswith("__version__") and (level is None or level >= own):
            found.append(f"{prefix}.{importer} -> {prefix}.{room}")
    return found


def parts_of(path: Path, package: Path) -> list[str]:
    """Return the rooms on the way to a file: `data/text/words.py` -> data, text, words."""
    return list(path.relative_to(package).with_suffix("").parts)


def faults(package: Path) -> list[str]:
    """Name everything in the files of the harness that goes against the order of its rooms."""
    found = []
    for path in sorted(package.rglob("*.py")):
        parts, names = parts_of(path, package), list(imported(path))
        if parts == ["__init__"]:
            continue
        found += faults_of(HARNESS, "benchmark", parts[0], names)
        inside = INSIDE.get(parts[0])
        if inside is not None and len(parts) > 1 and parts[1] != "__init__":
            found += faults_of(inside, f"benchmark.{parts[0]}", parts[1], names)
        found += [f"{'/'.join(parts)}: import by name ({name})" for name in hidden(path)]
    return found


def test_the_harness_imports_downwards_only() -> None:
    assert faults(ROOT / "benchmark") == []


def test_every_room_that_the_order_names_exists() -> None:
    for folder, order in (("", HARNESS), *INSIDE.items()):
        for room in set().union(*order):
            path = ROOT / "benchmark" / folder / room
            assert path.is_dir() or path.with_suffix(".py").is_file(), f"benchmark/{folder}/{room}"


@pytest.mark.parametrize(
    ("path", "line", "fault"),
    [
        (
            "data/load.py",
            "from benchmark.evaluation.ranking import rank",
            "benchmark.data -> benchmark.evaluation",
        ),
        (
            "training/loop.py",
            "from benchmark import evaluation",
            "benchmark.training -> benchmark.evaluation",
        ),
        ("method.py", "import benchmark.recipe", "benchmark.method -> benchmark.recipe"),
        ("run/job.py", "def f():\n    from benchmark.cli import main", "benchmark.run -> benchmark.cli"),
        ("share/query.py", "from benchmark.checks import doctor", "benchmark.share -> benchmark.checks"),
        ("data/load.py", "from benchmark.extras import x", "benchmark.data -> benchmark.extras"),
        ("extras/new.py", "x = 1", "benchmark.extras: the order of imports does not know this room"),
        (
            "data/text/words.py",
            "from benchmark.data.load import x",
            "benchmark.data.text -> benchmark.data.load",
        ),
        ("data/extras.py", "x = 1", "benchmark.data.extras: the order of imports does not know this room"),
        (
            "reporting/diff/compare.py",
            "from benchmark.reporting import generated",
            "benchmark.reporting.diff -> benchmark.reporting.generated",
        ),
        (
            "evaluation/ranking.py",
            "import benchmark.evaluation.extra.cxc",
            "benchmark.evaluation.ranking -> ",
        ),
        ("data/load.py", "import importlib", "data/load: import by name (importlib)"),
        (
            "data/load.py",
            "from importlib import import_module",
            "data/load: import by name (importlib.import_module)",
        ),
        ("data/load.py", 'x = __import__("benchmark.cli")', "data/load: import by name (__import__)"),
    ],
)
def test_a_wrong_import_is_noticed(tmp_path: Path, path: str, line: str, fault: str) -> None:
    file = tmp_path / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(line)
    found = faults(tmp_path)
    assert len(found) == 1
    assert found[0].startswith(fault)


def method_faults(package: Path, methods: set[str]) -> list[str]:
    """Name the imports of methods that are neither the contract, nor a model library, nor what methods share."""
    allowed = FOR_METHODS | set(sys.stdlib_module_names) | {"baselines"}
    found = []
    for path in sorted(package.rglob("*.py")):
        room = parts_of(path, package)[0]
        found += [f"{room}: import by name ({name})" for name in hidden(path)]
        for name in imported(path):
            top, *rest = name.split(".")
            if top == "benchmark":
                found += [] if rest[0] in CONTRACT else [f"baselines.{room} -> {name}"]
            elif top not in allowed:
                found.append(f"baselines.{room} -> {name}")
        others = methods - {room} - HOSTS.get(room, set())
        names = [name for name in imported(path) if name.split(".")[0] == "baselines"]
        if room in methods:
            found += [f"baselines.{room} -> {name}" for name in names if name.split(".")[1] in others]
        elif room != "__init__":
            found += faults_of(SHARED, "baselines", room, names)
    return found


def registered() -> set[str]:
    tables = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return set(tables["project"]["entry-points"]["rematch.baselines"])


def test_methods_import_the_contract_and_what_methods_share() -> None:
    assert method_faults(ROOT / "baselines", registered()) == []


@pytest.mark.parametrize(
    ("path", "line", "fault"),
    [
        ("hat/model.py", "from benchmark.recipe import schema", "baselines.hat -> benchmark.recipe.schema"),
        ("hat/model.py", "import pandas", "baselines.hat -> pandas"),
        ("hat/model.py", "from baselines.user.model import x", "baselines.hat -> baselines.user.model.x"),
        ("layers/gpo.py", "from baselines.attention import tiles", "baselines.layers -> baselines.attention"),
        ("attention/tiles.py", "from baselines.hat import model", "baselines.attention -> baselines.hat"),
        ("hat/model.py", "import importlib", "hat: import by name (importlib)"),
        ("extras/x.py", "x = 1", "baselines.extras: the order of imports does not know this room"),
    ],
)
def test_a_wrong_import_of_a_method_is_noticed(tmp_path: Path, path: str, line: str, fault: str) -> None:
    file = tmp_path / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(line)
    assert method_faults(tmp_path, {"hat", "user"}) == [fault]


def test_the_harness_knows_no_method() -> None:
    methods = registered()
    assert methods
    for path in sorted((ROOT / "benchmark").rglob("*.py")):
        assert not [name for name in imported(path) if name.split(".")[0] == "baselines"], path
        tree = ast.parse(path.read_text(encoding="utf-8"))
        constants = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
        assert not constants & methods, f"{path} names a method"
