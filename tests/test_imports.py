"""Imports point one way, harness and methods know each other through the contract only."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.paths import ROOT

ORDER = (
    {"errors", "files"},
    {"baseline"},
    {"recipe"},
    {"data"},
    {"training", "evaluation"},
    {"statistics"},
    {"reporting"},
    {"reproduce"},  # and every other module beside it
    {"cli"},
)
"""Rooms of benchmark/ from the ground up; a room may import lower ones and itself."""

FRONT = next(level for level, rooms in enumerate(ORDER) if "reproduce" in rooms)

FOR_METHODS = {
    *("torch", "torchvision", "timm", "transformers", "huggingface_hub"),
    *("numpy", "scipy", "pydantic", "safetensors"),
}
"""What a method may import besides the standard library and the contract."""


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    """Full names of the modules a file imports, also inside functions and under TYPE_CHECKING."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports in full"
            assert node.module is not None
            # `from benchmark import data` imports benchmark.data
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(module: str) -> str:
    """`benchmark.data.scenes.Split` -> `data`."""
    return module.split(".")[1]


def level(name: str) -> int:
    """How high a room lies; a module that ORDER doesn't name is one of reproduce's neighbours."""
    return next((height for height, rooms in enumerate(ORDER) if name in rooms), FRONT)


def violations(package: Path, source_of: list[Path]) -> list[str]:
    """Imports that point upwards or sideways, as `file: importer -> imported`."""
    found = []
    for path in source_of:
        importer = path.relative_to(package).parts[0].removesuffix(".py")
        if importer == "__init__":
            continue
        for module in imported(path):
            if not module.startswith("benchmark."):
                continue
            target = room(module)
            if target == importer or target.startswith("__"):
                continue
            if level(target) > level(importer) or (level(target) == level(importer) != FRONT):
                found.append(f"{path.relative_to(package)}: {importer} -> {target}")
    return found


def test_the_harness_imports_downwards_only() -> None:
    assert violations(ROOT / "benchmark", sources("benchmark")) == []


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("data/loading.py", "from benchmark.evaluation.ranking import rank"),
        ("training/loop.py", "from benchmark import evaluation"),
        ("baseline.py", "import benchmark.recipe"),
        ("reproduce.py", "def f():\n    from benchmark.cli import main"),
    ],
)
def test_an_upward_import_is_noticed(tmp_path: Path, path: str, line: str) -> None:
    file = tmp_path / path
    file.parent.mkdir(exist_ok=True)
    file.write_text(line)
    assert len(violations(tmp_path, [file])) == 1


def test_the_modules_beside_reproduce_have_no_cycle() -> None:
    edges = {
        path.stem: {room(module) for module in imported(path) if module.startswith("benchmark.")}
        for path in (ROOT / "benchmark").glob("*.py")
        if path.stem != "__init__"
    }
    while edges:
        free = {name for name, targets in edges.items() if not (targets & edges.keys()) - {name}}
        assert free, f"these import each other: {sorted(edges)}"
        edges = {name: targets for name, targets in edges.items() if name not in free}


def test_methods_import_the_contract_and_model_libraries_only() -> None:
    allowed = FOR_METHODS | set(sys.stdlib_module_names) | {"baselines"}
    for path in sources("baselines"):
        for module in imported(path):
            top = module.split(".")[0]
            if top == "benchmark":
                assert room(module) in {"baseline", "errors"}, f"{path}: {module}"
            else:
                assert top in allowed, f"{path}: {module}"


def test_the_harness_knows_no_method() -> None:
    tables = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    methods = set(tables["project"]["entry-points"]["rematch.baselines"])
    assert methods
    for path in sources("benchmark"):
        assert not [module for module in imported(path) if module.split(".")[0] == "baselines"], path
        tree = ast.parse(path.read_text(encoding="utf-8"))
        constants = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
        assert not constants & methods, f"{path} names a method"
