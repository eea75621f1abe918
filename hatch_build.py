"""What goes into a wheel besides the code: recipes, papers' values, claims, estimates, references, committed runs."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

CARRIED = (
    *("recipes", "results/paper", "results/claims.yaml", "results/estimates.json", "results/reference"),
    "results/runs",
)


class Carry(BuildHookInterface[Any]):
    """Puts them where benchmark/places.py finds them; an editable installation reads the clone's own."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Name the files before the wheel is built."""
        if version == "standard":
            build_data["force_include"] |= {name: f"benchmark/packaged/{name}" for name in CARRIED}
