"""A package for a method of one's own, written from a template: `rematch new METHOD` (docs/plugin.md)."""

from __future__ import annotations

import re
from pathlib import Path

from benchmark.errors import UserError
from benchmark.files import write_text
from benchmark.places import RECIPES
from benchmark.registry import method_names

TEMPLATE = Path(__file__).parent / "template"


def template_files(method: str, folder: Path) -> dict[Path, str]:
    """Return the files of a new method: the package in `folder`, a recipe and a study in the usual folders."""
    places = {
        "method.py.txt": folder / f"rematch_{method}.py",
        "pyproject.toml.txt": folder / "pyproject.toml",
        "recipe.yaml.txt": RECIPES / method / "scenes.yaml",
        "study.yaml.txt": RECIPES / method / "studies" / f"{method}.yaml",
    }
    texts = {name: (TEMPLATE / name).read_text(encoding="utf-8") for name in places}
    return {path: texts[name].replace("NAME", method) for name, path in places.items()}


def write_method(method: str, folder: Path | None = None) -> list[Path]:
    """Write the template of a method called `method` into `folder` (default: one of its name).

    Raises UserError for a name that is taken or cannot be a module's, and where a file is there already; then none
    is written.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", method):
        raise UserError(
            f"method '{method}': expected a name of small letters, digits and _, such as my_method"
        )
    if method in method_names():
        raise UserError(f"method '{method}' is there already; take another name")
    files = template_files(method, folder or Path(method))
    for path in files:
        if path.exists():
            raise UserError(f"{path.as_posix()}: there already; move it away, or take another name")
    for path, text in files.items():
        write_text(path, text)
    return list(files)
